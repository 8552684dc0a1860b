"""show, retry, hold, release, drop, pause, resume and flush: on a stopped agent and on a running one."""

import json
import os
import pathlib
import pty
import re
import subprocess
import tempfile

import pytest

from support.box import MESSAGE, Box
from smtpserver import Rule
from support.agent import Agent, Clock, Config, binary, environment
from support.wait import wait_until

LATER = "on RCPT later@example.net: 451 4.3.0 try later"
BAD = "on RCPT bad@example.net: 550 5.1.1 no such user"


def to(*people):
    return MESSAGE.replace(b"a@example.net", ", ".join(f"{one}@example.net" for one in people).encode())


def say(box, *rules):
    box.server.rules[:] = [Rule(rule) for rule in rules]


@pytest.fixture
def mixed(box):
    """Messages in sent/, deferred/, failed/ and new/ of acme; one in new/ of other, on another account."""
    box.config.account("second", email="second@example.com", server="127.0.0.1", port=box.server.port, encryption="none")
    box.config.tenant("other", account="second")
    say(box, LATER, BAD)
    box.ready()
    for name in ("good", "later", "bad"):
        box.spool.drop("acme", to(name, "x"), name=name)
    box.deliver(code=1)
    box.server.accepted.clear()
    say(box)
    box.spool.drop("acme", MESSAGE, name="fresh")
    box.spool.drop("other", MESSAGE, name="foreign")
    return box


@pytest.fixture
def alive(box):
    """An agent that runs, with two accounts and a tenant on each; box is its Box."""
    box.config.data["retry"]["first"] = "1h"
    box.config.account("second", email="second@example.com", server="127.0.0.1", port=box.server.port, encryption="none")
    box.config.tenant("other", account="second")
    with Agent(box.config, clock=box.clock) as agent:
        agent.box = box
        yield agent.wait_ready()


def where(box, name, tenant="acme"):
    return box.spool.where(tenant, name)


# show

def test_show_deferred(mixed):
    done = mixed.run("show", "later")
    assert done.returncode == 0, done.stderr
    for text in ("acme/deferred/later", "waits for its next attempt", "later@example.net: not delivered yet",
                 "x@example.net: delivered", "451 4.3.0 try later", "Attempts: 1", "Subject: hello", "noreply@example.com",
                 "Acme Voicemail", f"relay by 127.0.0.1:{mixed.server.port}"):
        assert text in done.stdout, (text, done.stdout)


@pytest.mark.parametrize("name,words", [("good", "was delivered to every recipient"), ("bad", "given up as recipient"),
                                        ("fresh", "waits for its first attempt")])
def test_show_other_states(mixed, name, words):
    done = mixed.run("show", name)
    assert done.returncode == 0
    assert words in done.stdout
    assert "From: Jane <jane@inside.example>" in done.stdout
    assert ("outtray retry acme/failed/bad" in done.stdout) == (name == "bad")


def test_show_json(mixed):
    done = mixed.run("show", "--json", "later", "fresh")
    assert done.returncode == 0
    later, fresh = json.loads(done.stdout)
    assert later["state"] == "deferred" and later["account"] == "relay"
    assert later["attempts"][0]["reply"] == "451 4.3.0 try later"
    assert ["Subject", "hello"] in later["header"]
    assert fresh["envelope_from"] == "noreply@example.com"
    assert "voicemail@acme.example" in fresh["from_sent"]
    assert fresh["recipients"][0] == {"address": "a@example.net", "state": "pending"}


def test_show_one_name_of_several(mixed):
    mixed.spool.drop("other", MESSAGE, name="later")
    mixed.spool.drop("acme", MESSAGE, name="later")
    done = mixed.run("show", "later")
    assert done.returncode == 0
    for path in ("acme/new/later", "acme/deferred/later", "other/new/later"):
        assert path in done.stdout
    done = mixed.run("show", "--tenant", "other", "later")
    assert "other/new/later" in done.stdout and "acme/" not in done.stdout
    done = mixed.run("show", "acme/deferred/later")
    assert "acme/deferred/later" in done.stdout and "acme/new/" not in done.stdout
    done = mixed.run("show", mixed.spool.path("acme", "new", "later"))
    assert "acme/new/later" in done.stdout and "deferred" not in done.stdout


def test_show_nothing(mixed):
    for name in ("nobody", "acme/nobody", "../etc/passwd", "acme/deferred/../new/fresh", ""):
        done = mixed.run("show", name)
        assert done.returncode == 66, name
        assert "no message" in done.stderr
    assert mixed.run("show").returncode == 64
    assert mixed.run("show", "--tenant", "acne", "later").returncode == 66


def test_show_is_safe_on_a_terminal(box):
    box.ready()
    box.spool.drop("acme", b"From: \x1b]0;title\x07 <jane@inside.example>\nTo: a@example.net\nX-Y: \x9b2J\n\ntext\n", name="x")
    done = box.run("show", "x")
    assert done.returncode == 0 and "\x1b" not in done.stdout and "\x07" not in done.stdout


def test_show_what_cannot_go_out(box):
    box.ready()
    box.spool.drop("acme", b"Subject: nobody\n\ntext\n", name="x")
    done = box.run("show", "x")
    assert done.returncode == 0 and "recipient" in done.stdout


# retry

def test_retry_deferred(mixed):
    done = mixed.run("retry", "later")
    assert done.returncode == 0, done.stderr
    assert "acme/deferred/later: due now" in done.stdout and "no agent is running" in done.stderr
    assert mixed.run("run", "--once").returncode == 0
    assert where(mixed, "later") == ["sent"]
    assert [m.rcpts for m in mixed.server.accepted if "later@example.net" in m.rcpts] == [["later@example.net"]]


def test_retry_failed(mixed):
    done = mixed.run("retry", "bad")
    assert done.returncode == 0
    assert where(mixed, "bad") == ["new"]
    mixed.deliver()
    assert where(mixed, "bad") == ["sent"]
    assert [m.rcpts for m in mixed.server.accepted if "bad@example.net" in m.rcpts] == [["bad@example.net"]]
    assert not mixed.spool.path("acme", "failed", "bad.status").exists()


def test_retry_all(mixed):
    done = mixed.run("retry", "--all")
    assert done.returncode == 0
    assert "acme/deferred/later" in done.stdout and "bad" not in done.stdout
    assert where(mixed, "bad") == ["failed"]
    assert mixed.run("retry", "--all", "--failed").returncode == 0
    assert where(mixed, "bad") == ["new"]


@pytest.mark.parametrize("choice,fits", [(["--tenant", "acme"], True), (["--tenant", "other"], False),
                                         (["--account", "relay"], True), (["--account", "second"], False)])
def test_retry_choice(mixed, choice, fits):
    done = mixed.run("retry", *choice)
    assert done.returncode == 0
    assert ("later" in done.stdout) == fits
    assert ("no message to work on" in done.stdout) != fits


@pytest.mark.parametrize("reason,fits", [("recipient", True), ("policy", False)])
def test_retry_reason(mixed, reason, fits):
    done = mixed.run("retry", "--all", "--reason", reason, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [one["name"] for one in found] == (["bad"] if fits else [])
    assert all(one["from"] == "failed" and one["state"] == "new" and one["result"] == "done" for one in found)
    assert where(mixed, "bad") == (["new"] if fits else ["failed"])


def test_retry_what_cannot_be(mixed):
    for name, code, words in (("good", 66, "was delivered"), ("nobody", 66, "no message")):
        done = mixed.run("retry", name)
        assert done.returncode == code and words in done.stderr
    assert mixed.run("retry", "fresh").returncode == 0
    done = mixed.run("retry", "nobody", "later")
    assert done.returncode == 66 and "acme/deferred/later: due now" in done.stdout
    for arguments in ([], ["--all", "later"], ["--all", "--tenant", "acme"], ["--all", "--reason", "bad"], ["--failed", "bad"]):
        assert mixed.run("retry", *arguments).returncode == 64, arguments
    assert mixed.run("retry", "--tenant", "acne").returncode == 66


def test_a_name_that_is_not_clear(mixed):
    mixed.spool.drop("other", MESSAGE, name="fresh")
    done = mixed.run("hold", "fresh")
    assert done.returncode == 64
    assert "acme/new/fresh" in done.stderr and "other/new/fresh" in done.stderr
    assert where(mixed, "fresh") == ["new"]
    assert mixed.run("hold", "other/fresh").returncode == 0
    assert where(mixed, "fresh", "other") == ["hold"] and where(mixed, "fresh") == ["new"]
    assert mixed.run("hold", "--tenant", "acme", "fresh").returncode == 0
    assert where(mixed, "fresh") == ["hold"]


def test_retry_on_a_running_agent(alive):
    say(alive.box, "on RCPT later@example.net: once 451 4.3.0 try later", "on RCPT bad@example.net: once 550 5.1.1 no")
    for name in ("later", "bad"):
        alive.spool.drop("acme", to(name, "x"), name=name)
    alive.spool.wait("acme", "later", "deferred")
    alive.spool.wait("acme", "bad", "failed")
    for name in ("later", "bad"):
        done = alive.verb("retry", name)
        assert done.returncode == 0 and done.stderr == ""
        alive.spool.wait("acme", name, "sent")


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


# Who may

@pytest.fixture
def public(program, clock, server):
    """A mixed Box in a directory that anybody may look into."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        box = Box(Config(pathlib.Path(directory, "box")), clock, server)
        say(box, LATER)
        box.ready()
        box.spool.drop("acme", to("later"), name="later")
        box.deliver(code=1)
        box.spool.drop("acme", MESSAGE, name="fresh")
        os.chmod(box.config.path, 0o644)
        yield box


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("arguments", [["pause", "relay"], ["resume", "relay"], ["flush"], ["retry", "later"], ["retry", "--all"],
                                       ["hold", "fresh"], ["drop", "--yes", "fresh"], ["release", "--all"], ["show", "later"]])
def test_without_permission(public, arguments):
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary(), arguments[0], "--config",
                           str(public.config.path), *arguments[1:]], capture_output=True, text=True, timeout=60,
                          env=environment(public.clock))
    if done.returncode in (126, 127):
        pytest.skip("the program cannot be run by another user here")
    assert done.returncode == 77, done.stdout + done.stderr
    assert "run as root" in done.stderr
    assert where(public, "fresh") == ["new"] and where(public, "later") == ["deferred"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to hand the files to another user")
def test_as_root_for_the_service_user(public):
    """What root asks for belongs to the agent's user."""
    for path in [public.config.state, public.config.spool, *public.config.state.rglob("*"), *public.config.spool.rglob("*")]:
        os.lchown(path, 65534, 65534)
    for arguments in (["pause", "relay"], ["drop", "--yes", "fresh"], ["hold", "later"]):
        public.run(*arguments, check=True)
    made = [public.config.state / "paused" / "relay", public.spool.path("acme", "failed", "fresh.status")]
    assert {path.stat().st_uid for path in made} == {65534}
