"""Who has a message of new/ while it is delivered: the lock on its file, and what operators and crashes make of it."""

import contextlib
import fcntl
import signal
import subprocess

import pytest
from smtpserver import Server
from support.agent import Agent, wait_until
from support.box import MESSAGE, Box
from support.config import Config


@pytest.fixture
def scripted(program, config, clock):
    """box = scripted(LINE…): a Box with a server that follows a script, and an agent that runs."""
    with contextlib.ExitStack() as stack:
        def start(*script, env=None):
            server = Server(list(script))
            server.start()
            stack.callback(server.stop)
            box = Box(config, clock, server)
            box.agent = stack.enter_context(Agent(config, clock=clock, env=env))
            box.agent.wait_ready()
            return box
        yield start


def locked(path):
    """Whether somebody else holds the lock of the file."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def caught_in_new(box):
    """Submits messages until one was stopped, together with the agent, on its way to the server and still in new/."""
    for number in range(50):
        name = f"m{number}"
        path = box.spool.path("acme", "new", name)
        seen = box.server.seen("BDAT")
        box.spool.drop("acme", MESSAGE, name=name)
        wait_until(lambda: box.server.seen("BDAT") > seen, 20, "the message is on the wire", interval=0.001)
        box.agent.process.send_signal(signal.SIGSTOP)
        if path.exists():
            return path
        box.agent.process.send_signal(signal.SIGCONT)  # a slow machine: it lies in cur/ already
    raise AssertionError("no message was caught in new/")


def go_on(box):
    box.agent.process.send_signal(signal.SIGCONT)
    box.server.release()


def accepted(box, name):
    """How often the message was accepted, by its Message-ID in the log's words."""
    ids = {event["message_id"] for event in box.agent.events("sent", name=name)}
    return sum(any(f"Message-ID: {one}".encode() in mail.data for one in ids) for mail in box.server.accepted)


def test_what_is_under_way_for_long_lies_in_cur(scripted):
    box = scripted("on BDAT: pause")
    box.spool.drop("acme", MESSAGE, name="m")
    wait_until(lambda: box.spool.where("acme", "m") == ["cur"], 10, "it lies in cur/")
    assert "is being delivered in this moment" in box.run("show", "m").stdout
    box.server.release()
    box.spool.wait("acme", "m", "sent")
    assert len(box.server.accepted) == 1


def test_the_lock_is_the_claim(scripted):
    box = scripted("on BDAT: pause")
    path = caught_in_new(box)
    assert locked(path)
    for verb in ("hold", "drop"):
        done = box.run(verb, *(["--yes"] if verb == "drop" else []), path.name)
        assert done.returncode == 75 and "is being delivered in this moment" in done.stderr
    flock = subprocess.run(["flock", "-n", path, "mv", "-n", path, box.spool.path("acme", "hold")], check=False)
    assert flock.returncode == 1 and path.exists()
    go_on(box)
    box.spool.wait("acme", path.name, "sent")


def test_moved_away_under_way(scripted):
    """Sent all the same, and not sent again when it comes back."""
    box = scripted("on BDAT: pause")
    path = caught_in_new(box)
    held = box.spool.path("acme", "hold", path.name)
    path.rename(held)
    go_on(box)
    box.agent.wait_event("message_vanished", name=path.name)
    box.agent.wait_event("sent", name=path.name)
    before = len(box.server.accepted)
    box.run("release", path.name, check=True)
    box.spool.wait("acme", path.name, "sent")
    assert len(box.server.accepted) == before
    wait_until(lambda: not list(box.spool.path("acme", "deferred").iterdir()), 10, "its status is gone as well")


def test_deleted_under_way(scripted):
    box = scripted("on BDAT: pause")
    path = caught_in_new(box)
    path.unlink()
    go_on(box)
    box.agent.wait_event("message_vanished", name=path.name)
    box.agent.wait_event("sent", name=path.name)
    assert not list(box.spool.path("acme", "deferred").iterdir())
    box.spool.drop("acme", MESSAGE, name="next")
    box.spool.wait("acme", "next", "sent")


def test_replaced_under_way(scripted):
    """A producer that uses a name again loses neither message."""
    box = scripted("on BDAT: pause")
    path = caught_in_new(box)
    fresh = box.spool.path("acme", "tmp", "fresh")
    fresh.write_bytes(MESSAGE.replace(b"One line.", b"Another line."))
    inode = fresh.stat().st_ino
    fresh.rename(path)
    go_on(box)
    box.spool.wait("acme", path.name, "sent")
    assert box.spool.path("acme", "sent", path.name).stat().st_ino == inode
    bodies = [mail.data.split(b"\r\n\r\n", 1)[1] for mail in box.server.accepted]
    assert bodies.count(b"Another line.\r\n") == 1
    assert len(box.agent.wait_event("sent", count=2, name=path.name)) == 2


def test_killed_under_way(scripted):
    """Nothing is to be put back: the next agent finds the message where it was."""
    box = scripted("on BDAT: pause")
    path = caught_in_new(box)
    box.agent.kill()
    assert path.exists() and not locked(path)
    box.server.release()
    box.agent.start()
    box.spool.wait("acme", path.name, "sent")
    assert len({event["message_id"] for event in box.agent.wait_event("sent", name=path.name)}) == 1
    assert 1 <= accepted(box, path.name) <= 2


def test_a_lock_of_somebody_else_is_waited_for(scripted):
    box = scripted()
    path = box.spool.path("acme", "tmp", "m")
    path.write_bytes(MESSAGE)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        path.rename(box.spool.path("acme", "new", "m"))
        box.spool.drop("acme", MESSAGE, name="behind")
        box.spool.wait("acme", "behind", "sent")
        assert box.spool.where("acme", "m") == ["new"]
    box.clock.advance(2)
    box.spool.wait("acme", "m", "sent")


def test_two_agents_on_one_tenant(program, config, clock, server, tmp_path):
    """Each message goes to one of them, and both work."""
    box = Box(config, clock, server)
    with contextlib.ExitStack() as stack:
        agents = []
        for name in ("a", "b"):
            own = Config(tmp_path / name)
            own.spool = config.spool
            own.data.update(config.data, agent=name, state=str(own.state))
            agents.append(stack.enter_context(Agent(own, clock=clock)))
            agents[-1].wait_ready()
        for number in range(400):
            box.spool.drop("acme", MESSAGE, name=f"m{number:03}")
        wait_until(lambda: len(box.spool.names("acme", "sent")) == 400, 60, "all are sent")
        assert len(server.accepted) == 400
    assert sum(len(agent.events("sent")) for agent in agents) == 400
