"""A simulated day through every step of the backoff: memory and open files must not grow.

The settable clock goes through two days of 25 hours, the first to warm up. Each begins with messages that the server
defers fourteen times, so that they wait through 1, 1, 2, 4, … 128 minutes and then 4 hours again and again until a day has
passed; other messages come all the time.
"""

import os
import re
import time

from support.wait import wait_until

from .house import House, flat
from .ledger import Wrong, compare

MINUTE, HOUR = 60, 3600
LENGTH = 25 * HOUR
OLD_ONES = 40
DEFERRALS = 14  # of an old one, by the receiver's books


class Day(House):
    def __init__(self, options):
        super().__init__(options.directory, 4000, 2, 3, {"limits": {"connections": 2, "window": 8}},
                         {"first": "1m", "max": "4h", "give_up_after": "5d", "jitter": 0})
        # Files have the machine's time: to an agent that is a day ahead, what producers write now would look old.
        self.config.set(retention={"sent": "never", "failed": "never", "tmp": "never"})
        self.attempts = {}

    def settled(self):
        """Whether everything that is due by now has been tried."""
        now = time.time() + self.agent.clock.offset
        for tenant in self.tenants:
            if self.agent.spool.names(tenant, "new") or self.agent.spool.names(tenant, "cur"):
                return False
            directory = self.agent.spool.path(tenant, "deferred")
            for name in os.listdir(directory):
                try:
                    if name.endswith(".status") and not name.startswith(".") and os.stat(directory / name).st_mtime <= now:
                        return False
                except FileNotFoundError:
                    return False
        return True

    def step(self, seconds, number):
        self.agent.clock.advance(seconds)
        for kind in ("plain", "two", "plain", "later") if number % 10 else ("plain", "refused", "mixed", "full"):
            self.submit(kind)
        wait_until(self.settled, 30, lambda: f"nothing due is left\n{self.agent.spool.tree()}")
        self.harvest()

    def day(self):
        """One day; returns a sample for each step."""
        samples, number, passed = [], 0, 0
        for _ in range(OLD_ONES):
            self.submit("day")
        while passed < LENGTH:
            # The short waits come first, and want short steps.
            seconds = MINUTE if passed < 70 * MINUTE else 10 * MINUTE
            self.step(seconds, number)
            samples.append(self.sample())
            number += 1
            passed += seconds
        return samples

    def read_waits(self, text):
        """(time, wait) of each attempt that deferred a message, as the log has it, in seconds."""
        deferred = r"^time=(\S+) event=deferred tenant=\S+ name=S\.(\d+)\.soak .*? next=(\S+)"
        for at, serial, due in re.findall(deferred, text, re.M):
            self.attempts.setdefault(int(serial), []).append((parse(at), parse(due) - parse(at)))

    def check_waits(self):
        """Each wait is the message's age at that attempt, within its bounds. Returns the waits of the first, in minutes."""
        old = [attempts for serial, attempts in self.attempts.items() if self.book.kind_of(serial) == "day"]
        if len(old) != 2 * OLD_ONES:
            raise Wrong(f"{len(old)} messages waited through a day, not {2 * OLD_ONES}")
        for attempts in old:
            for at, wait in attempts:
                age = at - attempts[0][0]
                if len(attempts) != DEFERRALS or abs(wait - min(max(age, MINUTE), 4 * HOUR)) > 2:
                    raise Wrong(f"it waited for {wait} s at an age of {age} s: {attempts}")
        return [round(wait / MINUTE) for _, wait in old[0]]

    def run(self):
        began = time.monotonic()
        self.agent.start()
        first = self.day()
        second = self.day()
        figures = flat(first, second)
        self.stop()
        self.read_waits(self.check_log())
        self.check_places()
        waits = self.check_waits()
        compare(self.book, self.receiver)
        return {**figures, "waits_in_minutes": waits, "submitted": self.book.submitted, "sent": self.book.sent, "failed": self.book.failed,
                "waiting": self.book.waiting, "simulated_hours": self.agent.clock.offset // HOUR,
                "seconds": round(time.monotonic() - began)}


def parse(text):
    """Seconds of a time such as 2026-11-23T15:04:06.120Z."""
    whole, _, rest = text.rstrip("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{rest or 0}")
