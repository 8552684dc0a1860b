"""pause, resume and flush: stopping an account by hand, and making all that is deferred due."""

import os
import pathlib
import re
import tempfile

import pytest

from support.agent import Agent, Clock, Config
from support.box import LATER, MESSAGE, Box, say, to, where
from support.wait import wait_until


# pause, resume

def test_pause_on_a_running_agent(alive):
    done = alive.verb("pause", "relay", "--reason", "server moves")
    assert done.returncode == 0 and "outtray resume relay" in done.stdout
    said = alive.wait_event("account_paused", account="relay")[0]
    assert said["by"] and said["why"] == "server moves" and said["level"] == "notice"
    alive.spool.drop("acme", MESSAGE, name="one")
    alive.spool.drop("other", MESSAGE, name="two")
    alive.spool.wait("other", "two", "sent")
    assert where(alive.box, "one") == ["new"]
    wait_until(lambda: alive.status()["accounts"]["relay"]["paused"] is True, 10, "status.json")
    assert alive.status()["accounts"]["relay"]["breaker"] == "closed"
    assert alive.status()["accounts"]["second"]["paused"] is False
    assert "paused by" in alive.verb("retry", "one").stderr
    done = alive.verb("resume", "relay", "--reason", "moved")
    assert done.returncode == 0
    alive.spool.wait("acme", "one", "sent")
    said = alive.wait_event("account_resumed", account="relay")[0]
    assert said["by"] and said["why"] == "moved"
    wait_until(lambda: alive.status()["accounts"]["relay"]["paused"] is False, 10, "status.json")
    wait_until(lambda: alive.metrics()['outtray_account_paused{account="relay"}'] == 0, 10, "metrics")


def test_pause_puts_through_what_is_on_the_wire(alive):
    say(alive.box, "on BODY: once pause & default")
    alive.spool.drop("acme", MESSAGE, name="one")
    alive.spool.wait("acme", "one", "cur")
    assert alive.verb("pause", "relay").returncode == 0
    alive.wait_event("account_paused")
    alive.spool.drop("acme", MESSAGE, name="two")
    alive.box.server.release()
    alive.spool.wait("acme", "one", "sent")
    wait_until(lambda: alive.status()["accounts"]["relay"]["sessions"] == 0, 20, "no session")
    assert where(alive.box, "two") == ["new"]
    assert alive.verb("resume", "relay").returncode == 0
    alive.spool.wait("acme", "two", "sent")


def test_pause_between_the_transactions_of_a_message(box):
    """Who has it is on the disk, the others wait; nobody gets it twice."""
    box.config.data["accounts"]["relay"]["limits"] = {"recipients_per_message": 1, "connections": 1}
    say(box, "on BODY: once pause & default")
    with Agent(box.config, clock=box.clock) as agent:
        agent.wait_ready()
        agent.spool.drop("acme", to("a", "b"), name="one")
        agent.spool.wait("acme", "one", "cur")
        wait_until(lambda: box.server.seen("BODY") == 1, 10, "the first transaction")
        agent.verb("pause", "relay", check=True)
        agent.wait_event("account_paused")
        box.server.release()
        agent.spool.wait("acme", "one", "deferred")
        assert {one["address"]: one["state"] for one in agent.spool.status("acme", "deferred", "one")["recipients"]} == {
            "a@example.net": "sent", "b@example.net": "pending"}
        assert len(box.server.accepted) == 1
        agent.verb("resume", "relay", check=True)
        agent.spool.wait("acme", "one", "sent")
        assert [one.rcpts for one in box.server.accepted] == [["a@example.net"], ["b@example.net"]]


def test_pause_survives_a_restart(box):
    box.ready()
    assert box.run("pause", "relay", "--reason", "night").returncode == 0
    box.spool.drop("acme", MESSAGE, name="one")
    box.clock.advance(10)
    assert box.run("run", "--once").returncode == 1  # findings: due mail behind a paused account
    assert where(box, "one") == ["new"]
    with Agent(box.config, clock=box.clock, init=False) as agent:
        agent.wait_ready()
        assert agent.events("account_paused", account="relay")[0]["why"] == "night"
        assert where(box, "one") == ["new"]
        agent.kill()
        agent.start().wait_ready()
        assert agent.wait_event("account_paused", account="relay", count=2)
        assert where(box, "one") == ["new"]
    done = box.run("resume", "relay")
    assert done.returncode == 0 and "resumed" in done.stdout
    box.deliver()
    assert where(box, "one") == ["sent"]


def test_pause_by_hand(alive):
    """STATE/paused/ACCOUNT is all there is to it."""
    path = alive.config.state / "paused" / "relay"
    path.with_name(".new").write_text("somebody was here\n")
    path.with_name(".new").rename(path)
    said = alive.wait_event("account_paused", account="relay")[0]
    assert said["why"] == "somebody was here" and said["by"]
    path.unlink()
    alive.wait_event("account_resumed", account="relay")


def test_pause_of_a_new_account(alive):
    """An account that comes with a reload is paused from the start."""
    alive.config.account("third", email="third@example.com", server="127.0.0.1", port=alive.box.server.port, encryption="none")
    alive.config.tenant("newcomer", account="third")
    alive.config.write()
    assert alive.verb("pause", "third").returncode == 0
    assert alive.verb("init").returncode == 0
    alive.spool.drop("newcomer", MESSAGE, name="one")
    alive.reload()
    alive.wait_event("account_paused", account="third")
    assert where(alive.box, "one", "newcomer") == ["new"]


def test_pause_words(mixed):
    done = mixed.run("pause", "realy")
    assert done.returncode == 66 and "did you mean relay" in done.stderr
    assert mixed.run("pause").returncode == 64
    assert mixed.run("resume", "relay", "second").returncode == 64
    done = mixed.run("resume", "relay")
    assert done.returncode == 0 and "was not paused" in done.stdout
    mixed.run("pause", "relay", "--reason", "two\nlines \x1b[31m", check=True)
    line = (mixed.config.state / "paused" / "relay").read_text()
    assert re.fullmatch(r"at=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ by=\S+ reason=two_lines _\[31m\n", line)
    assert "still" in mixed.run("pause", "relay").stdout


def test_what_waits_behind_a_pause_is_told_why(alive):
    """Whoever waits for a message hears the reason; a test message goes all the same, and says that the mail does not."""
    alive.verb("pause", "relay", "--reason", "night", check=True)
    alive.wait_event("account_paused", account="relay")
    done = alive.verb("submit", "--tenant", "acme", "--wait=1s", "b@example.net", input=b"Subject: x\n\ntext\n")
    assert done.returncode == 75 and "not sent yet" in done.stderr and "account relay was paused by" in done.stderr
    done = alive.verb("test", "relay", "--to", "a@example.net")
    assert done.returncode == 0 and "the message was taken" in done.stdout and "account relay was paused by" in done.stderr
    assert [one.rcpts for one in alive.box.server.accepted] == [["a@example.net"]]


def test_resume_tries_an_account_in_trouble(box):
    box.server.pause()
    box.config.data["retry"]["first"] = "1h"
    with Agent(box.config, clock=box.clock) as agent:
        agent.wait_ready()
        box.spool.drop("acme", MESSAGE, name="one")

        def paused():
            box.clock.advance(1)
            return agent.events("account_paused", account="relay")
        wait_until(paused, 30, "the breaker")
        box.server.resume()
        assert "was not paused" in agent.verb("resume", "relay").stdout
        agent.spool.wait("acme", "one", "sent")
        agent.wait_event("account_resumed", account="relay")


# flush

def test_flush_on_a_running_agent(alive):
    say(alive.box, LATER)
    for name in ("one", "two"):
        alive.spool.drop("acme", to("later"), name=name)
    alive.spool.wait_counts("acme", deferred=2)
    say(alive.box)
    done = alive.verb("flush")
    assert done.returncode == 0
    alive.spool.wait_counts("acme", sent=2, deferred=0)
    say(alive.box, LATER)
    alive.spool.drop("acme", to("later"), name="three")
    alive.spool.wait("acme", "three", "deferred")
    (alive.config.state / "flush").touch()  # a second one, by hand
    alive.wait_event("flush", count=2)
    alive.wait_event("deferred", name="three", count=2)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs /dev/shm: 8,300 messages on a disk take a minute")
def test_flush_of_more_than_the_backlog_holds(program, server):
    """More deferred messages than the agent keeps in memory; most of them are over, so that no server has to take them."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        box = Box(Config(pathlib.Path(directory)), Clock(pathlib.Path(directory, "clock")), server)
        with Agent(box.config, clock=box.clock) as alive:
            alive.wait_ready()
            deferred = alive.spool.path("acme", "deferred")
            assert alive.verb("pause", "relay").returncode == 0
            alive.wait_event("account_paused")
            over = b"X-Outtray-Expires: 2020-01-01T00:00:00Z\n" + MESSAGE
            for n in range(8300):
                data = MESSAGE if n % 100 == 99 else over
                path = deferred / f"m{n:05}"
                path.write_bytes(data)
                status = deferred / f"m{n:05}.status"
                status.write_text(f"version: 1\ntenant: acme\nname: m{n:05}\ninode: {path.stat().st_ino}\nsize: {len(data)}\nstate: deferred\n"
                                  "recipients:\n  - {address: a@example.net, state: pending}\n")
                os.utime(status, (4e9, 4e9))
            assert alive.verb("flush").returncode == 0
            alive.wait_event("flush")
            assert alive.verb("resume", "relay").returncode == 0
            alive.spool.wait_counts("acme", 120, sent=83, failed=8217, deferred=0)
            assert len(server.accepted) == 83


def test_flush_without_an_agent(mixed):
    mixed.spool.drop("acme", MESSAGE, name="lone")
    os.rename(mixed.spool.path("acme", "new", "lone"), mixed.spool.path("acme", "deferred", "lone"))
    done = mixed.run("flush")
    assert done.returncode == 0 and "2 deferred messages are due" in done.stdout
    assert mixed.run("run", "--once").returncode == 0
    assert where(mixed, "later") == where(mixed, "lone") == ["sent"]
    assert mixed.run("flush", "acme").returncode == 64
