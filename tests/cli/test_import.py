"""import: other programs' configurations as their Debian packages ship them, and as people edit them.

/usr/bin/python3 -m pytest tests/cli/test_import.py
"""

import os
import pathlib

import pytest
import yaml

from support.agent import Agent, outtray
from support.debs import Unavailable, unpack

SECRET = "s3cret pass:word"


@pytest.fixture
def imported(program, tmp_path):
    """imported(PROGRAM, PATH) runs it with --secrets, and checks what it prints; returns the YAML as a dict and as text."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()

    def run(name, path, code=0, check=0):
        done = outtray("import", name, path, "--secrets", secrets)
        assert done.returncode == code, done.stderr
        assert SECRET not in done.stdout + done.stderr
        if code:
            return done
        config = tmp_path / "outtray.yaml"
        config.write_text(done.stdout)
        checked = outtray("check", config=config)
        assert checked.returncode == check, checked.stdout + checked.stderr + done.stdout
        return yaml.safe_load(done.stdout), done.stdout

    run.secrets = secrets
    return run


def shipped(package, path):
    try:
        return unpack(package) / path
    except Unavailable as problem:
        pytest.skip(str(problem))


def account(data, tenant=None):
    tenants = data["tenants"]
    return data["accounts"][tenants[tenant or next(iter(tenants))]["account"]]


# nullmailer


@pytest.fixture
def nullmailer(tmp_path):
    directory = tmp_path / "nullmailer"
    directory.mkdir()

    def write(**files):
        for name, text in files.items():
            (directory / name).write_text(text)
        return directory

    return write


def test_nullmailer(imported, nullmailer):
    data, text = imported("nullmailer", nullmailer(
        remotes=f"# comment\n\nsmarthost.example smtp port=2525 starttls user=me@host.example 'pass={SECRET}'\n",
        me="host.example\n", pausetime="120\n", maxpause="7200\n", queuelifetime="86400\n", adminaddr="root@host.example\n"))
    got = account(data)
    assert got["server"] == "smarthost.example" and got["port"] == 2525 and got["encryption"] == "starttls"
    assert got["auth"] == "basic" and got["username"] == got["email"] == "me@host.example"
    assert data["domain"] == "host.example"
    assert data["retry"] == {"first": "120s", "max": "7200s", "give_up_after": "86400s"}
    path = pathlib.Path(got["password_file"])
    assert path.read_text() == SECRET + "\n" and path.stat().st_mode & 0o777 == 0o600
    assert "# note: adminaddr (root@host.example)" in text


def test_nullmailer_on_debian(imported, nullmailer, tmp_path):
    """/etc/mailname counts in place of `me`, as for Debian's own programs."""
    (tmp_path / "mailname").write_text("mail.host.example\n")
    data, _ = imported("nullmailer", nullmailer(remotes="mail.example smtp\n", me="other.example\n"))
    assert data["domain"] == "mail.host.example"


@pytest.mark.parametrize("line, wanted", [
    ("mail.example", {"auth": "none", "encryption": "none"}),
    ("mail.example smtp", {"auth": "none"}),
    ("mail.example smtp --port=587 --starttls --user=x --pass=y", {"auth": "basic", "port": 587, "encryption": "starttls"}),
    ("mail.example smtp tls user=x pass=y", {"auth": "basic", "encryption": "tls"}),
    ("mail.example smtp ssl auth-login user=x pass='y z'", {"auth": "basic", "encryption": "tls"}),
    ("2001:db8::1 smtp", {"server": "2001:db8::1"}),
])
def test_nullmailer_remotes(imported, nullmailer, line, wanted):
    data, _ = imported("nullmailer", nullmailer(remotes=line + "\n", me="h.example"))
    assert wanted.items() <= account(data).items()


def test_nullmailer_several_remotes(imported, nullmailer):
    data, text = imported("nullmailer", nullmailer(remotes="a.example smtp\nb.example smtp insecure tls\nc.example qmqp\n", me="h.example"))
    assert [one["server"] for one in data["accounts"].values()] == ["a.example", "b.example"]
    assert "one after the other" in text and "QMQP is not spoken" in text


def test_nullmailer_queue(program, config, clock, nullmailer, tmp_path):
    """Waiting mail as nullmailer-queue writes it (envelope sender, recipients, empty line, message), moved once."""
    from smtpserver import Server
    server = Server()
    server.start()
    config.account("relay", server="127.0.0.1", port=server.port, encryption="none", envelope_from="message")
    config.tenant("main", account="relay", from_="host@host.example")
    agent = Agent(config, clock=clock)
    agent.prepare()
    waiting = tmp_path / "spool" / ".." / "waiting"
    (waiting / "queue").mkdir(parents=True)
    (waiting / "queue" / "1764000000.1").write_text(
        "jane@host.example\na@example.net\nb@example.net\n\nFrom: jane@host.example\nTo: a@example.net\nSubject: one\n\ntext\n")
    (waiting / "queue" / "1764000000.2").write_text("\nc@example.net\n\nTo: c@example.net\nSubject: two\n\ntext\n")
    (waiting / "queue" / "broken").write_text("not an address\n\n\n")
    (waiting / "queue" / "empty").write_text("")
    done = outtray("import", "nullmailer", f"--queue={waiting}", config=config.path, clock=clock)
    assert done.returncode == 1, done.stderr
    assert "2 messages were moved" in done.stdout and "broken stays where it is" in done.stderr
    assert sorted(os.listdir(waiting / "queue")) == ["broken", "empty"]
    agent.clock.advance(10)
    assert agent.once() == 0
    assert sorted((one.mail, one.rcpts) for one in server.accepted) == [
        ("<>", ["c@example.net"]), ("<jane@host.example>", ["a@example.net", "b@example.net"])]
    assert all(b"X-Outtray" not in one.data and b"X-Receiver" not in one.data for one in server.accepted)
    server.stop()


def test_nullmailer_queue_twice(program, config, clock, tmp_path):
    """A file that came back (a restored backup, a crash between the two steps) is not queued again."""
    config.account("relay", server="127.0.0.1", port=9, encryption="none")
    config.tenant("main", account="relay")
    agent = Agent(config, clock=clock)
    agent.prepare()
    (tmp_path / "waiting" / "queue").mkdir(parents=True)
    source = tmp_path / "waiting" / "queue" / "one"
    source.write_text("jane@host.example\na@example.net\n\nTo: a@example.net\n\ntext\n")
    os.link(source, tmp_path / "kept")
    run = lambda: outtray("import", "nullmailer", f"--queue={tmp_path / 'waiting'}", config=config.path, clock=clock)  # noqa: E731
    assert "1 messages were moved" in run().stdout
    os.link(tmp_path / "kept", source)
    assert "0 messages were moved into the spool of main, 1 were there already" in run().stdout
    assert len(agent.spool.names("main", "new")) == 1


# msmtp


def test_msmtp_as_shipped(imported):
    path = shipped("msmtp", "usr/share/doc/msmtp/examples/msmtprc-system.example")
    data, text = imported("msmtprc", path)
    got = account(data)
    assert (got["server"], got["port"], got["encryption"], got["auth"]) == ("mail.oursite.example", 465, "tls", "none")
    assert "patterns are not known here" in text


def test_msmtp_user_example_as_shipped(imported):
    path = shipped("msmtp", "usr/share/doc/msmtp/examples/msmtprc-user.example")
    done = outtray("import", "msmtprc", path)
    assert done.returncode == 0, done.stderr
    data = yaml.safe_load(done.stdout)
    assert len(data["accounts"]) >= 1
    assert "password_file" in done.stdout and "# step: write its password" in done.stdout


def test_msmtp(imported, tmp_path):
    rc = tmp_path / "msmtprc"
    rc.write_text(f"""
# comment
defaults
tls on
tls_trust_file system
logfile ~/.msmtp.log

account one
host mail.example.com
port 587
from one@example.com
auth on
user "one"
password "{SECRET}"

account two : one
host other.example.com
from two@example.com
port 465
tls_starttls off

account three
host plain.example.com
tls off
auth off
from three@example.com
proxy_host 127.0.0.1

account default : two
""")
    data, text = imported("msmtprc", rc)
    accounts = data["accounts"]
    assert data["default_tenant"] == "two"
    assert (accounts["one"]["encryption"], accounts["one"]["port"]) == ("starttls", 587)
    assert (accounts["two"]["encryption"], accounts["two"]["port"], accounts["two"]["username"]) == ("tls", 465, "one")
    assert (accounts["three"]["encryption"], accounts["three"]["auth"]) == ("none", "none")
    assert data["tenants"]["two"] == {"account": "two", "from": "two@example.com"}
    assert (imported.secrets / "one.password").read_text() == SECRET + "\n"
    assert "proxy_host was not carried over" in text


def test_msmtp_passwordeval_and_oauth(imported, tmp_path):
    rc = tmp_path / "msmtprc"
    rc.write_text("account default\nhost m.example\nfrom a@m.example\ntls on\nauth oauthbearer\nuser a\npasswordeval touch /tmp/outtray-eval\n")
    data, text = imported("msmtprc", rc, check=1)  # the password file is a step that is left to do
    assert "passwordeval is not run here" in text and "outtray oauth login" in text
    assert not os.path.exists("/tmp/outtray-eval")


# sSMTP


def test_ssmtp(imported, tmp_path):
    revaliases = shipped("ssmtp", "etc/ssmtp/revaliases")
    directory = tmp_path / "ssmtp"
    directory.mkdir()
    (directory / "revaliases").write_text(revaliases.read_text() + "www:web@example.com\nroot:root@example.com:other.example\n")
    conf = directory / "ssmtp.conf"
    # What Debian's maintainer script writes, with a login added.
    conf.write_text("#\n# Config file for sSMTP sendmail\n#\nroot=postmaster\nmailhub=mail.example.com:587\nrewriteDomain=\nhostname=host.example.com\n"
                    f"FromLineOverride=YES\nUseTLS=YES\nUseSTARTTLS=YES\nAuthUser=me@example.com\nAuthPass={SECRET}\n")
    data, text = imported("ssmtp", conf)
    got = account(data)
    assert (got["server"], got["port"], got["encryption"], got["username"]) == ("mail.example.com", 587, "starttls", "me@example.com")
    assert data["domain"] == "host.example.com" and data["default_tenant"] == "main"
    assert data["tenants"]["www"]["from"] == "web@example.com"
    assert "other.example" in text and "root postmaster" in text


def test_ssmtp_plain(imported, tmp_path):
    conf = tmp_path / "ssmtp.conf"
    conf.write_text("mailhub=mail\nhostname=host.example.com\n")
    data, _ = imported("ssmtp", conf)
    assert {"server": "mail", "port": 25, "encryption": "none", "auth": "none"}.items() <= account(data).items()


# dma


def test_dma_as_shipped_has_no_server(imported):
    done = imported("dma", shipped("dma", "usr/share/dma/dma.conf"), code=65)
    assert "no SMARTHOST" in done.stderr


def test_dma(imported, tmp_path):
    conf, auth = shipped("dma", "usr/share/dma/dma.conf").read_text(), shipped("dma", "etc/dma/auth.conf").read_text()
    for line in ("SMARTHOST mail.example.com", "PORT 25", "AUTHPATH /etc/dma/auth.conf", "SECURETRANSFER", "STARTTLS", "MASQUERADE user@"):
        conf = conf.replace("#" + line, line)
    conf = conf.replace("PORT 25", "PORT 587").replace("/etc/dma/auth.conf", str(tmp_path / "auth.conf"))
    (tmp_path / "dma.conf").write_text(conf)
    (tmp_path / "auth.conf").write_text(auth + f"other|elsewhere.example:x\nme@example.com|mail.example.com:{SECRET}\n")
    data, text = imported("dma", tmp_path / "dma.conf")
    got = account(data)
    assert (got["server"], got["port"], got["encryption"], got["username"]) == ("mail.example.com", 587, "starttls", "me@example.com")
    assert (imported.secrets / "smarthost.password").read_text() == SECRET + "\n"


# Postfix


def test_postfix_as_shipped_has_no_relayhost(imported):
    done = imported("postfix", shipped("postfix", "usr/share/postfix/main.cf.debian"), code=65)
    assert "no relayhost" in done.stderr


def test_postfix_null_client(imported, tmp_path):
    main = shipped("postfix", "usr/share/postfix/main.cf.debian").read_text().replace("#delay_warning_time", "delay_warning_time")
    (tmp_path / "sasl_passwd").write_text(f"# comment\n[mail.example.com]:587 me@example.com:{SECRET}\n")
    (tmp_path / "main.cf").write_text(main + f"""
myhostname = host.example.com
mydomain = example.com
myorigin = $mydomain
relayhost = [mail.$mydomain]:587
inet_interfaces = loopback-only
mydestination =
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:{tmp_path}/sasl_passwd
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = encrypt
smtp_generic_maps = hash:/etc/postfix/generic,
    hash:/etc/postfix/generic2
minimal_backoff_time = 300s
maximal_backoff_time = 4000s
maximal_queue_lifetime = 3d
message_size_limit = 20480000
""")
    data, text = imported("postfix", tmp_path / "main.cf")
    got = account(data)
    assert (got["server"], got["port"], got["encryption"], got["username"]) == ("mail.example.com", 587, "starttls", "me@example.com")
    assert data["domain"] == "example.com"
    assert data["retry"] == {"first": "300s", "max": "4000s", "give_up_after": "259200s"}
    assert data["tenants"]["main"]["on_failure"] == {"notify": "sender", "delay_warning": "14400s"}
    assert data["limits"] == {"message_size": "20000k"}
    assert "# note: smtp_generic_maps" in text and "# note: smtp_tls_security_level encrypt" in text


def test_postfix_wrapper_mode_and_mx(imported, tmp_path):
    (tmp_path / "main.cf").write_text("myhostname=h.example.com\nrelayhost=example.com\nsmtp_tls_wrappermode=yes\nsmtp_tls_security_level=encrypt\n")
    data, text = imported("postfix", tmp_path / "main.cf")
    assert account(data)["encryption"] == "tls"
    assert "its MX is not looked up here" in text


# The verb


def test_secrets_are_not_overwritten(imported, nullmailer):
    (imported.secrets / "remote1.password").write_text("old\n")
    done = imported("nullmailer", nullmailer(remotes=f"a.example smtp starttls user=x pass='{SECRET}'\n"), code=73)
    assert "not overwritten" in done.stderr and done.stdout == ""
    assert (imported.secrets / "remote1.password").read_text() == "old\n"


@pytest.mark.parametrize("arguments, code", [
    ([], 64), (["sendmail"], 64), (["dma", "a", "b"], 64), (["dma", "--queue"], 64), (["dma", "/nonexistent"], 66),
    (["nullmailer", "/nonexistent"], 66), (["msmtprc", "/nonexistent"], 66), (["ssmtp", "/"], 66), (["postfix", "/nonexistent"], 66),
])
def test_wrong_use(program, arguments, code):
    assert outtray("import", *arguments).returncode == code


@pytest.mark.parametrize("name", ["msmtprc", "ssmtp", "dma", "postfix"])
@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"\xff" * 1000, b"account\naccount :\naccount default :\n", b"=\n = \n$\nrelayhost=$relayhost\n",
                                     b"relayhost=[\n", b"mailhub=:\n", b"SMARTHOST\nPORT x\n", b"|:\n", b"a" * 2000000],
                         ids=["empty", "nul", "binary", "accounts", "equals", "bracket", "mailhub", "smarthost", "auth", "huge"])
def test_hostile_files(program, tmp_path, name, content):
    (tmp_path / "file").write_bytes(content)
    done = outtray("import", name, tmp_path / "file")
    assert done.returncode in (0, 65, 66)
    if done.returncode == 0:
        assert yaml.safe_load(done.stdout)["version"] == 1


# What is not there, or is nonsense


@pytest.mark.parametrize("name", ["nullmailer", "msmtprc", "ssmtp", "dma", "postfix"])
def test_what_does_not_exist_is_told(program, tmp_path, name):
    missing = tmp_path / "missing"
    done = outtray("import", name, missing)
    assert done.returncode == 66 and str(missing) in done.stderr and not done.stdout, (done.returncode, done.stderr)


def test_ssmtp_without_aliases_and_with_nonsense_in_them(imported, tmp_path):
    path = tmp_path / "ssmtp.conf"
    path.write_text("mailhub=mail.example.com\nrewriteDomain=example.com\n")
    data, _ = imported("ssmtp", path)
    (tmp_path / "revaliases").write_text(":::\nroot:root@example.com\n")
    again, _ = imported("ssmtp", path)
    assert set(again["tenants"]) - set(data["tenants"]) == {"root"} or "root" in again["tenants"]


def test_postfix_whose_password_map_is_missing(imported, tmp_path):
    path = tmp_path / "main.cf"
    path.write_text("relayhost = [mail.example.com]:587\nsmtp_sasl_auth_enable = yes\n"
                    f"smtp_sasl_password_maps = hash:{tmp_path}/missing\nmyhostname = pbx.example.com\n")
    done = outtray("import", "postfix", path)
    assert done.returncode in (0, 66) and "mail.example.com" in done.stdout + done.stderr
