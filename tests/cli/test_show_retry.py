"""show and retry: what is told of a message, and trying it again, on a stopped agent and on a running one."""

import json

import pytest

from support.box import MESSAGE, say, to, where


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
