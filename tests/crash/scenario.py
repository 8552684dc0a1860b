"""Six messages and what may become of them: the same for every place where the agent is killed or the power goes.

    1  plain     accepted
    2  later     its recipient is deferred by a 451, each time
    3  refused   its recipient is refused by a 550
    4  mixed     five recipients, two in a transaction: accepted and deferred, refused and accepted, accepted; so what the
                 first two transactions came to is recorded between them
    5  again     deferred at first, accepted when it is tried again; it has a key, of which a record is made
    6  back      refused at first; moved from failed/ to new/ by hand, and then accepted

After the crash another agent starts, a day later; the server defers nothing any more.
"""

import email
import os
import pathlib
import re
import sys
import time

import yaml

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "cases")]
from smtpserver import Rule, Server  # noqa: E402
from support import logfmt  # noqa: E402
from support.agent import Agent, Clock, Config  # noqa: E402

TENANT, HOST = "acme", "crash.example"
DAY = 86400
PATIENCE = 240  # seconds that a step may take on a machine that is busy with other things
RECIPIENTS = {
    "1.plain": ["good1"], "2.later": ["later2"], "3.refused": ["bad3"],
    "4.mixed": ["good4a", "later4", "bad4", "good4b", "good4c"], "5.again": ["again5"], "6.back": ["back6"],
}
REFUSED = {"bad3", "bad4"}
ENDS = {"1.plain": {"sent"}, "2.later": {"sent"}, "3.refused": {"failed"}, "4.mixed": {"failed"}, "5.again": {"sent"},
        # Whether the operator's move survives the crash is the operator's business.
        "6.back": {"sent", "failed"}}
BEFORE = ["on RCPT bad: 550 5.1.1 no such user", "on RCPT later: 451 4.3.0 try later", "on RCPT again5: once 451 4.3.0 try later",
          "on RCPT back6: once 550 5.1.1 no such user"]
AFTER = ["on RCPT bad: 550 5.1.1 no such user"]


def message(name):
    to = ", ".join(f"{user}@{HOST}" for user in RECIPIENTS[name])
    own = f"Message-ID: <{name}@producer.example>\n" if int(name[0]) % 2 else ""
    key = "X-Outtray-Key: five\n" if name == "5.again" else ""
    return f"{key}To: {to}\nSubject: {name}\n{own}\nThis is message {name}.\n" + "It has some lines, so that it has a size.\n" * 20


class Accepted(list):
    """The server's list, which knows when each message was accepted: before the reply to it was written."""

    def append(self, item):
        item.at = time.monotonic_ns()
        item.identity = email.message_from_bytes(item.data)["Message-ID"]
        super().append(item)


class Stage:
    """Where the scenario plays: a directory with the server, the configuration and the clock, and a spool that is mounted
    at DIRECTORY/disk."""

    def __init__(self, directory, connections=1, window=1):
        self.directory = pathlib.Path(directory)
        self.disk = self.directory / "disk"
        self.disk.mkdir(parents=True, exist_ok=True)
        self.bound = connections * window
        self.server = Server(["ehlo PIPELINING CHUNKING 8BITMIME SMTPUTF8 DSN ENHANCEDSTATUSCODES SIZE=52428800"])
        self.server.start()
        self.config = Config(self.directory)
        self.config.spool, self.config.state = self.disk / "spool", self.disk / "state"
        self.config.set(spool=str(self.config.spool), state=str(self.config.state),
                        retry={"first": "1m", "max": "4h", "give_up_after": "5d", "jitter": 0})
        self.config.account("relay", encryption="none", server="127.0.0.1", port=self.server.port,
                            limits={"connections": connections, "window": window, "recipients_per_message": 2})
        self.config.tenant(TENANT, account="relay", from_="Acme <acme@example.com>")
        self.clock = Clock(self.directory / "clock")
        self.agent = Agent(self.config, clock=self.clock)
        self.spool = self.agent.spool
        self.reset()

    def close(self):
        self.server.stop()

    def reset(self):
        """Before each state."""
        self.server.rules = [Rule(line) for line in BEFORE]
        self.server.accepted, self.server.problems = Accepted(), []
        self.clock.set(0)
        self.crashes = 1

    def populate(self):
        """Fills the mounted, empty disk: the tree, and the six messages, accepted in the sense of SPOOL.md."""
        self.agent.prepare()
        for name in RECIPIENTS:
            self.spool.drop(TENANT, message(name), name=name, durable=True)
        os.sync()

    # The first agent

    def names(self, state):
        return set(self.spool.names(TENANT, state))

    def first_act(self):
        return (self.names("sent") >= {"1.plain"} and self.names("failed") >= {"3.refused", "6.back"}
                and self.names("deferred") >= {"2.later", "4.mixed", "5.again"} and not self.names("cur"))

    def pid(self):
        """Of the agent, as it says itself."""
        return int((self.config.spool / ".agents" / "main.lock").read_text(encoding="ascii"))

    def second_act(self):
        return (self.names("sent") >= {"1.plain", "5.again", "6.back"} and not self.names("cur")
                and all(self.tries(name) >= 2 for name in ("2.later", "4.mixed")))

    def tries(self, name):
        try:
            text = self.spool.path(TENANT, "deferred", f"{name}.status").read_text(encoding="utf-8")
        except OSError:
            return 0
        return text.partition("\nattempts:")[2].count("\n  - {at:")

    def play(self, ended):
        """Sees the agent that runs through both acts. ended() tells that it is gone. False where it went early."""
        for act in (self.first_act, self.second_act):
            deadline = time.monotonic() + PATIENCE
            while not self._reached(act):
                if ended():
                    return False
                assert time.monotonic() < deadline, f"{act.__name__} did not come to its end\n{self.spool.tree()}"
                time.sleep(0.002)
            if act == self.first_act:
                try:
                    os.rename(self.spool.path(TENANT, "failed", "6.back"), self.spool.path(TENANT, "new", "6.back"))
                except OSError:
                    assert ended()
                    return False
                self.clock.advance(61)
        return True

    @staticmethod
    def _reached(act):
        try:
            return act()
        except OSError:  # a name that went while the directory was read
            return False

    # What the cut left

    def look(self, logged, before):
        """Violations in what lies on the disk before anybody mends it. logged: the text of the log until then; before: what
        the server had accepted. Also remembers which recipients have it according to the disk."""
        found, self.recorded = [], set()
        places, statuses = {}, {}
        for state in ("new", "cur", "deferred", "sent", "failed"):
            for path in self._files(state):
                places.setdefault(base(path.name), {})[state] = path
        for state in ("deferred", "failed"):
            for path in self.spool.path(TENANT, state).glob("*.status"):
                if path.name.startswith("."):
                    continue
                status = self._read_status(path, found)
                if status is not None:
                    statuses.setdefault(base(path.name.removesuffix(".status")), []).append(status)
        self.doubled = sum(len(states) > 1 for states in places.values())
        for name in RECIPIENTS:
            if not places.get(name):
                found.append(f"lost: {name} is nowhere")
            for state, path in places.get(name, {}).items():
                if path.read_text(encoding="utf-8") != message(name):
                    found.append(f"changed: {state}/{path.name}")
            for status in statuses.get(name, []):
                self.recorded |= {user(r["address"]) for r in status["recipients"] if r["state"] == "sent"}
        for line in logged.splitlines():
            self._check_line(logfmt.parse(line) or {}, places, statuses, found)
        self._check_before(before, places, found)
        return found

    def _check_before(self, before, places, found):
        """What is in sent/ was accepted by the server for each of its recipients."""
        reached = {user(address) for item in before for address in item.rcpts}
        for name, states in places.items():
            if "sent" in states:
                self.recorded |= set(RECIPIENTS.get(name, ()))
            if "sent" in states and not reached >= set(RECIPIENTS.get(name, ())):
                found.append(f"in sent/ but not sent: {name}")

    @staticmethod
    def _read_status(path, found):
        try:
            status = yaml.safe_load(path.read_text(encoding="utf-8"))
            assert status["version"] == 1 and status["recipients"] is not None
            return status
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AssertionError) as problem:
            found.append(f"unreadable: {path.name}: {problem!r}")
            return None

    @staticmethod
    def _check_line(line, places, statuses, found):
        """What was logged is on the disk."""
        event, name = line.get("event"), base(line.get("name", ""))
        if name not in RECIPIENTS or event not in ("sent", "deferred", "failed"):
            return
        if "sent" in places.get(name, {}):
            return
        wanted = {"sent": "sent", "failed": "refused"}.get(event)
        users = {user(address) for address in line.get("to", "").split(",")}
        for status in statuses.get(name, []):
            states = {user(r["address"]): r["state"] for r in status["recipients"]}
            if all(wanted is None or states.get(who) == wanted for who in users):
                return
        found.append(f"logged, not on the disk: {event} {name} to {sorted(users)}")

    def _files(self, state):
        top = self.spool.path(TENANT, state)
        for path in top.glob("*/*") if state == "cur" else top.glob("*"):
            if not path.name.startswith(".") and not path.name.endswith(".status"):
                yield path

    # The second agent

    def a_day_later(self):
        self.server.rules = [Rule(line) for line in AFTER]
        self.clock.advance(DAY)

    def finish(self):
        """Another agent delivers the rest. Returns the number of messages accepted before it."""
        before = len(self.server.accepted)
        self.a_day_later()
        self.agent.output.unlink(missing_ok=True)
        self.agent.once(timeout=PATIENCE)
        return before

    def judge(self, before):
        """Violations in how it ended. before: how many of the accepted messages came before the crash."""
        found = []
        places = {}
        for state in ("new", "cur", "deferred", "sent", "failed"):
            for path in self._files(state):
                places.setdefault(base(path.name), []).append((state, path))
        for name, ends in ENDS.items():
            at = places.pop(name, [])
            if len(at) != 1 or at[0][1].stat().st_nlink != 1:
                found.append(f"states: {name} is in {[state for state, _ in at] or 'none'}")
            elif at[0][0] not in ends:
                found.append(f"end: {name} is in {at[0][0]}")
            elif at[0][1].read_text(encoding="utf-8") != message(name):
                found.append(f"changed: {name}")
        found += [f"stranger: {name}" for name in places]
        for state in ("deferred", "failed"):
            for path in self.spool.path(TENANT, state).glob("*.status"):
                if not path.name.startswith("."):
                    self._read_status(path, found)
        self._judge_mail(before, found)
        return found

    def _judge_mail(self, before, found):
        accepted = self.server.accepted
        copies, identities = {}, {}
        for number, item in enumerate(accepted):
            for address in item.rcpts:
                copies.setdefault(user(address), []).append(number)
                identities.setdefault(name_of(user(address)), set()).add(item.identity)
        for name, users in RECIPIENTS.items():
            for who in users:
                # Message 6 may have ended in failed/, with its only recipient refused.
                if who in REFUSED and who in copies:
                    found.append(f"sent to a refused recipient: {who}")
                elif who not in REFUSED and who not in copies and not (name == "6.back" and self.names("failed") >= {name}):
                    found.append(f"lost: {who} never got {name}")
            if len(identities.get(name, {None})) != 1 or None in identities.get(name, ()):
                found.append(f"Message-IDs of {name}: {identities.get(name) or 'none'}")
        repeated = {number for who, numbers in copies.items() for number in numbers[1:]}
        if len(repeated) > self.crashes * self.bound:
            found.append(f"repeats: {len(repeated)} transactions again, {self.crashes * self.bound} were in flight at most")
        for who, numbers in copies.items():
            if numbers[-1] >= before and who in self.recorded:
                found.append(f"sent again although the disk said that it was sent: {who}")
            if len([number for number in numbers if number < before]) > self.crashes or len(numbers) > 1 + self.crashes:
                found.append(f"repeats: {who} got {len(numbers)} copies")
        self.repeated = len(repeated)
        found += [f"protocol: {problem}" for problem in self.server.problems]


def base(name):
    return re.sub(r"~\d+$", "", name)


def user(address):
    return address.strip("<>").partition("@")[0]


def name_of(who):
    return next(name for name, users in RECIPIENTS.items() if who in users)
