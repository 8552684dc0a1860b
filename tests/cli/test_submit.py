"""submit, and the same as sendmail."""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from support.box import MESSAGE
from support.agent import binary, environment, outtray


def submitted(box, *arguments, input=MESSAGE, code=0, **options):
    done = box.run("submit", *arguments, input=input, **options)
    assert done.returncode == code, done.stderr
    return done


def envelope(box):
    """MAIL, RCPT and data of the one message that is delivered."""
    accepted = box.deliver()
    assert len(accepted) == 1
    return accepted[0]


def test_standard_input_becomes_a_message(box):
    box.ready()
    submitted(box)
    assert box.new() == [MESSAGE]
    assert box.spool.names("acme", "tmp") == [] if box.spool.path("acme", "tmp").exists() else True
    got = envelope(box)
    assert got.rcpts == ["a@example.net"]
    assert got.data.endswith(b"\r\n\r\nOne line.\r\n")


def test_nothing_is_left_in_tmp(box):
    box.ready()
    submitted(box)
    assert list(box.spool.path("acme", "tmp").iterdir()) == []


def test_recipients_as_arguments(box):
    box.ready()
    submitted(box, "b@example.net", "c@example.net")
    data = box.new()[0]
    assert data.lower().startswith(b"x-")
    assert data.endswith(MESSAGE)
    got = envelope(box)
    assert got.rcpts == ["b@example.net", "c@example.net"]
    assert b"X-Receiver" not in got.data


def test_t_takes_recipients_from_the_headers(box):
    box.ready()
    submitted(box, "-t", input=b"To: a@example.net\nCc: b@example.net\nBcc: c@example.net\n\ntext\n")
    got = envelope(box)
    assert sorted(got.rcpts) == ["a@example.net", "b@example.net", "c@example.net"]
    assert b"c@example.net" not in got.data


def test_t_adds_to_the_arguments(box):
    """As Postfix's sendmail(1) says: recipients of the headers are added to those of the command line."""
    box.ready()
    submitted(box, "-t", "b@example.net")
    assert sorted(envelope(box).rcpts) == ["a@example.net", "b@example.net"]


def test_lone_dot_ends_the_message(box):
    box.ready()
    submitted(box, "a@example.net", input=b"Subject: x\n\none\n.\ntwo\n")
    assert envelope(box).data.endswith(b"\r\n\r\none\r\n")


@pytest.mark.parametrize("option", ["-i", "-oi"])
def test_i_keeps_a_lone_dot(box, option):
    box.ready()
    submitted(box, option, "a@example.net", input=b"Subject: x\n\none\n.\ntwo\n")
    assert envelope(box).data.endswith(b"\r\n\r\none\r\n.\r\ntwo\r\n")


@pytest.mark.parametrize("arguments", [["-f", "bob@inside.example"], ["-fbob@inside.example"]])
def test_f_is_the_envelope_sender(box, arguments):
    box.config.data["accounts"]["relay"]["envelope_from"] = "message"
    box.ready()
    submitted(box, *arguments, "a@example.net")
    got = envelope(box)
    assert got.mail == "<bob@inside.example>"
    assert b"bob@inside.example" not in got.data


def test_f_with_the_null_sender(box):
    box.config.data["accounts"]["relay"]["envelope_from"] = "message"
    box.ready()
    submitted(box, "-f", "<>", "a@example.net")
    assert envelope(box).mail == "<>"


def test_f_does_not_override_the_account(box):
    box.ready()
    submitted(box, "-f", "bob@inside.example", "a@example.net")
    assert envelope(box).mail == "<noreply@example.com>"


@pytest.mark.parametrize("arguments", [["-F", "Cron Daemon"], ["-FCron Daemon"]])
def test_big_f_is_the_full_name(box, arguments):
    """The sender's full name, where the message has no From (sendmail(8))."""
    box.config.data["tenants"]["acme"]["from"] = "voicemail@acme.example"
    box.ready()
    submitted(box, *arguments, "a@example.net", input=b"Subject: x\n\ntext\n")
    assert b"\r\nFrom: Cron Daemon <voicemail@acme.example>\r\n" in b"\r\n" + envelope(box).data


def said(box, command):
    return [line for connection in box.server.connections for line in connection.commands if line.startswith(command)]


def test_dsn_options_travel_with_the_envelope(box):
    box.config.data["accounts"]["relay"]["envelope_from"] = "message"
    box.ready()
    submitted(box, "-f", "bob@inside.example", "-N", "success,delay", "-Rhdrs", "-V", "queue+2B1", "a@example.net", "b@example.net")
    got = envelope(box)
    assert got.mail == "<bob@inside.example>" and {"RET=HDRS", "ENVID=queue+2B1"} <= set(got.params.split())
    assert said(box, "RCPT") == [f"RCPT TO:<{one}@example.net> NOTIFY=SUCCESS,DELAY" for one in "ab"]
    assert b"X-Sender" not in got.data and b"X-Receiver" not in got.data


def test_dsn_options_leave_sender_and_recipients_as_they_are(box):
    box.config.data["accounts"]["relay"]["envelope_from"] = "message"
    box.ready()
    submitted(box, "-t", "-N", "never", "-R", "full", input=b"From: bob@inside.example\nTo: a@example.net\nBcc: b@example.net\n\ntext\n")
    got = envelope(box)
    assert got.mail == "<bob@inside.example>" and "RET=FULL" in got.params.split()
    assert sorted(said(box, "RCPT")) == [f"RCPT TO:<{one}@example.net> NOTIFY=NEVER" for one in "ab"]


@pytest.mark.parametrize("arguments", [["-N", "always"], ["-N", "never,delay"], ["-N", ""], ["-R", "half"], ["-V", "a b"], ["-V", "x" * 101],
                                       ["-N", "delay\nX-Receiver: <c@example.net>"], ["-V", "a\nb"]])
def test_dsn_options_that_nobody_understands(box, arguments):
    box.ready()
    assert arguments[0] in submitted(box, *arguments, "a@example.net", code=64).stderr
    assert box.new() == []


def test_dsn_options_need_their_lines(box):
    box.ready()
    own = b"X-Receiver: <a@example.net>\n" + MESSAGE
    assert "X-Receiver lines of its own" in submitted(box, "-N", "never", input=own, code=65).stderr
    submitted(box, "-N", "never", "b@example.net", input=own)
    box.config.data["tenants"]["acme"]["envelope_headers"] = False
    box.config.write()
    for option in (["-N", "never"], ["-R", "full"], ["-V", "1"]):
        assert "envelope_headers: false" in submitted(box, *option, code=78).stderr
    assert len(box.new()) == 1


@pytest.mark.parametrize("option", ["-q", "-q30m", "-qIabc", "-qRexample.net"])
def test_q_has_nothing_to_do(program, option):
    done = outtray(option, argv0="/usr/sbin/sendmail", input=b"not read\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for message in (["a@example.net"], ["-t"], ["-i"], ["-f", "a@example.net"]):  # somebody means to send one
        assert outtray(option, *message, argv0="sendmail", input=MESSAGE).returncode == 64
    assert outtray("-bd", option, argv0="sendmail").returncode == outtray(option, "-bd", argv0="sendmail").returncode == 64


def test_double_dash_ends_the_options(box):
    box.ready()
    submitted(box, "-i", "--", "-dash@example.net")
    assert envelope(box).rcpts == ["-dash@example.net"]


def test_flags_of_programs_in_the_wild(box):
    """cron, mutt, PHP and git call sendmail like this."""
    box.ready()
    submitted(box, "-i", "-FCronDaemon", "-B8BITMIME", "-oem", "a@example.net")
    submitted(box, "-oem", "-oi", "-f", "jane@inside.example", "--", "b@example.net")
    submitted(box, "-t", "-i")
    assert len(box.deliver()) == 3


@pytest.mark.parametrize("option", ["-bs", "-bd", "-q30m", "-Z"])
def test_what_is_not_offered_is_a_usage_error(box, option):
    box.ready()
    submitted(box, option, code=64)
    assert box.new() == []


def test_empty_input(box):
    box.ready()
    done = submitted(box, "a@example.net", input=b"", code=65)
    assert done.stderr
    assert box.new() == []


def test_no_recipients(box):
    box.ready()
    submitted(box, "-t", input=b"Subject: nobody\n\ntext\n", code=65)
    assert box.new() == []


def test_nul_is_refused(box):
    box.ready()
    submitted(box, input=b"To: a@example.net\n\nbe\0fore\n", code=65)
    assert box.new() == []


def test_too_large(box):
    box.config.data["limits"] = {"message_size": "10k"}
    box.ready()
    submitted(box, input=b"To: a@example.net\n\n" + b"x\n" * 10000, code=65)
    assert box.new() == []
    assert list(box.spool.path("acme", "tmp").iterdir()) == []


@pytest.mark.parametrize("address", ["a@example.net\nX-Receiver: <evil@example.org>", "a b@example.net", "a@example.net>", ""])
def test_bad_recipient_argument(box, address):
    box.ready()
    done = box.run("submit", address, input=MESSAGE)
    assert done.returncode in (64, 65)
    assert box.new() == []


def test_bad_sender_argument(box):
    box.ready()
    done = box.run("submit", "-f", "a@b\r\nX-Receiver: <evil@example.org>", "a@example.net", input=MESSAGE)
    assert done.returncode in (64, 65)
    assert box.new() == []


def test_line_end_in_the_full_name(box):
    box.ready()
    done = box.run("submit", "-F", "Jane\nBcc: evil@example.org", "a@example.net", input=b"Subject: x\n\ntext\n")
    if done.returncode == 0:
        assert envelope(box).rcpts == ["a@example.net"]
        assert b"\nBcc" not in box.server.accepted[0].data
    else:
        assert done.returncode in (64, 65)


def test_arguments_where_the_spool_knows_no_envelope_headers(box):
    box.config.data["tenants"]["acme"]["envelope_headers"] = False
    box.ready()
    done = submitted(box, "b@example.net", code=78)
    assert "envelope_headers" in done.stderr
    assert box.new() == []
    submitted(box, "-t")
    assert envelope(box).rcpts == ["a@example.net"]


def test_tenant_by_option(box):
    box.config.tenant("other", account="relay", from_="Other <other@example.com>")
    box.ready()
    submitted(box, "--tenant", "other")
    assert len(box.new("other")) == 1 and box.new("acme") == []
    submitted(box, "--tenant=acme")
    assert len(box.new("acme")) == 1


def test_tenant_by_default(box):
    box.config.tenant("other", account="relay", from_="Other <other@example.com>")
    box.config.data["default_tenant"] = "other"
    box.ready()
    submitted(box)
    assert len(box.new("other")) == 1


def test_tenant_unknown_which(box):
    box.config.tenant("other", account="relay", from_="Other <other@example.com>")
    box.ready()
    done = submitted(box, code=64)
    assert "tenant" in done.stderr


def test_tenant_that_does_not_exist(box):
    box.ready()
    done = box.run("submit", "--tenant", "nobody", input=MESSAGE)
    assert done.returncode in (64, 66, 78)
    assert "nobody" in done.stderr


def test_says_when_no_agent_runs(box):
    box.ready()
    done = submitted(box)
    assert "agent" in done.stderr.lower()
    running = subprocess.Popen([binary(), "run", "--config", str(box.config.path)], stderr=subprocess.DEVNULL,
                               env=environment(box.clock))
    try:
        from support.wait import wait_until
        wait_until((box.config.state / "status.json").exists, 20, "status.json")
        done = submitted(box)
        assert done.stderr == ""
        wait_until(lambda: len(box.server.accepted) == 2, 20, "both messages")
    finally:
        running.terminate()
        assert running.wait(30) == 0


def test_reads_no_secret(box):
    box.config.account("relay", auth="basic", email="a@example.com", server="127.0.0.1", port=2525, encryption="none", password="x")
    box.ready()
    (box.config.directory / "relay.password").unlink()
    submitted(box)
    assert len(box.new()) == 1


def test_without_init(box):
    """A tenant whose directories are missing: an error with the way out, never a lost message."""
    box.config.write()
    done = box.run("submit", input=MESSAGE)
    if done.returncode == 0:
        assert box.new() == [MESSAGE]
    else:
        assert done.returncode in (73, 75, 78)
        assert done.stderr


def test_many_at_once(box):
    box.ready()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: submitted(box, f"r{n}@example.net"), range(24)))
    assert len(box.new()) == 24


def test_large_message(box):
    box.ready()
    data = MESSAGE + b"0123456789abcdef\n" * 300000
    submitted(box, input=data)
    assert box.new() == [data]


def test_the_mode_lets_the_agent_read_it(box):
    box.ready()
    old = os.umask(0o077)
    try:
        submitted(box)
    finally:
        os.umask(old)
    mode = next(box.spool.path("acme", "new").iterdir()).stat().st_mode
    assert mode & 0o040 and not mode & 0o007


def test_as_sendmail(box, tmp_path):
    box.ready()
    link = tmp_path / "sendmail"
    link.symlink_to(binary())
    done = subprocess.run([str(link), "-C", str(box.config.path), "-oi", "-f", "x@inside.example", "b@example.net"], input=MESSAGE,
                          capture_output=True, env=environment(box.clock))
    assert done.returncode == 0, done.stderr
    done = subprocess.run([str(link), "-t"], input=MESSAGE, capture_output=True,
                          env=environment(box.clock, OUTTRAY_CONFIG=box.config.path))
    assert done.returncode == 0, done.stderr
    assert sorted(a.rcpts for a in box.deliver()) == [["a@example.net"], ["b@example.net"]]


def test_as_sendmail_help_and_version(program, tmp_path):
    link = tmp_path / "sendmail"
    link.symlink_to(binary())
    for option in ("--help", "--version"):
        assert subprocess.run([str(link), option], capture_output=True, env=environment()).returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_unprivileged(box):
    """A member of the tenant's group, who may neither read new/'s neighbours nor the password file."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="outtray-submit-"))
    try:
        directory.chmod(0o755)
        box.config.data.update(spool=str(directory / "spool"), state=str(directory / "state"))
        box.config.data["tenants"]["acme"]["group"] = "nogroup"
        box.config.write()
        box.run("init", check=True)
        (directory / "outtray.yaml").write_bytes(box.config.path.read_bytes())
        (directory / "outtray").write_bytes(pathlib.Path(binary()).read_bytes())
        (directory / "outtray").chmod(0o755)
        done = subprocess.run([str(directory / "outtray"), "submit", "--config", str(directory / "outtray.yaml")], input=MESSAGE,
                              capture_output=True, env=environment(), user="nobody", group="nogroup", extra_groups=[], cwd="/")
        assert done.returncode == 0, done.stderr
        found = list((directory / "spool/acme/new").iterdir())
        assert [path.read_bytes() for path in found] == [MESSAGE]
        # Somebody outside the group may not.
        done = subprocess.run([str(directory / "outtray"), "submit", "--config", str(directory / "outtray.yaml")], input=MESSAGE,
                              capture_output=True, env=environment(), user="nobody", group="daemon", extra_groups=[], cwd="/")
        assert done.returncode == 77
    finally:
        shutil.rmtree(directory)


def test_verb_outtray_is_not_fooled_by_the_path(program, tmp_path):
    """Only the last component of argv[0] makes it sendmail."""
    place = tmp_path / "sendmail"
    place.mkdir()
    (place / "outtray").symlink_to(binary())
    done = subprocess.run([str(place / "outtray"), "--version"], capture_output=True, env=environment())
    assert done.returncode == 0
    assert outtray("no-such-verb").returncode == 64


@pytest.mark.parametrize("call", [("mailq",), ("sendmail", "-bp"), ("/usr/sbin/sendmail", "-bp")])
def test_mailq(box, call):
    box.ready()
    submitted(box)
    env = {"OUTTRAY_CONFIG": box.config.path}
    assert outtray(*call[1:], argv0=call[0], env=env, check=True).stdout == box.run("queue", check=True).stdout


@pytest.mark.parametrize("call", [("newaliases",), ("sendmail", "-bi")])
def test_newaliases_has_nothing_to_do(program, call):
    done = outtray(*call[1:], argv0=call[0])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
