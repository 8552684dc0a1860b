"""The commands inside the tables "Operating it" of SPOOL.md and "What do I do when …" of OPERATIONS.md, of the FAQ, and of the
manual pages' examples, run as they stand there.

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

TABLES = {"spool-format/SPOOL.md": "## Operating it", "docs/OPERATIONS.md": "## What do I do when …"}
PROGRAMS = r"(?:outtray|ls|cat|touch|mv|cp|rm|find|grep) "
SERVER = ["on RCPT later@: once 451 4.7.1 greylisted", "on RCPT nobody@: once 550 5.1.1 no such user"]


def in_tables():
    """Commands of both tables and of the FAQ."""
    texts = [(ROOT / "docs/FAQ.md").read_text(encoding="utf-8")]
    for file, heading in TABLES.items():
        part = (ROOT / file).read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
        texts += [line for line in part.splitlines() if line.startswith("|")]
    return {span for text in texts for span in re.findall(r"`([^`\n]+)`", text) if re.match(PROGRAMS, span)}


def in_manuals():
    """Commands of the literal blocks below EXAMPLES (outtray-log(5): below its grep), with continued lines as one."""
    found = set()
    for page in sorted((ROOT / "docs").glob("outtray*.[58]")):
        for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            text = re.sub(r"\|\n *", "| ", block.replace("\\e", "\\").replace("\\&", ""))
            found |= {line for line in text.splitlines() if re.match(PROGRAMS + r"|(tail|journalctl|printf) ", line)}
    return found


class Scene:
    """acme has a message in deferred/ (`waits`), failed/ (`refused`) and sent/ (`gone`); quiet, whose account is paused, in new/ (`new`)."""

    def __init__(self, agent, server):
        self.agent, self.server = agent, server
        server.rules[:] = [Rule(line) for line in SERVER]
        agent.config.set(retry={"first": "1h", "max": "4h", "give_up_after": "5d", "jitter": 0}, log={"file": str(agent.config.directory / "outtray.log")})
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

    def run(self, command, name="waits", tenant="acme", within=None, **words):
        """In the tenant's directory, or in that of the log."""
        words = {"T": self.spool.path(tenant), "NAME": name, "TENANT": tenant, "ACCOUNT": "relay", "ADDRESS": "a@example.net",
                 "TEXT": "'by hand'", **words}
        text = re.sub(rf"\b({'|'.join(words)})\b", lambda match: str(words[match[1]]), command)
        text = text.replace("/var/spool/outtray", str(self.spool.root))
        tools = self.agent.config.directory / "bin"
        tools.mkdir(exist_ok=True)
        if not (tools / "outtray").exists():
            (tools / "outtray").symlink_to(binary())
        env = environment(self.agent.clock, OUTTRAY_CONFIG=self.agent.config.path)
        env["PATH"] = f"{tools}:{env['PATH']}"
        ours, theirs = pty.openpty()  # `drop` asks, and only at a terminal
        os.write(ours, b"yes\n")
        done = subprocess.run(["bash", "-c", text], env=env, stdin=theirs, cwd=within or self.spool.path(tenant), capture_output=True, text=True, timeout=60, check=False)
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
    check.only_looks = True
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


def in_the_log(*words, **arguments):
    def check(scene, command):
        output = scene.run(command, within=scene.agent.config.directory, **arguments)
        assert all(word in output for word in words), output
    check.only_looks = True
    return check


def submitted(scene, command):
    scene.run(command)
    wait_until(lambda: any(b"Subject: test" in one.data for one in scene.server.accepted), 20, "the message")


def of_somebody(scene, command):
    scene.drop("hers", "jane")
    scene.where("hers", "sent")
    assert "name=hers" in scene.run(command)


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


def paused_so(scene, command):
    assert "account relay is paused" in scene.run(command)


def resumed_relay(scene, command):
    scene.agent.verb("pause", "relay", check=True)
    assert "account relay is resumed" in scene.run(command)


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
    # The FAQ, in the tenant's directory or that of the log.
    "outtray explain FILE": says("would:", FILE="new/new", tenant="quiet"),
    "outtray queue NAME": says("451 4.7.1 greylisted"),
    "grep ' name=NAME ' outtray.log": in_the_log("event=deferred", "to=later@example.net"),
    "mv -n failed/NAME new/": goes("refused", "sent"),
    "touch deferred/NAME": goes("waits", "sent"),
    # The manual pages.
    "outtray queue acme": says("waits"),
    "touch /var/spool/outtray/acme/deferred/NAME": goes("waits", "sent"),
    "mv -n /var/spool/outtray/acme/failed/NAME /var/spool/outtray/acme/new/": goes("refused", "sent"),
    r"printf 'To: a@example.net\nSubject: test\n\nHello\n' | outtray submit --tenant acme": submitted,
    'outtray pause --reason "server moves" relay': paused_so,
    "outtray status": says("acme", "parked"),
    "outtray resume relay": resumed_relay,
    "outtray retry --tenant acme --reason recipient": goes("refused", "sent"),
    "outtray log --since 1d --recipient jane@example.net": of_somebody,
    "outtray log --since 1d --event deferred,failed": says("name=waits", "name=refused"),
    "grep -E ' event=(deferred|failed) ' outtray.log | grep -o 'relay=.*'": in_the_log("relay=127.0.0.1", "451 4.7.1"),
    "outtray oauth status >/dev/null || echo somebody is needed": says(),
}
# Not here, and why.
ELSEWHERE = {
    "tail -F /var/log/outtray/outtray.log | grep --line-buffered ' tenant=acme '": "does not end; tests/cli/test_log.py follows a log",
    "outtray log -f --recipient jane@example.net": "does not end; tests/cli/test_log.py follows a log",
    "journalctl -u outtray -p warning --since today": "wants systemd's journal; tests/logs reads what it would be given",
    "outtray oauth get-code office": "tests/oauth/test_guide.py", "outtray oauth get-token office": "tests/oauth/test_guide.py",
}


def test_every_command_of_tables_and_manuals_is_here():
    assert in_tables() | in_manuals() == set(ROWS) | set(ELSEWHERE)


LOOKS = {command: check for command, check in ROWS.items() if hasattr(check, "only_looks")}


def test_rows_that_only_look(agent, server):
    scene = Scene(agent, server)
    for command, check in LOOKS.items():
        check(scene, command)


@pytest.mark.parametrize("command", sorted(ROWS.keys() - LOOKS.keys()))
def test_row(agent, server, command):
    ROWS[command](Scene(agent, server), command)
