"""A disk that does not give one file: its message waits, all others go on, and the spool is whole."""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))

from smtpserver import Server  # noqa: E402
from support.agent import ROOT, Agent  # noqa: E402
from support.wait import wait_until  # noqa: E402

PROGRAM = ROOT / "build-asan" / "fault" / "outtray"
TEXT = "From: Jane <jane@inside.example>\nTo: {}\nSubject: hello\n\nOne line.\n"
EIO, EUCLEAN = 5, 117
FOR_GOOD = 1000000

pytestmark = pytest.mark.xdist_group("fault")


@pytest.fixture(scope="module", autouse=True)
def program():
    made = subprocess.run(["make", "-j2", "fault-build"], cwd=ROOT, text=True, capture_output=True)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]


@pytest.fixture
def house(config, server, monkeypatch):
    monkeypatch.setenv("OUTTRAY", str(PROGRAM))
    config.account("relay", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none")
    config.tenant("acme", account="relay", from_="Acme <acme@example.com>")
    config.data["retry"] = {"first": "1m", "max": "4h", "give_up_after": "5d", "jitter": 0}
    config.server = server
    return config


def failing(config, clock, call="pread", error=EIO, last=FOR_GOOD, file="/bad"):
    # A file by its path in cur/ or where it lay: what is open keeps its name with it.
    return Agent(config, clock=clock, env={"OUTTRAY_FAULT": f"own:{call}:{error}:1:{last}", "OUTTRAY_FAULT_FILE": file})


def text(address="a@example.net"):
    return TEXT.format(address).encode()


def put(config, name, data, state="new"):
    path = config.spool / "acme" / state / name
    path.with_name(f".{name}").write_bytes(data)
    path.with_name(f".{name}").rename(path)
    return path


def is_whole(agent):
    assert not agent.events("spool_broken") and agent.status()["spool"] == "ok"


@pytest.mark.parametrize("error", [EIO, EUCLEAN])
def test_one_bad_file_in_new(house, clock, error):
    with failing(house, clock, error=error) as agent:
        agent.wait_ready()
        bad = put(house, "bad", text("bad@example.net"))
        said = agent.wait_event("message_unreadable", name="bad")[0]
        assert said["level"] == "error" and said["tenant"] == "acme" and os.strerror(error) == said["reason"] and said["retry_s"] == "60"
        for number in range(5):
            put(house, f"good{number}", text())
        wait_until(lambda: len(house.server.accepted) == 5, 20, lambda: agent.log_text()[-3000:])
        wait_until(lambda: len(agent.spool.names("acme", "sent")) == 5, 20, lambda: agent.log_text()[-3000:])
        assert bad.read_bytes() == text("bad@example.net") and not (house.spool / "acme" / "deferred" / "bad.status").exists()
        for wait in (120, 240, 480):  # looked at again, ever more rarely, and never in between
            count = len(agent.events("message_unreadable"))
            clock.advance(wait // 2)
            assert agent.wait_event("message_unreadable", count=count + 1)[-1]["retry_s"] == str(wait)
        assert len(agent.events("message_unreadable")) == 4
        put(house, "last", text())
        agent.spool.wait("acme", "last", "sent")
        is_whole(agent)


def test_it_is_sent_once_it_can_be_read(house, clock):
    agent = failing(house, clock, last=2)  # it is looked at for its priority, then read
    agent.prepare()
    put(house, "bad", text())
    with agent:
        agent.wait_event("message_unreadable", name="bad")
        clock.advance(60)
        agent.spool.wait("acme", "bad", "sent")
        assert agent.wait_event("sent")[0]["attempt"] == "1" and len(house.server.accepted) == 1
        is_whole(agent)


@pytest.mark.parametrize("call, file", [("pread", "/bad"), ("read", "/bad.status")])
def test_in_deferred_it_is_known_who_has_it(house, clock, call, file):
    """The content, or its status file: nothing of either is written, so nobody gets it twice."""
    server = Server(["on RCPT b@: once 451 4.7.1 later"])
    server.start()
    try:
        house.data["accounts"]["relay"]["port"] = server.port
        status = house.spool / "acme" / "deferred" / "bad.status"
        with Agent(house, clock=clock) as agent:
            put(house, "bad", text("a@example.net, b@example.net"))
            agent.spool.wait("acme", "bad", "deferred")
        before, due = status.read_bytes(), status.stat().st_mtime
        with failing(house, clock, call=call, file=file, last=1) as agent:
            agent.wait_ready()
            clock.advance(60)
            said = agent.wait_event("message_unreadable", name="bad")[0]
            assert 60 <= int(said["retry_s"]) <= 600
            assert agent.spool.where("acme", "bad") == ["deferred"]
            assert status.read_bytes() == before and status.stat().st_mtime > due
            assert len(server.accepted) == 1
            put(house, "good", text())
            agent.spool.wait("acme", "good", "sent")
            assert len(agent.events("message_unreadable")) == 1  # its being put back is no reason to look again
            clock.advance(600)
            agent.spool.wait("acme", "bad", "sent")
            is_whole(agent)
        assert sorted(rcpt for mail in server.accepted for rcpt in mail.rcpts) == ["a@example.net", "a@example.net", "b@example.net"]
    finally:
        server.stop()


def test_in_deferred_without_a_status_it_waits_in_new(house, clock):
    with failing(house, clock) as agent:
        agent.wait_ready()
        put(house, "bad", text("a@example.net"), "deferred")
        agent.wait_event("message_unreadable", name="bad")
        agent.spool.wait("acme", "bad", "new")
        put(house, "good", text())
        agent.spool.wait("acme", "good", "sent")
        is_whole(agent)


def test_once_does_not_wait_for_it(house, clock):
    agent = failing(house, clock)
    agent.prepare()
    put(house, "bad", text())
    put(house, "good", text())
    clock.advance(10)
    assert agent.once() == 1
    assert agent.spool.names("acme", "new") == ["bad"] and agent.spool.names("acme", "sent") == ["good"]
    assert agent.events("message_unreadable") and not agent.events("spool_broken")


@pytest.mark.parametrize("reply, state", [("550 5.1.1 no", "failed"), ("451 4.7.1 later", "deferred")])
def test_what_is_written_about_it_does_without_its_time_of_birth(house, clock, reply, state):
    """The disk gives the content, and not what the status file tells of the inode."""
    server = Server([f"on RCPT: {reply}"])
    server.start()
    try:
        house.data["accounts"]["relay"]["port"] = server.port
        with failing(house, clock, call="statx") as agent:
            agent.wait_ready()
            bad = put(house, "bad", text())
            inode = bad.stat().st_ino
            agent.spool.wait("acme", "bad", state)
            written = (house.spool / "acme" / state / "bad.status").read_text()
            assert f"inode: {inode}\n" in written and "born:" not in written
            is_whole(agent)
    finally:
        server.stop()


def test_one_with_a_key_waits_for_what_its_record_tells_of_it(house, clock):
    with failing(house, clock, call="statx", last=1) as agent:
        agent.wait_ready()
        put(house, "bad", b"X-Outtray-Key: once\n" + text())
        agent.wait_event("message_unreadable", name="bad")
        assert agent.spool.where("acme", "bad") == ["new"]
        clock.advance(60)
        agent.spool.wait("acme", "bad", "sent")
        assert len(house.server.accepted) == 1
        is_whole(agent)


def test_what_fails_to_be_written_still_breaks_the_spool(house, clock):
    agent = failing(house, clock, call="fsync", file="/acme/sent")
    with agent:
        agent.wait_ready()
        put(house, "bad", text())
        agent.wait_event("spool_broken")
        assert not agent.events("message_unreadable")
        assert agent.stop() == 74
