"""outtray top in a real terminal (tmux): what is on the screen, what the keys do, what a resize does."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from support.box import MESSAGE
from smtpserver import Rule
from support.agent import Agent, binary, environment
from support.terminal import Terminal
from support.wait import wait_until

SCREEN = """\
outtray - agent main up UP, pid PID, spool ok                           HH:MM:SS
new 0 (-)  on the wire 0  deferred 1 (AGE)  failed 1  sent 1, RATE

ACCOUNT        STATE       SESS FLIGHT    SENT   /MIN  REASON
relay          ok             N      0       1   RATE
second         paused         0      0       0    0.0  by WHO: server moves

TENANT           NEW OLDEST DEFER OLDEST  FAIL HELD    SENT   /MIN  ACCOUNT
acme               0      -     1    AGE     1    0       1   RATE  relay
other              0      -     0      -     0    0       0    0.0  second

LAST FAILURES
   AGE ago  acme/bad  recipient: 550 5.1.1 no such user










? help  TAB section  p pause  r resume  t retry  s show  f flush  q quit"""


def masked(screen):
    """The screen without what is another each time; columns keep their places."""
    for pattern, text in ((r"up \w+, pid \d+, spool ok +\d\d:\d\d:\d\d", "up UP, pid PID, spool ok" + " " * 27 + "HH:MM:SS"),
                          (r"\(\d\w+\)", "(AGE)"), (r", \d+\.\d/min$", ", RATE"), (r"by \S+: server", "by WHO: server"),
                          (r"^(relay +ok +)\d( +0 +1 ) *\d+\.\d$", r"\1N\2  RATE"), (r"^ +\d\w+ ago", "   AGE ago"),
                          (r"^(acme +0 +- +1 ) *\d\w+( +1 +0 +1 ) *\d+\.\d", r"\1   AGE\2  RATE")):
        screen = re.sub(pattern, text, screen, flags=re.M)
    return screen


@pytest.fixture
def alive(box):
    box.config.data["retry"]["first"] = "1h"
    box.config.account("second", email="second@example.com", server="127.0.0.1", port=box.server.port, encryption="none")
    box.config.tenant("other", account="second")
    box.server.rules[:] = [Rule("on RCPT later@example.net: 451 4.3.0 try later"), Rule("on RCPT bad@example.net: 550 5.1.1 no such user")]
    with Agent(box.config, clock=box.clock) as agent:
        agent.wait_ready()
        for name, place in (("good", "sent"), ("later", "deferred"), ("bad", "failed")):
            agent.spool.drop("acme", MESSAGE.replace(b"a@", name.encode() + b"@"), name=name)
            agent.spool.wait("acme", name, place)
        agent.verb("pause", "second", "--reason", "server moves", check=True)
        agent.wait_event("account_paused")
        wait_until(lambda: agent.status()["accounts"]["relay"]["sent_total"] == 1, 20, "status.json")
        agent.box = box
        yield agent


def top(box, *arguments, **options):
    env = environment(box.clock, OUTTRAY_CONFIG=box.config.path, **options.pop("env", {}))
    return Terminal([binary(), "top", "--interval", "1", *arguments], env=env, **options)


def test_the_screen(alive):
    with top(alive.box) as terminal:
        terminal.wait(r"^acme +0 +- +1 .* +1 +0 +1 ")
        wait_until(lambda: masked(terminal.screen()) == SCREEN, 20, lambda: f"the screen:\n{masked(terminal.screen())}\nwanted:\n{SCREEN}")
        terminal.type("q")
        assert terminal.wait_end() == 0


def test_keys(alive):
    with top(alive.box) as terminal:
        terminal.wait("^relay ")
        terminal.type("p")
        terminal.wait(r"^pause relay - why")
        terminal.type("lunch", "Enter")
        terminal.wait(r"^relay +paused .* by \S+: lunch")
        assert alive.wait_event("account_paused", account="relay")[0]["why"] == "lunch"
        terminal.type("r")
        terminal.wait(r"account relay is resumed")
        terminal.wait(r"^relay +ok ")
        alive.wait_event("account_resumed", account="relay")
        terminal.type("", "Down")
        terminal.type("r")
        terminal.wait(r"^second +ok ")
        alive.box.server.rules.clear()
        terminal.type("", "Tab", "Tab")
        terminal.type("s")
        screen = terminal.wait(r"^acme/failed/bad")
        assert "outtray show" in screen and "was given up as recipient" in screen
        terminal.type("q")
        terminal.wait(r"^LAST FAILURES")
        terminal.type("t")
        alive.spool.wait("acme", "bad", "sent", 20)
        terminal.wait(r"^acme +0 +- +1 .* +0 +0 +2 ")
        terminal.type("", "Tab", "Tab")
        terminal.type("s")
        terminal.wait(r"^acme/deferred/later")
        terminal.type("", "Escape")
        terminal.wait(r"^TENANT")
        terminal.type("t")
        alive.spool.wait("acme", "later", "sent", 20)
        terminal.type("f")
        alive.wait_event("flush")
        terminal.wait(r"makes everything due now")
        terminal.type("x")
        terminal.wait(r"\? lists the keys")
        terminal.type("?")
        terminal.wait(r"pause an account: its mail waits")
        terminal.type("q")
        terminal.wait(r"^TENANT")
        terminal.type("q")
        assert terminal.wait_end() == 0


def test_resize(alive):
    with top(alive.box) as terminal:
        terminal.wait(r"q quit$")
        terminal.resize(140, 40)
        wait_until(lambda: len(terminal.screen().splitlines()) == 40 and terminal.screen().endswith("q quit"), 20,
                   lambda: terminal.screen())
        terminal.resize(60, 12)
        wait_until(lambda: len(terminal.screen().splitlines()) == 12 and "ACCOUNT" in terminal.screen()
                   and terminal.screen().splitlines()[-1].startswith("? help"), 20, lambda: terminal.screen())
        for title in ("ACCOUNT", "TENANT", "LAST FAILURES"):
            assert re.search(f"^{title}", terminal.screen(), re.M)
        terminal.resize(30, 8)
        terminal.wait("too small")
        terminal.resize(80, 24)
        wait_until(lambda: masked(terminal.screen()) == SCREEN, 20, lambda: masked(terminal.screen()))


def test_without_an_agent(box):
    box.ready()
    box.spool.drop("acme", MESSAGE, name="one")
    with top(box) as terminal:
        terminal.wait(r"agent main is not running")
        screen = terminal.wait(r"^acme +1 ")
        assert "LAST FAILURES" in screen
        box.spool.drop("acme", MESSAGE, name="two")
        terminal.wait(r"^acme +2 ")
        terminal.type("q")
        assert terminal.wait_end() == 0


def test_more_than_fits(box):
    for n in range(60):
        box.config.tenant(f"tenant-{n:02}", account="relay")
    box.ready()
    with top(box) as terminal:
        terminal.wait(r"^acme")
        terminal.type("", "Tab")
        for _ in range(60):
            terminal.type("j")
        screen = terminal.wait(r"^tenant-59")
        assert "acme" not in screen and len(screen.splitlines()) == 24


@pytest.mark.parametrize("extra,coloured", [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours(alive, extra, coloured):
    with top(alive.box, env=extra) as terminal:
        terminal.wait("^relay +ok")
        assert ("\x1b[32m" in terminal.screen(colours=True)) == coloured


def test_names_of_many_kinds(box):
    """UTF-8, wide and hostile names leave the columns where they are."""
    for name in ("müller", "日本語", "-rf"):
        box.config.tenant(name, account="relay")
    box.ready()
    path = box.spool.path("acme", "failed", "\x9b31m-x")
    os.close(os.open(os.fsencode(path), os.O_CREAT))
    with top(box) as terminal:
        screen = terminal.wait("^日本語 +0 ")
        lines = [line for line in screen.splitlines() if re.match("müller|acme|-rf", line)]
        assert len({len(line) for line in lines}) == 1
        assert re.search(r"ago  acme/\S+31m-x", screen)


def test_needs_a_terminal(box):
    box.ready()
    done = box.run("top")
    assert done.returncode == 64 and "outtray status" in done.stderr
    assert box.run("top", "--interval", "0").returncode == 64
    with Terminal(["env", "TERM=no-such-terminal", binary(), "top", "--config", box.config.path], env=environment(box.clock)) as terminal:
        assert terminal.wait_end() == 64


def test_screenshot_of_the_docs(program, tmp_path):
    """The script that makes docs/top.txt."""
    out = tmp_path / "top.txt"
    script = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "lib" / "screenshot.py"
    done = subprocess.run([sys.executable, str(script), str(out)], capture_output=True, text=True, timeout=120, env={**os.environ, "OUTTRAY": program})
    assert done.returncode == 0, done.stderr
    screen = out.read_text(encoding="utf-8")
    kept = (script.parents[2] / "docs" / "top.txt").read_text(encoding="utf-8")
    for text in (screen, kept):
        for pattern in (r"^outtray - agent main", r"^office +paused .* by \S+: mailbox mo", r"^initech +3 ", r"^LAST FAILURES", r"q quit$"):
            assert re.search(pattern, text, re.M), text
