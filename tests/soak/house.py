"""What a soak and a simulated day share: an agent with its producers, a receiver, and the books of both."""

import os
import pathlib
import re
import statistics
import tempfile

from support.agent import Agent, Config

from .ledger import KINDS, Book, Receiver, Wrong

NAME = re.compile(r"S\.(\d+)\.soak(?:~\d+)?$")


class House:
    def __init__(self, directory, messages, accounts, tenants, account, retry):
        """messages: how many at most. account: keys of each account; tenants share them in turn."""
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="outtray-soak.", dir=directory))
        self.book = Book(messages)
        self.receiver = Receiver(self.directory, messages)
        self.config = Config(self.directory)
        self.config.set(retry=retry)
        self.tenants = [f"t{number}" for number in range(tenants)]
        for number in range(accounts):
            self.config.account(f"a{number}", encryption="none", server="127.0.0.1", port=self.receiver.port, **account)
        for number, name in enumerate(self.tenants):
            self.config.tenant(name, account=f"a{number % accounts}", from_=f"Tenant {number} <{name}@example.com>")
        self.agent = Agent(self.config)
        self.serial = self.statuses_left = 0

    # Producers

    def submit(self, kind):
        serial, self.serial = self.serial, self.serial + 1
        answers = KINDS[kind][0]
        to = ", ".join(f"{answer}.{slot}.{serial}@soak.example" for slot, answer in enumerate(answers))
        # Half of them leave their Message-ID to the agent.
        identity = f"Message-ID: <{serial}@soak.example>\n" if serial % 2 else ""
        text = f"To: {to}\n{identity}Subject: soak {serial}\n\n" + "A line of a message that is no longer than this.\n" * 4
        self.book.submit(serial, kind)
        self.agent.spool.drop(self.tenants[serial % len(self.tenants)], text, name=f"S.{serial}.soak")

    # What became of it

    def harvest(self):
        """Books what lies in sent/ and failed/, and removes it."""
        for tenant in self.tenants:
            for state in ("sent", "failed"):
                directory = self.agent.spool.path(tenant, state)
                for name in os.listdir(directory):
                    match = NAME.fullmatch(name)
                    if not match:
                        continue
                    if state == "failed":
                        self.check_status(directory / f"{name}.status")
                        os.unlink(directory / f"{name}.status")
                    os.unlink(directory / name)
                    self.book.end(int(match[1]), state)

    def drop_old_statuses(self):
        """A kill may leave the status that a message had in deferred/. The next start would remove it, if the message were
        still there; whoever takes a message away takes what is left of it along."""
        for tenant in self.tenants:
            directory = self.agent.spool.path(tenant, "deferred")
            for name in os.listdir(directory):
                match = NAME.fullmatch(name.removesuffix(".status"))
                if match and name.endswith(".status") and self.book.state[int(match[1])] != Book.OPEN:
                    os.unlink(directory / name)
                    self.statuses_left += 1

    @staticmethod
    def check_status(path):
        text = path.read_text(encoding="utf-8")
        if not re.search(r"^state: failed$", text, re.M) or not re.search(r"^reason: \S+$", text, re.M) or text[-1] != "\n":
            raise Wrong(f"{path.name} is no whole status file:\n{text}")

    def check_log(self):
        """With no agent running: what was logged as sent or failed is there, or was booked. Then the log goes. Returns its
        text."""
        text = self.agent.output.read_text(encoding="utf-8", errors="backslashreplace")
        self.harvest()
        self.drop_old_statuses()
        for event, serial in re.findall(r"event=(sent|failed) tenant=\S+ name=S\.(\d+)\.soak", text):
            kind, state = self.book.kind_of(int(serial)), self.book.state[int(serial)]
            if kind != "mixed" and state != (Book.SENT if event == "sent" else Book.FAILED):
                raise Wrong(f"message {serial} was logged as {event}, and is not there")
        for word in ("spool_broken", "AddressSanitizer", "runtime error"):
            if word in text:
                raise Wrong(f"the agent's log has {word}:\n{text[text.find(word) - 500:][:3000]}")
        self.agent.output.unlink()
        return text

    def check_places(self):
        """With no agent running: each message that has not ended is in exactly one state."""
        found = set()
        for tenant in self.tenants:
            for state, names in self.agent.spool.states(tenant).items():
                for name in names:
                    serial = int(NAME.fullmatch(name)[1])
                    if serial in found:
                        raise Wrong(f"message {serial} is in {state} and in another state")
                    found.add(serial)
        if len(found) != self.book.waiting:
            open_ones = {serial for serial in range(self.serial) if self.book.state[serial] == Book.OPEN}
            raise Wrong(f"lost: {sorted(open_ones - found)[:5]}; ended twice: {sorted(found - open_ones)[:5]}")

    def sample(self):
        """(resident set in KiB, open files) of the agent."""
        text = pathlib.Path(f"/proc/{self.agent.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"^VmRSS:\s+(\d+)", text, re.M)[1]), len(os.listdir(f"/proc/{self.agent.pid}/fd"))

    def stop(self):
        code = self.agent.stop()
        if code != 0:
            raise Wrong(f"the agent ended with {code}")

    def close(self):
        if self.agent.running():
            self.agent.kill()
        self.receiver.stop()


def flat(first, second):
    """Holds two lists of samples against each other: the second must not be above the first. Returns the figures. Open files
    come and go with messages and sessions, so it is the median that counts."""
    files = [statistics.median(files for _, files in samples) for samples in (first, second)]
    figures = {"rss_kib_first": max(rss for rss, _ in first), "rss_kib_second": max(rss for rss, _ in second),
               "files_first": files[0], "files_second": files[1], "files_most": max(files for _, files in first + second),
               "samples": len(first) + len(second)}
    if figures["rss_kib_second"] > 1.05 * figures["rss_kib_first"] + 1024:
        raise Wrong(f"memory grows: {figures}")
    if files[1] > 1.05 * files[0] + 1:
        raise Wrong(f"open files grow: {figures}")
    return figures
