"""Where log lines go: rotated files, the journal, syslog; none lost or torn, and mail never waits for them."""

import gzip
import json
import os
import re
import socket
import subprocess

import pytest

from support import logfmt
from support.agent import ROOT
from support.debs import Unavailable, library_path, unpack
from support.wait import wait_until

MESSAGE = "To: a@example.net\nSubject: s\n\ntext\n"
ROTATED_MESSAGES = 10000


@pytest.fixture
def agent(agent, server):
    agent.config.account("relay", server="127.0.0.1", port=server.port, encryption="none",
                         limits={"messages_per_connection": 100000})
    agent.config.tenant("acme", account="relay", from_="Acme <acme@example.com>")
    return agent


@pytest.fixture(scope="session")
def logrotate():
    """(command, environment) of Debian's logrotate."""
    try:
        root = unpack("logrotate")
    except Unavailable as reason:
        pytest.skip(f"logrotate: {reason}")
    return root / "usr/sbin/logrotate", dict(os.environ, LD_LIBRARY_PATH=library_path(root))


def shipped_rotation(agent, folder):
    """The configuration as shipped, but for where things lie and who they belong to here."""
    text = (ROOT / "scripts/outtray.logrotate").read_text(encoding="utf-8")
    for old, new in (("/var/log/outtray/*.log", f"{folder}/*.log"), ("/var/lib/outtray", str(agent.config.state)),
                     ("    su outtray outtray\n", ""), ("rotate 14", "rotate 10000"),
                     ("/run/systemd/system", "/nonexistent")):
        assert old in text
        text = text.replace(old, new)
    path = agent.config.directory / "outtray.logrotate"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    return path


def whole(path):
    return gzip.open(path, "rt", encoding="utf-8").read() if path.suffix == ".gz" else path.read_text(encoding="utf-8")


def test_logrotate_loses_and_tears_nothing(agent, logrotate):
    command, environment = logrotate
    folder = agent.config.directory / "log"
    folder.mkdir(mode=0o750)
    agent.config.set(log={"file": str(folder / "outtray.log")})
    rotation = shipped_rotation(agent, folder)
    agent.prepare()
    names = set()
    agent.start().wait_ready()
    rotations = 0
    while len(names) < ROTATED_MESSAGES:
        names.update(agent.spool.drop("acme", MESSAGE) for _ in range(1000))
        subprocess.run([command, "-f", "-s", agent.config.directory / "logrotate.state", rotation], check=True,
                       env=environment, capture_output=True)
        rotations += 1
        wait_until(lambda: "event=reload " in (folder / "outtray.log").read_text(encoding="utf-8"), 60, "the new file")
    wait_until(lambda: len(agent.spool.names("acme", "sent")) == ROTATED_MESSAGES, 120, "everything sent")
    assert agent.stop() == 0
    files = sorted(folder.iterdir())
    assert len(files) == rotations + 1 and sum(path.suffix == ".gz" for path in files) == rotations - 1
    sent = []
    for path in files:
        text = whole(path)
        assert text.endswith("\n")
        for line in text.splitlines():
            pairs = logfmt.parse(line)
            assert pairs and list(pairs)[:2] == ["time", "event"], f"{path.name}: {line}"
            if pairs["event"] == "sent":
                assert list(pairs)[-1] == "reply"
                sent.append(pairs["name"])
    assert len(sent) == len(names) and set(sent) == names


def test_marks_for_the_journal(agent, server):
    """Standard error is the journal's where $JOURNAL_STREAM names it: then, and only then, lines carry their level."""
    agent.config.account("other", server="127.0.0.1", port=1, encryption="none")
    agent.config.tenant("dead", account="other", from_="Dead <dead@example.com>")
    agent.output.touch()
    stat = agent.output.stat()
    agent.env["JOURNAL_STREAM"] = f"{stat.st_dev}:{stat.st_ino}"
    agent.start().wait_ready()
    agent.spool.drop("acme", MESSAGE)
    agent.spool.drop("dead", MESSAGE)
    wait_until(lambda: "event=account_paused" in agent.log_text() and "event=sent" in agent.log_text(), 20, agent.log_text)
    assert agent.stop() == 0
    lines = [line for line in agent.log_text().splitlines() if "time=" in line]
    assert all(re.match(r"<[3-7]>time=", line) for line in lines)
    marks = {"error": "3", "warning": "4", "notice": "5", "info": "6"}
    seen = {(line[1], pairs["event"], pairs.get("level")) for line in lines if (pairs := logfmt.parse(line[3:]))}
    assert ("6", "sent", None) in seen and ("5", "started", "notice") in seen
    assert all(mark == marks[level] for mark, _, level in seen if level)


def test_no_marks_elsewhere(agent):
    agent.output.touch()
    agent.env["JOURNAL_STREAM"] = f"{agent.output.stat().st_dev}:{agent.output.stat().st_ino + 1}"
    agent.start().wait_ready()
    assert agent.stop() == 0
    assert re.search(r"^time=\S+ event=started ", agent.log_text(), re.MULTILINE)


class Syslog:
    """What listens at /dev/log elsewhere."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path.unlink(missing_ok=True)
        self.socket.bind(str(path))
        self.socket.settimeout(0)
        self.lines = []

    def read(self):
        while True:
            try:
                self.lines.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return self.lines

    def wait(self, text, seconds=20):
        return wait_until(lambda: next((line for line in self.read() if text in line), None), seconds,
                          lambda: f"{text} in {self.lines[-5:]}")

    def close(self):
        self.socket.close()


@pytest.fixture
def syslog(agent, tmp_path):
    log = Syslog(tmp_path / "dev-log")
    agent.env["OUTTRAY_SYSLOG"] = str(log.path)
    yield log
    log.close()


@pytest.mark.parametrize("facility, number", [("mail", 2), ("daemon", 3), ("user", 1), ("local0", 16), ("local7", 23)])
def test_syslog(agent, syslog, facility, number):
    agent.config.set(log={"syslog": facility})
    agent.start()
    agent.spool.drop("acme", MESSAGE)
    sent = syslog.wait(" event=sent ")
    assert re.match(rf"<{number * 8 + 6}>[A-Z][a-z][a-z] [ 123]\d \d\d:\d\d:\d\d outtray\[{agent.pid}\]: time=20", sent), sent
    assert sent.count("\n") == 0 and 'reply="250' in sent
    assert syslog.wait(" event=started ").startswith(f"<{number * 8 + 5}>")
    assert agent.stop() == 0
    assert "event=" not in agent.log_text(), "standard error has the lines, too"


def test_syslog_and_file_as_json(agent, syslog):
    path = agent.config.directory / "outtray.log"
    agent.config.set(log={"syslog": "mail", "file": str(path), "format": "json"})
    agent.start()
    agent.spool.drop("acme", MESSAGE)
    line = syslog.wait('"event":"sent"')
    assert json.loads(line[line.index("{"):])["tenant"] == "acme"
    assert agent.stop() == 0
    syslog.read()
    kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [json.loads(line[line.index("{"):]) for line in syslog.lines] == kept


def test_syslog_that_reads_nothing_stops_no_mail(agent, syslog):
    agent.config.set(log={"syslog": "local3"})
    agent.start().wait_ready()
    names = [agent.spool.drop("acme", MESSAGE) for _ in range(1500)]
    wait_until(lambda: len(agent.spool.names("acme", "sent")) == len(names), 120, "everything sent")
    lost = "outtray_log_lost_total"

    def counted():
        agent.clock.advance(3)
        return agent.metrics()[lost] >= len(names) // 2

    wait_until(counted, 20, lambda: f"{agent.metrics()[lost]} lost")
    got = sum(" event=sent " in line for line in syslog.read())
    assert got and agent.metrics()[lost] + got <= len(names) + 10, (got, agent.metrics())
    last = agent.spool.drop("acme", MESSAGE)  # there is room again
    syslog.wait(f" name={last} ")


def test_syslog_started_anew_and_absent(agent, syslog):
    agent.config.set(log={"syslog": "daemon"})
    syslog.close()
    syslog.path.unlink()
    agent.start().wait_ready()
    agent.wait_ready()
    name = agent.spool.drop("acme", MESSAGE)
    agent.spool.wait("acme", name, "sent")
    for _ in range(2):
        again = Syslog(syslog.path)

        def heard():
            last = agent.spool.drop("acme", MESSAGE)
            agent.spool.wait("acme", last, "sent")
            return any(f" name={last} " in line for line in again.read())

        wait_until(heard, 20, "lines at the new socket")
        again.close()
    assert agent.stop() == 0
