"""The settable clock of test builds (make asan, make testbuild).

Such an agent reads the file named by $OUTTRAY_TEST_CLOCK: a number of seconds that is added to each of its clocks. It
notices a new file within milliseconds, so that a backoff of days is one advance() away.
"""

import os
import pathlib


class Clock:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.offset = 0
        self.set(0)

    def set(self, seconds):
        """Puts the agent's clocks `seconds` ahead of (or, negative, behind) the real ones, atomically."""
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_text(f"{seconds}\n")
        # Servers that go by our clock are never behind the agent: an answer of theirs would be from before its request.
        self.offset = seconds
        os.rename(fresh, self.path)

    def advance(self, seconds):
        self.set(self.offset + seconds)

    @property
    def environment(self):
        return {"OUTTRAY_TEST_CLOCK": str(self.path)}
