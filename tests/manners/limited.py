"""Scripted servers that enforce a provider's limits by the agent's own clock and count what they had to refuse."""

import collections
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))

import smtpserver  # noqa: E402

MINUTE = 60.0


class SlidingLimit:
    """At most `amount` in any `period`, wherever it begins: the strictest way to count."""

    def __init__(self, amount, period):
        self.amount, self.period, self.taken = amount, period, collections.deque()

    def free(self, now):
        while self.taken and now - self.taken[0] >= self.period:
            self.taken.popleft()
        return self.amount - len(self.taken)

    def wait(self, now):
        """Seconds until one more is allowed."""
        return 0 if self.free(now) > 0 else self.taken[0] + self.period - now

    def take(self, now):
        if self.free(now) <= 0:
            return False
        self.taken.append(now)
        return True


class LimitedConnection(smtpserver.Connection):
    counted = True

    def leave(self):
        """It said QUIT, or its end was read: it counts no longer."""
        if self.counted:
            self.counted = False
            self.server.open -= 1

    async def talk(self):
        self.server.open += 1
        self.server.open_most = max(self.server.open_most, self.server.open)
        try:
            await super().talk()
        finally:
            self.leave()

    async def event(self, event, default, line=""):
        if event == "QUIT":
            self.leave()
        refusal = self.server.refusal(self, event)
        if refusal:
            with self.server.lock:
                self.server.refusals.append((self.server.now(), event, refusal))
            default = refusal
        return await super().event(event, default, line)


class Limited(smtpserver.Server):
    """A server with limits. `refusals` lists (when, event, reply); `times` when each message was accepted."""

    connection = LimitedConnection

    def __init__(self, clock, script=()):
        super().__init__(script)
        self.clock, self.refusals, self.times = clock, [], []
        self.open = self.open_most = 0

    def now(self):
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.clock.offset

    def refusal(self, connection, event):
        """The reply that refuses, or None."""
        raise NotImplementedError


class Microsoft(Limited):
    """30 messages a minute, three connections; the refusal for a fourth one comes after the data."""

    def __init__(self, clock, connections=3, messages=30):
        super().__init__(clock)
        self.limit, self.minute = connections, SlidingLimit(messages, MINUTE)

    def refusal(self, connection, event):
        if event != "BODY":
            return None
        if self.open > self.limit:
            return "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded; concurrent connections"
        if not self.minute.take(self.now()):
            return "451 4.7.500 Server busy. Please try again later: rate limit exceeded"
        self.times.append(self.now())
        return None


class Google(Limited):
    """So many logins in ten minutes, and 2,000 messages a day."""

    def __init__(self, clock, logins=5, messages=2000):
        super().__init__(clock, ["auth PLAIN plain"])
        self.logins, self.day = SlidingLimit(logins, 10 * MINUTE), SlidingLimit(messages, 24 * 60 * MINUTE)
        self.logged_in = 0

    def refusal(self, connection, event):
        if event == "AUTH":
            if not self.logins.take(self.now()):
                return "454 4.7.0 Too many login attempts, please try again later."
            self.logged_in += 1
        elif event == "BODY":
            if not self.day.take(self.now()):
                return "550 5.4.5 Daily user sending limit exceeded."
            self.times.append(self.now())
        return None
