"""kill -9 on the way of a notice: it is told once, whatever the step, by the same agent or by another one."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess

import pytest
from support.agent import Agent, binary, environment
from support.config import Config
from support.wait import wait_until
from told import LATER, MESSAGE, REFUSE, left_behind, notices, once, status_of

F_OFD_SETLK = 37  # fcntl(2); this Python does not name it


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("call, when", [("renameat", 1), ("renameat", 2), ("renameat2", 3), ("renameat2", 4),
                                        ("fsync", 4), ("fsync", 6), ("fsync", 8), ("fsync", 10), ("fsync", 12)])
@pytest.mark.parametrize("kind", ["failed", "delayed"])
def test_crash_neither_loses_nor_repeats(house, kind, call, when):
    """kill -9 at a step of it, then another run: one notice, whatever the step."""
    agent = house(REFUSE if kind == "failed" else LATER, notify="sender", delay_warning="10m")
    name = agent.spool.drop("acme", MESSAGE)
    if kind == "delayed":
        once(agent, 1)
        agent.clock.advance(700)
    agent.clock.advance(10)
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}",
                           binary(), "run", "--once", "--config", agent.config.path],
                          env=environment(agent.clock, ASAN_OPTIONS="detect_leaks=0"), stderr=subprocess.DEVNULL, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    sent = len(notices(agent))
    for _ in range(3):
        agent.clock.advance(6000)
        once(agent)
    # A kill while the notice itself was on the wire may repeat it, as any message, with the same Message-ID.
    found = notices(agent)
    assert len({parsed["Message-ID"] for _, parsed in found}) == 1
    assert len(found) - sent <= 1 and len(found) >= 1
    state = "failed" if kind == "failed" else "deferred"
    assert status_of(agent, name, state)["notified" if kind == "failed" else "delay_warned"]
    assert left_behind(agent) == []


@pytest.fixture
def unmarked(house):
    """An agent that was killed with a notice of delay written and its message not marked; that is due now, and its server slow."""
    agent = house("on RCPT b@: x2 451 4.3.0 come back later", "on RCPT b@: once pause & 451 4.3.0 come back later", LATER,
                  notify="sender", delay_warning="10m")
    agent.name = agent.spool.drop("acme", MESSAGE)
    once(agent, 1)
    agent.clock.advance(710)
    written = agent.spool.path("acme") / ".notices" / "main"  # of the agent
    written.mkdir(0o700, parents=True)
    subprocess.run(["strace", "-f", "-o", "/dev/null", "-P", written, "-e", "trace=fsync", "-e", "inject=fsync:signal=SIGKILL",
                    binary(), "run", "--once", "--config", agent.config.path],
                   env=environment(agent.clock, ASAN_OPTIONS="detect_leaks=0"), stderr=subprocess.DEVNULL, timeout=120, check=False)
    assert sorted(path.suffix == ".list" for path in left_behind(agent)) == [False, True]
    assert notices(agent) == [] and agent.spool.names("acme", "cur") == [agent.name]
    agent.clock.advance(6000)
    return agent


@pytest.fixture
def other(unmarked, tmp_path):
    """An agent of another name on the same spool, not started yet."""
    own = Config(tmp_path / "other")
    own.spool = unmarked.config.spool
    own.data.update(unmarked.config.data, agent="other", state=str(own.state))
    agent = Agent(own, clock=unmarked.clock)
    yield agent
    assert agent.stop() in (0, None)


def told_once(agent, running):
    """It is told of before its message is tried, and the message is marked."""
    running.wait_event("notified")
    agent.server.release()
    running.wait_event("deferred", name=agent.name, attempt="3")
    wait_until(lambda: not left_behind(agent) and agent.spool.counts("acme")["new"] == 0, 20, "all is told")
    assert running.stop() == 0
    for _ in range(2):
        agent.clock.advance(6000)
        once(agent)
    assert len(notices(agent)) == 1
    assert status_of(agent, agent.name, "deferred")["delay_warned"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_crash_before_the_mark(unmarked):
    told_once(unmarked, unmarked.start())


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_crash_before_the_mark_and_a_neighbour(unmarked, other):
    """An agent of another name finds what the dead one left, and goes on in its place."""
    told_once(unmarked, other.start())


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_crash_before_the_mark_beside_a_neighbour(unmarked, other):
    """It comes back, and a neighbour that was there before takes the message as soon as it is put back."""
    lock = os.open(unmarked.config.spool / ".agents" / "main.lock", os.O_RDWR)
    fcntl.fcntl(lock, F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    other.start().wait_ready()  # while the other one seems to live
    os.close(lock)
    unmarked.start().wait_event("notified")
    wait_until(lambda: unmarked.server.seen("RCPT") >= 3, 20, "the message is tried")
    unmarked.server.release()
    wait_until(lambda: [*unmarked.events("deferred", attempt="3"), *other.events("deferred", attempt="3")], 20, "it is deferred again")
    wait_until(lambda: not left_behind(unmarked) and unmarked.spool.counts("acme")["new"] == 0, 20, "all is told")
    assert (unmarked.stop(), other.stop()) == (0, 0)
    for _ in range(2):
        unmarked.clock.advance(6000)
        once(unmarked)
    assert len(notices(unmarked)) == 1
    assert status_of(unmarked, unmarked.name, "deferred")["delay_warned"]
