#!/usr/bin/env python3
"""The soak: an agent that is killed at random times, under load, and an exact ledger at the end.

    run.py [--messages N] [--kills N] [--gap LOW HIGH] [--steady N] [--seed N] [--directory DIR] [--record FILE] [--no-day]

Six tenants on four accounts; messages that are sent, refused, deferred, accepted for some recipients only; connections
that end instead of the reply to the final dot; logins that are refused. SIGKILL comes LOW to HIGH seconds after each
start, one time in ten much earlier, while the agent still recovers. Then an agent runs through --steady more messages
while its memory and its open files are watched, and last comes a simulated day (day.py). `make soak` runs the long form.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from soak.day import Day  # noqa: E402
from soak.house import House, flat  # noqa: E402
from soak.ledger import Wrong, bounds, compare  # noqa: E402

ACCOUNTS, TENANTS, CONNECTIONS, WINDOW = 4, 6, 2, 8
IN_FLIGHT = ACCOUNTS * CONNECTIONS * WINDOW
BACKLOG_MAX = 12000   # messages that wait, at most, before producers pause
REFUSE_EVERY = 40     # logins
SHARES = {"plain": 85000, "two": 5000, "later": 2000, "full": 1000, "dropped": 40, "refused": 2500, "content": 1500,
          "mixed": 2960}


class Soak(House):
    def __init__(self, options):
        super().__init__(options.directory, options.messages + options.steady, ACCOUNTS, TENANTS,
                         {"auth": "basic", "password": "first", "limits": {"connections": CONNECTIONS, "window": WINDOW}},
                         {"first": "1s", "max": "4s", "give_up_after": "5d", "jitter": 0.2})
        self.options = options
        self.random = random.Random(options.seed)
        self.receiver.refuse_every = REFUSE_EVERY
        self.kills = self.passwords = 0
        self.kinds, self.weights = list(SHARES), list(SHARES.values())
        self.samples = []
        self.looked_at = self.sampled_at = 0.0

    def produce(self, until, most=400):
        for _ in range(most):
            if self.serial >= until or self.book.waiting >= BACKLOG_MAX:
                return
            self.submit(self.random.choices(self.kinds, self.weights)[0])

    def mend_logins(self):
        """An account whose login was refused waits for a change of its password file, as its owner would make one."""
        try:
            accounts = (self.agent.status() or {}).get("accounts", {})
        except ValueError as problem:
            raise Wrong(f"status.json cannot be read: {problem}") from None
        for name, account in accounts.items():
            if account["breaker"] == "open_credentials":
                self.passwords += 1
                self.config.secret(f"{name}.password", f"password {self.passwords}")

    def work(self, until):
        self.produce(until)
        now = time.monotonic()
        if now - self.looked_at > 0.4:
            self.looked_at = now
            self.harvest()
            self.mend_logins()
        time.sleep(0.002)

    # Lives

    def life(self):
        low, high = self.options.gap
        gap = self.random.uniform(0, 0.2) if self.random.random() < 0.1 else self.random.uniform(low, high)
        # Each life gets its share at once, so that some kills meet a full house and some a quiet one with retries.
        quota = self.options.messages * (self.kills + 1) // self.options.kills
        self.agent.start()
        deadline = time.monotonic() + gap
        while time.monotonic() < deadline:
            if not self.agent.running():
                raise Wrong(f"the agent ended by itself:\n{self.agent.log_text()[-3000:]}")
            self.work(quota)
        self.agent.kill()
        self.kills += 1
        self.receiver.generation += 1
        self.check_log()
        if self.kills % 25 == 0:
            self.check_places()
            self.say()

    def say(self):
        print(f"{time.strftime('%H:%M:%S')} kills {self.kills}, submitted {self.book.submitted:,}, sent {self.book.sent:,}, "
              f"failed {self.book.failed:,}, waiting {self.book.waiting:,}", flush=True)

    def drain(self, until, seconds):
        """Runs until everything submitted has ended, or nothing has moved for so long."""
        moved, progress = time.monotonic(), None
        while self.serial < until or self.book.waiting:
            self.work(until)
            now = time.monotonic()
            state = (self.serial, self.book.sent, self.book.failed)
            if state != progress:
                moved, progress = now, state
            if now - moved > seconds:
                raise Wrong(f"nothing moves any more: {self.book.waiting} wait\n{self.agent.log_text()[-3000:]}")
            if now - self.sampled_at > 0.1:
                self.sampled_at = now
                self.samples.append(self.sample())

    def steady(self):
        """One life without a kill, to the end of the list."""
        self.agent.start()
        self.drain(self.options.messages, 60)
        # Warm by now: the first half of what follows is the measure for the second.
        self.samples.clear()
        self.drain(self.serial + self.options.steady, 60)
        half = len(self.samples) // 2
        figures = flat(self.samples[:half], self.samples[half:])
        self.stop()
        for tenant in self.tenants:
            left = os.listdir(self.agent.spool.path(tenant, "deferred"))
            if left:
                raise Wrong(f"left in {tenant}/deferred: {left[:5]}")
        self.check_log()
        self.check_places()
        return figures

    def run(self):
        began = time.monotonic()
        while self.kills < self.options.kills:
            self.life()
        steady = self.steady()
        accepted, most = compare(self.book, self.receiver)
        totals = bounds(self.receiver, IN_FLIGHT, WINDOW)
        return {"kills": self.kills, "submitted": self.book.submitted, "sent": self.book.sent, "failed": self.book.failed,
                "waiting": self.book.waiting, "recipients_reached": accepted, "most_copies_of_one": most, **totals,
                "in_flight": IN_FLIGHT, "window": WINDOW, "logins": self.receiver.logins,
                "refused_logins": self.receiver.refused_logins, "passwords_changed": self.passwords,
                "statuses_left_by_kills": self.statuses_left, "steady": steady,
                "seconds": round(time.monotonic() - began), "gap": self.options.gap, "seed": self.options.seed}


def run(house):
    """Runs it and returns the figures; where something is wrong, the directory is left for a look."""
    try:
        figures = house.run()
    except BaseException:
        print(f"what was there is kept in {house.directory}", file=sys.stderr)
        raise
    finally:
        house.close()
    shutil.rmtree(house.directory)
    return figures


def arguments(argv=None):
    parser = argparse.ArgumentParser(description="kill -9 under load, and an exact ledger")
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--gap", type=float, nargs=2, default=(0.5, 5.0), metavar=("LOW", "HIGH"), help="seconds")
    parser.add_argument("--steady", type=int, default=50000, help="messages of the life without a kill")
    parser.add_argument("--no-day", action="store_true", help="without the simulated day")
    parser.add_argument("--only-day", action="store_true", help="nothing but the simulated day")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--directory", help="where the spool is made; default: $TMPDIR")
    parser.add_argument("--record", type=pathlib.Path, help="the figures go there as JSON")
    return parser.parse_args(argv)


def main():
    options = arguments()
    # Optimized, with the settable clock: `make crash-build`. Under a sanitizer memory would tell nothing.
    os.environ["OUTTRAY"] = os.environ.get("OUTTRAY_SOAK", "build-crash/outtray")
    print(f"seed {options.seed}", flush=True)
    figures = {}
    try:
        if not options.only_day:
            figures = run(Soak(options))
        if not options.no_day:
            figures["day"] = run(Day(options))
    except Wrong as problem:
        sys.exit(f"soak: {problem}")
    print(json.dumps(figures, indent=1))
    if options.record:
        options.record.write_text(json.dumps(figures, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
