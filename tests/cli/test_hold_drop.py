"""hold, release and drop: taking messages out of the way, also while they are on the wire."""

import json
import os
import pty
import subprocess

from support.agent import binary, environment
from support.box import LATER, MESSAGE, say, to, where
from support.wait import wait_until


# hold, release

def test_hold_and_release(mixed):
    done = mixed.run("hold", "fresh", "later")
    assert done.returncode == 0
    assert where(mixed, "fresh") == where(mixed, "later") == ["hold"]
    assert "is held until" in mixed.run("show", "later").stdout and "451 4.3.0" in mixed.run("show", "later").stdout
    mixed.clock.advance(86400)
    mixed.run("run", "--once")
    assert where(mixed, "fresh") == where(mixed, "later") == ["hold"]
    done = mixed.run("release", "fresh", "later")
    assert done.returncode == 0
    assert "acme/hold/fresh: released to new/" in done.stdout and "acme/hold/later: released to deferred/" in done.stdout
    assert mixed.spool.status("acme", "deferred", "later")["attempts"]
    assert mixed.run("run", "--once").returncode == 0
    assert where(mixed, "fresh") == where(mixed, "later") == ["sent"]
    assert [m.rcpts for m in mixed.server.accepted if "later@example.net" in m.rcpts] == [["later@example.net"]]


def test_hold_what_cannot_be(mixed):
    for verb, name, words in (("hold", "good", "was delivered"), ("hold", "bad", "given up"), ("release", "fresh", "not held"),
                              ("release", "bad", "not held")):
        done = mixed.run(verb, name)
        assert done.returncode == 66 and words in done.stderr, (verb, name)
    mixed.run("hold", "fresh", check=True)
    assert "held already" in mixed.run("hold", "fresh").stderr


def test_hold_all(mixed):
    done = mixed.run("hold", "--all", "--json")
    assert sorted(one["name"] for one in json.loads(done.stdout)) == ["foreign", "fresh", "later"]
    assert where(mixed, "foreign", "other") == ["hold"]
    done = mixed.run("release", "--account", "second", "--json")
    assert [(one["name"], one["state"]) for one in json.loads(done.stdout)] == [("foreign", "new")]


def test_hold_keeps_the_status_for_long(mixed):
    """Retention does not take the history of what is held."""
    mixed.run("hold", "later", check=True)
    mixed.clock.advance(400 * 86400)
    mixed.run("run", "--once")
    assert mixed.spool.path("acme", "deferred", "later.status").exists()


def test_a_name_that_is_taken_in_hold(mixed):
    mixed.run("hold", "fresh", check=True)
    mixed.spool.drop("acme", MESSAGE, name="fresh")
    assert mixed.run("hold", "fresh").returncode == 0
    assert mixed.spool.names("acme", "hold") == ["fresh", "fresh~2"]


def test_claimed_in_this_moment(alive):
    """What is on the wire is said to be so, and goes on undisturbed."""
    say(alive.box, "on BODY: pause & default")
    alive.spool.drop("acme", MESSAGE, name="one")
    alive.spool.wait("acme", "one", "cur")
    for verb in (["hold"], ["drop", "--yes"], ["drop", "--yes", "--delete"]):
        done = alive.verb(*verb, "one")
        assert done.returncode == 75
        assert "acme/cur/main/one is being delivered in this moment" in done.stderr
    done = alive.verb("retry", "one")
    assert done.returncode == 0 and "is being delivered" in done.stdout
    assert "is being delivered in this moment by agent main" in alive.verb("show", "one").stdout
    alive.box.server.release()
    alive.spool.wait("acme", "one", "sent")


def test_hold_while_mail_goes_out(alive):
    """Nothing is lost and nothing is in two places, whoever is faster."""
    names = [f"m{n:03}" for n in range(120)]
    for name in names:
        alive.spool.drop("acme", MESSAGE, name=name)
    while any(alive.spool.names("acme", state) for state in ("new", "cur")):
        done = alive.verb("hold", "--all")
        assert done.returncode == 0, done.stderr
        alive.verb("drop", "--yes", "--tenant", "acme", check=True)
    found = sum((alive.spool.names("acme", state) for state in ("sent", "hold", "failed")), [])
    assert sorted(found) == names
    sent = alive.spool.names("acme", "sent")
    wait_until(lambda: len(alive.box.server.accepted) == len(sent), 10, "what was sent, once each")
    for name in alive.spool.names("acme", "failed"):
        assert alive.spool.status("acme", "failed", name)["reason"] == "expired"
    assert not list(alive.spool.path("acme", "deferred").iterdir())


# drop

def test_drop(mixed):
    done = mixed.run("drop", "--yes", "fresh", "later")
    assert done.returncode == 0
    for name, recipients in (("fresh", {"a@example.net": "pending"}),
                             ("later", {"later@example.net": "pending", "x@example.net": "sent"})):
        assert where(mixed, name) == ["failed"]
        status = mixed.spool.status("acme", "failed", name)
        assert status["state"] == "failed" and status["reason"] == "expired"
        assert "dropped by" in status["detail"]
        assert status["fix"] == f"mv failed/{name} new/"
        assert {one["address"]: one["state"] for one in status["recipients"]} == recipients
        assert status["inode"] == mixed.spool.path("acme", "failed", name).stat().st_ino
    assert status["attempts"][0]["reply"] == "451 4.3.0 try later"
    assert not mixed.spool.path("acme", "deferred", "later.status").exists()
    mixed.run("retry", "later", check=True)
    mixed.deliver()
    assert [m.rcpts for m in mixed.server.accepted] .count(["later@example.net"]) == 1


def test_drop_delete(mixed):
    done = mixed.run("drop", "--yes", "--delete", "fresh", "later", "bad")
    assert done.returncode == 0
    for name in ("fresh", "later", "bad"):
        assert where(mixed, name) == []
    assert not [p for p in mixed.spool.root.rglob("*") if p.name.split(".")[0] in ("fresh", "later", "bad")]
    assert where(mixed, "good") == ["sent"]


def test_drop_of_the_failed(mixed):
    assert "already" in mixed.run("drop", "--yes", "bad").stderr
    assert mixed.run("drop", "--yes", "--failed", "--all").returncode == 64
    assert mixed.run("drop", "--yes", "--delete", "--failed", "--all").returncode == 0
    assert where(mixed, "bad") == [] and where(mixed, "later") == ["deferred"] and where(mixed, "fresh") == ["new"]


def test_drop_asks(mixed):
    done = mixed.run("drop", "fresh")
    assert done.returncode == 64 and "--yes" in done.stderr
    assert where(mixed, "fresh") == ["new"]
    for answer, code, place in ((b"n\n", 1, ["new"]), (b"\n", 1, ["new"]), (b"y\n", 0, ["failed"])):
        parent, child = pty.openpty()
        asked = subprocess.Popen([binary(), "drop", "--config", str(mixed.config.path), "fresh"], stdin=child, stderr=subprocess.PIPE,
                                 stdout=subprocess.PIPE, env=environment(mixed.clock), text=True)
        os.close(child)
        os.write(parent, answer)
        out, _ = asked.communicate(timeout=60)
        os.close(parent)
        assert asked.returncode == code
        assert "acme/new/fresh" in out and "Give up 1 message? [y/N]" in out
        assert where(mixed, "fresh") == place


def test_drop_on_a_running_agent(alive):
    say(alive.box, LATER)
    alive.spool.drop("acme", to("later"), name="later")
    alive.spool.wait("acme", "later", "deferred")
    assert alive.verb("drop", "--yes", "later").returncode == 0
    assert where(alive.box, "later") == ["failed"]
    say(alive.box)
    assert alive.verb("flush").returncode == 0
    alive.wait_event("flush")
    assert where(alive.box, "later") == ["failed"]
