"""outtray log: filters, formats, and following across a rotation."""

import json
import os
import subprocess

import pytest

from support.box import MESSAGE
from smtpserver import Rule
from support.agent import Agent, binary, environment, outtray
from support.wait import wait_until

LINES = """\
time=2026-11-23T10:00:00.000Z event=started level=notice msg="outtray 0.1.0 is running" agent=main
time=2026-11-23T10:00:01.000Z event=sent tenant=acme name=one message_id=<1@x> account=relay from=n@example.com to=a@example.net,b@example.net nrcpt=2 size=10 attempt=1 relay=127.0.0.1:25 tls="" conn_use=1 queue_ms=1 conn_ms=1 xfer_ms=1 reply="250 ok \\"quoted\\" \\\\ \\u001b"
time=2026-11-23T10:00:02.000Z event=deferred tenant=acme name=two account=relay to=C@Example.org nrcpt=1 attempt=1 reply="451 later" next=2026-11-23T10:01:02Z class=recipient
time=2026-11-24T10:00:03.000Z event=failed tenant=other name=three account=second to=d@example.net nrcpt=1 reply="550 no to=b@example.net" reason=recipient
time=2026-11-24T10:00:04.000Z event=account_paused level=error msg="see to it" account=second breaker=open_credentials
"""


def numbers(done):
    """Which of LINES came out."""
    all_lines = LINES.splitlines()
    return [all_lines.index(line) for line in done.stdout.splitlines()]


def read(*arguments, text=LINES, **options):
    return outtray("log", "--file", "-", *arguments, input=text, **options)


@pytest.mark.parametrize("arguments,wanted", [
    ([], [0, 1, 2, 3, 4]), (["--tenant", "acme"], [1, 2]), (["--account", "second"], [3, 4]), (["--event", "sent"], [1]),
    (["--event", "sent,failed"], [1, 3]), (["--name", "two"], [2]), (["--recipient", "b@example.net"], [1]),
    (["--recipient", "c@example.ORG"], [2]), (["--recipient", "@example.net"], [1, 3]), (["--since", "2026-11-24"], [3, 4]),
    (["--since", "2026-11-23T10:00:02Z"], [2, 3, 4]), (["-n", "2"], [3, 4]), (["-n", "1", "--tenant", "acme"], [2]), (["-n", "0"], []),
    (["--tenant", "acme", "--event", "deferred", "--recipient", "example"], [2]), (["--tenant", "nobody"], [])])
def test_filters(program, arguments, wanted):
    done = read(*arguments)
    assert done.returncode == 0
    assert done.stderr == ("outtray log: no line fits\n" if "nobody" in arguments else "")
    assert numbers(done) == wanted


def test_json(program):
    found = [json.loads(line) for line in read("--json").stdout.splitlines()]
    assert len(found) == 5
    assert found[1]["reply"] == '250 ok "quoted" \\ \x1b' and found[1]["nrcpt"] == 2 and found[1]["tls"] == ""
    assert list(found[2])[:4] == ["time", "event", "tenant", "name"]
    again = read("--event", "sent", text="".join(json.dumps(one) + "\n" for one in found))
    assert [json.loads(line) for line in again.stdout.splitlines()] == [found[1]]


def test_in_front_of_the_line(program):
    """What syslog and journals put there is no hindrance."""
    text = "".join(f"Nov 23 10:00:00 host outtray[7]: {line}\n<5>{line}\n" for line in LINES.splitlines())
    assert len(read("--event", "sent", text=text).stdout.splitlines()) == 2


def test_what_is_no_line(program):
    text = "==ERROR==\n\n{\"broken\": \ntime=x\ntime=2026-11-23T10:00:00.000Z event=sent tenant=\"unclosed\n" + "x" * 100000 + "\n" + LINES[:-1]
    assert read("--tenant", "acme", text=text).stdout.count("\n") == 2
    assert len(read(text=text).stdout.splitlines()) == 11


def test_since_a_duration(program):
    import datetime
    now = datetime.datetime.now(datetime.timezone.utc)
    times = [(now - datetime.timedelta(minutes=m)).strftime("%Y-%m-%dT%H:%M:%S.000Z") for m in (90, 10, 1)]
    text = "".join(f"time={time} event=sent name=m{n}\n" for n, time in enumerate(times))
    assert len(read("--since", "15m", text=text).stdout.splitlines()) == 2
    assert len(read("--since", "2h", text=text).stdout.splitlines()) == 3


def test_usage(box):
    for arguments in (["--since", "soon"], ["-n", "many"], ["surplus"], ["-n", "-1"]):
        assert read(*arguments).returncode == 64, arguments
    assert outtray("log", "--file", box.config.directory / "none").returncode == 66
    box.ready()
    done = box.run("log")
    assert done.returncode == 66 and "journalctl" in done.stderr


def logging(box, form):
    box.config.data["log"] = {"file": str(box.config.directory / "outtray.log"), "format": form}
    return box.config.directory / "outtray.log"


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_of_an_agent(box, form):
    """On a running agent and on a stopped one."""
    logging(box, form)
    box.server.rules[:] = [Rule("on RCPT b@example.net: 550 5.1.1 no such user")]
    with Agent(box.config, clock=box.clock) as agent:
        agent.wait_ready()
        for name, who in (("one", b"a@"), ("two", b"b@")):
            agent.spool.drop("acme", MESSAGE.replace(b"a@", who), name=name)
        agent.spool.wait("acme", "two", "failed")
        agent.wait_event("failed")
        assert agent.verb("log", "--recipient", "b@example.net").stdout.count("two") == 1
    found = [json.loads(line) for line in box.run("log", "--json", "--tenant", "acme").stdout.splitlines()]
    assert sorted((one["event"], one["name"]) for one in found) == [("failed", "two"), ("sent", "one")]
    assert json.loads(box.run("log", "--json", "-n", "1").stdout)["event"] == "stopped"


def test_follow_across_a_rotation(box):
    path = logging(box, "logfmt")
    with Agent(box.config, clock=box.clock) as agent:
        agent.wait_ready()
        out = box.config.directory / "followed"
        with open(out, "wb") as file:
            following = subprocess.Popen([binary(), "log", "-f", "--config", str(box.config.path), "--event", "sent"], stdout=file,
                                         env=environment(box.clock))
        try:
            names = []

            def send(n):
                for i in range(n):
                    names.append(f"m{len(names):03}")
                    agent.spool.drop("acme", MESSAGE, name=names[-1])

            def followed():
                return [line.split("name=")[1].split()[0] for line in out.read_text().splitlines()]
            send(5)
            wait_until(lambda: len(followed()) == 5, 20, "the first lines")
            os.rename(path, str(path) + ".1")  # as logrotate does
            send(20)
            path.touch()  # its `create`
            agent.reload()
            send(20)
            agent.spool.wait_counts("acme", 20, sent=45)
            wait_until(lambda: path.stat().st_size > 0, 20, "the new file")
            send(5)
            wait_until(lambda: len(followed()) >= 50, 30, lambda: f"all lines: {len(followed())}")
            assert sorted(followed()) == names
            assert following.poll() is None
        finally:
            following.terminate()
            following.wait(20)


def test_follow_a_file_that_is_cut_off(program, tmp_path):
    path = tmp_path / "log"
    path.write_text(LINES)
    out = tmp_path / "out"
    with open(out, "wb") as file:
        following = subprocess.Popen([binary(), "log", "-f", "--file", str(path)], stdout=file, env=environment())
    try:
        wait_until(lambda: len(out.read_text().splitlines()) == 5, 20, "the first lines")
        path.write_text("time=2026-11-25T10:00:00.000Z event=reload\n")
        wait_until(lambda: "event=reload" in out.read_text(), 20, "the line after")
        with open(path, "a") as file:
            file.write("time=2026-11-25T10:00:01.000Z event=")
            file.flush()
            file.write("torn\n")
        wait_until(lambda: "event=torn" in out.read_text(), 20, "a line in two writes")
    finally:
        following.terminate()
        following.wait(20)
