"""outtray status: one screen, JSON, and a line for Nagios."""

import json
import os
import re

import pytest

from support.box import MESSAGE
from smtpserver import Rule
from support.agent import Agent
from support.terminal import Terminal
from support.agent import binary, environment
from support.wait import wait_until

NAGIOS = re.compile(r"OUTTRAY (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+ \| (\S+=\d+[sc]?(;\d*;\d*;\d*)?( |$))+\n?")


@pytest.fixture
def alive(box):
    box.config.data["retry"]["first"] = "1h"
    with Agent(box.config, clock=box.clock) as agent:
        agent.box = box
        yield agent.wait_ready()


def age(box, name, seconds):
    path = box.spool.path("acme", "new", name)
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def test_stopped(box):
    box.ready()
    box.spool.drop("acme", MESSAGE, name="one")
    age(box, "one", 7200)
    done = box.run("status")
    assert done.returncode == 0
    assert "agent main: not running" in done.stdout
    assert re.search(r"^acme +1 +2h0\dm +0 +- +0 +- +0 +0 +relay$", done.stdout, re.M), done.stdout
    assert "\x1b" not in done.stdout


def test_running(alive):
    alive.box.server.rules[:] = [Rule("on RCPT b@example.net: 550 5.1.1 no such user")]
    alive.spool.drop("acme", MESSAGE, name="one")
    alive.spool.drop("acme", MESSAGE.replace(b"a@", b"b@"), name="two")
    alive.spool.wait("acme", "one", "sent")
    alive.spool.wait("acme", "two", "failed")
    wait_until(lambda: alive.status()["accounts"]["relay"]["sent_total"] == 1, 10, "status.json")
    done = alive.verb("status")
    assert done.returncode == 0
    assert re.search(rf"agent main: running since \S+ \(\d+s\), pid {alive.pid}$", done.stdout, re.M)
    assert re.search(r"^spool ok", done.stdout, re.M)
    assert re.search(r"^relay +ok +1 +0 +1 +1$", done.stdout, re.M), done.stdout
    assert "LAST FAILURES" in done.stdout and "acme/two" in done.stdout
    assert "recipient: 550 5.1.1 no such user" in done.stdout
    said = json.loads(alive.verb("status", "--json").stdout)
    assert said["agent"]["running"] and said["agent"]["fresh"] and said["agent"]["pid"] == alive.pid
    assert said["tenants"]["acme"]["failed"]["count"] == 1 and said["tenants"]["acme"]["hold"]["count"] == 0
    assert said["accounts"]["relay"]["state"] == "ok" and said["accounts"]["relay"]["paused"] is None
    assert said["failures"][0]["name"] == "two" and said["failures"][0]["reason"] == "recipient"


def test_paused(alive):
    alive.verb("pause", "relay", "--reason", "night", check=True)
    done = alive.verb("status")
    assert re.search(r"^relay +paused", done.stdout, re.M)
    assert ": night" in done.stdout and "next: outtray resume relay" in done.stdout
    said = json.loads(alive.verb("status", "--json").stdout)["accounts"]["relay"]
    assert said["state"] == "paused" and said["paused"]["reason"] == "night" and said["paused"]["by"]


def nagios(run, *arguments):
    done = run("status", "--nagios", *arguments)
    assert NAGIOS.fullmatch(done.stdout), done.stdout
    word = done.stdout.split()[1]
    assert done.returncode == ["OK", "WARNING", "CRITICAL", "UNKNOWN"].index(word)
    return word, done.stdout


def test_nagios_ok(alive):
    word, text = nagios(alive.verb)
    assert word == "OK" and "new=0" in text and "oldest_new=0s;900;3600;0" in text


def test_nagios_without_an_agent(box):
    box.ready()
    word, text = nagios(box.run)
    assert word == "CRITICAL" and "not running" in text


@pytest.mark.parametrize("seconds,arguments,word", [(60, [], "OK"), (1000, [], "WARNING"), (4000, [], "CRITICAL"),
                                                    (60, ["--warning", "30s"], "WARNING"), (60, ["--critical", "30s"], "CRITICAL"),
                                                    (4000, ["--warning", "2h", "--critical", "3h"], "OK")])
def test_nagios_ages(alive, seconds, arguments, word):
    alive.verb("pause", "relay", check=True)
    alive.wait_event("account_paused")
    alive.spool.drop("acme", MESSAGE, name="one")
    age(alive.box, "one", seconds)
    alive.verb("status", check=True)
    found, text = nagios(alive.verb, *arguments)
    assert found == ("WARNING" if word == "OK" else word)  # a paused account is a warning by itself
    assert ("tenant acme" in text) == (word != "OK")
    assert "account relay: paused" in text


def test_nagios_credentials(box):
    box.server.rules[:] = [Rule("on AUTH: 535 5.7.8 no | bar")]
    box.server.auth, box.server.auth_plain = ["PLAIN"], True
    box.config.account("relay", email="noreply@example.com", server="127.0.0.1", port=box.server.port, encryption="none",
                       auth="basic", username="user", password="secret")
    with Agent(box.config, clock=box.clock) as agent:
        agent.wait_ready()
        agent.spool.drop("acme", MESSAGE, name="one")
        agent.wait_event("account_paused")
        wait_until(lambda: agent.status()["accounts"]["relay"]["breaker"] == "open_credentials", 10, "status.json")
        word, text = nagios(agent.verb)
        assert word == "CRITICAL" and "credentials" in text and "535 5.7.8 no / bar" in text
        assert re.search(r"^relay +credentials", agent.verb("status").stdout, re.M)


def test_nagios_hanging_agent(alive):
    alive.process.send_signal(19)  # SIGSTOP: holds its lock, writes nothing
    try:
        alive.clock.advance(60)
        word, text = nagios(alive.verb)
        assert word == "CRITICAL" and "has not written status.json" in text
    finally:
        alive.process.send_signal(18)


def test_nagios_unknown(box):
    done = box.run("status", "--nagios")  # there is no configuration yet
    assert done.returncode == 3 and done.stdout.startswith("OUTTRAY UNKNOWN - ") and done.stdout.count("\n") == 1
    box.ready()
    assert box.run("status", "--nagios", "--warning", "soon").returncode == 3
    assert box.run("status", "--warning", "soon").returncode == 64
    assert box.run("status", "--nagios", "--json").returncode == 3
    swapped = box.run("status", "--nagios", "--warning", "2h", "--critical", "1h")
    assert swapped.returncode == 3 and "--warning is above --critical" in swapped.stderr
    assert box.run("status", "--warning", "1h", "--critical", "1h").returncode == 0
    assert "oldest_new=0s;7200;7200;" in box.run("status", "--nagios", "--warning", "2h").stdout  # one alone moves the other
    assert "oldest_new=0s;60;60;" in box.run("status", "--nagios", "--critical", "1m").stdout
    assert box.run("status", "surplus").returncode == 64


@pytest.mark.parametrize("text", ["[]", "3", "", "{"])
def test_a_status_json_that_is_none(alive, text):
    alive.process.send_signal(19)
    try:
        (alive.config.state / "status.json").write_text(text)
        word, words = nagios(alive.verb)
        assert word == "UNKNOWN" and "status.json cannot be read" in words
        assert "spool" not in alive.verb("status", check=True).stdout
        assert json.loads(alive.verb("status", "--json", check=True).stdout)["spool"] is None
    finally:
        alive.process.send_signal(18)


@pytest.mark.parametrize("extra,coloured", [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colours_on_a_terminal_only(box, extra, coloured):
    box.ready()
    env = environment(box.clock, OUTTRAY_CONFIG=box.config.path, **extra)
    with Terminal(["sh", "-c", f"{binary()} status; sleep 600"], env=env) as terminal:
        terminal.wait("^ACCOUNT")
        assert ("\x1b[31m" in terminal.screen(colours=True)) == coloured
