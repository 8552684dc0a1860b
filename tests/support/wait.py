"""Waiting for a condition: never a fixed sleep, always a deadline and a reason."""

import time


class Timeout(AssertionError):
    """The condition did not come true in time."""


def wait_until(condition, seconds=10.0, what="condition", interval=0.01):
    """Calls condition() until it is true and returns its value; raises Timeout with `what` (text or callable)."""
    deadline = time.monotonic() + seconds
    pause = interval
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Timeout(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(pause)
        pause = min(pause * 1.2, 0.1)
