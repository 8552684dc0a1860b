"""The commands inside the tables "Operating it" of SPOOL.md and "What do I do when …" of OPERATIONS.md, run as they stand there.

A running agent has one message in each state; NAME, T, TENANT, ACCOUNT, ADDRESS and TEXT stand for what a reader puts in. What each
command has to bring about is in ROWS, and a command that is not there fails a test of its own.
"""

import os
import pty
import re
import subprocess

import pytest

from smtpserver import Rule
from support.agent import ROOT, binary, environment
from support.wait import wait_until

PAGES = {"spool-format/SPOOL.md": "## Operating it", "docs/OPERATIONS.md": "## What do I do when …"}
PROGRAMS = r"(?:outtray|ls|cat|touch|mv|cp|rm|find|grep) "
SERVER = ["on RCPT later@: once 451 4.7.1 greylisted", "on RCPT nobody@: once 550 5.1.1 no such user"]


def spans():
    """[(file, command)] of both tables, without those that are run elsewhere as blocks."""
    found = []
    for file, heading in PAGES.items():
        part = (ROOT / file).read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
        for line in part.splitlines():
            if line.startswith("|"):
                found += [(file, span) for span in re.findall(r"`([^`]+)`", line) if re.match(PROGRAMS, span)]
    return found


class Scene:
    """acme has a message in deferred/ (`waits`), failed/ (`refused`) and sent/ (`gone`); quiet, whose account is paused, in new/ (`new`)."""

    def __init__(self, agent, server):
        self.agent, self.server = agent, server
        server.rules[:] = [Rule(line) for line in SERVER]
        agent.config.set(retry={"first": "1h", "max": "4h", "give_up_after": "5d", "jitter": 0}, log={"file": str(agent.config.directory / "log")})
        for name in ("relay", "parked"):
            agent.config.account(name, server="127.0.0.1", port=server.port, encryption="none", email="noreply@example.com")
        agent.config.tenant("acme", account="relay").tenant("quiet", account="parked")
        agent.prepare()
        agent.verb("pause", "parked", check=True)
        agent.start().wait_ready()
        for name, to, state in (("gone", "a", "sent"), ("waits", "later", "deferred"), ("refused", "nobody", "failed")):
            self.drop(name, to)
            self.spool.wait("acme", name, state)
        self.drop("new", "a", "quiet")

    @property
    def spool(self):
        return self.agent.spool

    def drop(self, name, to, tenant="acme"):
        self.spool.drop(tenant, f"To: {to}@example.net\nSubject: {name}\n\ntext\n", name=name)

    def run(self, command, name="waits", tenant="acme", **words):
        words = {"T": self.spool.path(tenant), "NAME": name, "TENANT": tenant, "ACCOUNT": "relay", "ADDRESS": "a@example.net",
                 "TEXT": "'by hand'", **words}
        text = re.sub(rf"\b({'|'.join(words)})\b", lambda match: str(words[match[1]]), command)
        tools = self.agent.config.directory / "bin"
        tools.mkdir(exist_ok=True)
        if not (tools / "outtray").exists():
            (tools / "outtray").symlink_to(binary())
        env = environment(self.agent.clock, OUTTRAY_CONFIG=self.agent.config.path)
        env["PATH"] = f"{tools}:{env['PATH']}"
        ours, theirs = pty.openpty()  # `drop` asks, and only at a terminal
        os.write(ours, b"yes\n")
        done = subprocess.run(["bash", "-c", text], env=env, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
        os.close(theirs)
        os.close(ours)
        assert done.returncode == 0, (text, done)
        return done.stdout + done.stderr

    def where(self, name, *states, tenant="acme"):
        wait_until(lambda: self.spool.where(tenant, name) == list(states), 20,
                   lambda: f"{name} in {states}, not {self.spool.where(tenant, name)}\n{self.agent.log_text()[-2000:]}")


def says(*words, **arguments):
    def check(scene, command):
        output = scene.run(command, **arguments)
        assert all(word in output for word in words), output
    return check


def goes(name, *states, tenant="acme", **arguments):
    def check(scene, command):
        scene.run(command, name=name, tenant=tenant, **arguments)
        scene.where(name, *states, tenant=tenant)
    return check


def later(scene, command):
    scene.run(command)
    scene.agent.clock.advance(5400)
    scene.drop("another", "b")
    scene.where("another", "sent")
    scene.where("waits", "deferred")
    scene.agent.clock.advance(2100)
    scene.where("waits", "sent")


def again(scene, command):
    scene.run(command, name="gone")
    wait_until(lambda: sum(b"Subject: gone" in one.data for one in scene.server.accepted) == 2, 20, "the second delivery")


def back_and_forth(scene, command):
    os.rename(scene.spool.path("acme", "failed", "refused"), scene.spool.path("acme", "hold", "refused"))
    scene.run(command, name="refused")
    scene.where("refused", "sent")


def released(scene, command):
    scene.agent.verb("hold", "new", check=True)
    scene.where("new", "hold", tenant="quiet")
    scene.run(command, name="new", tenant="quiet")
    scene.where("new", "new", tenant="quiet")


def paused(scene, command):
    scene.run(command)
    assert "by hand" in str(scene.agent.wait_event("account_paused", account="relay")[0])
    wait_until(lambda: scene.agent.status()["accounts"]["relay"]["paused"], 20, "paused in status.json")


def resumed(scene, command):
    scene.run(command, ACCOUNT="parked")
    scene.where("new", "sent", tenant="quiet")


def keyed(scene, command):
    scene.spool.drop("acme", "X-Outtray-Key: once\nTo: d@example.net\n\ntext\n", name="first")
    scene.where("first", "sent")
    assert str(scene.spool.path("acme") / ".keys") in scene.run(command, name="first")


# The command as the page has it: what it has to bring about.
ROWS = {
    "ls T/new T/deferred": says("waits"),
    "outtray queue": says("acme", "deferred"),
    "cat T/deferred/NAME.status": says("451 4.7.1 greylisted"),
    "cat T/failed/NAME.status": says("reason: recipient", name="refused"),
    "touch T/deferred/NAME": goes("waits", "sent"),
    "touch -d '2 hours' T/deferred/NAME.status": later,
    "mv T/failed/NAME T/new/": goes("refused", "sent"),
    "mv T/new/NAME T/hold/": goes("new", "hold", tenant="quiet"),
    "mv T/hold/NAME T/new/": back_and_forth,
    "cp -p T/sent/NAME T/tmp/again && mv -n T/tmp/again T/new/": again,
    "rm T/deferred/NAME T/deferred/NAME.status": goes("waits"),
    "outtray show NAME": says("451 4.7.1 greylisted"),
    "mv -n T/failed/NAME T/new/": goes("refused", "sent"),
    "outtray retry NAME": goes("waits", "sent"),
    "outtray retry --tenant TENANT": goes("waits", "sent"),
    "find T/deferred -name '*.status' -exec touch {} +": goes("waits", "sent"),
    "outtray flush": goes("waits", "sent"),
    "outtray retry --tenant TENANT --reason recipient": goes("refused", "sent"),
    "outtray pause --reason TEXT ACCOUNT": paused,
    "outtray resume ACCOUNT": resumed,
    "outtray doctor ACCOUNT": says("250-CHUNKING", "account relay is well"),
    "outtray test ACCOUNT --to ADDRESS": says("MAIL FROM", "250"),
    "outtray log --recipient ADDRESS --since 1d": says("name=gone"),
    "outtray hold NAME": goes("waits", "hold"),
    "outtray release NAME": released,
    "outtray drop NAME": goes("waits", "failed"),
    "outtray hold --tenant TENANT": goes("waits", "hold"),
    "outtray drop --delete --failed --tenant TENANT": goes("refused"),
    "outtray explain T/new/NAME": says("would:", "From", name="new", tenant="quiet"),
    "grep -l 'name: NAME' T/.keys/*": keyed,
}


def test_every_command_of_the_tables_is_here():
    assert {command for _, command in spans()} == set(ROWS)


@pytest.mark.parametrize("command", ROWS)
def test_row(agent, server, command):
    scene = Scene(agent, server)
    ROWS[command](scene, command)
