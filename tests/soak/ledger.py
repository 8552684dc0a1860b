"""The books of a soak: what producers submitted, what the receiver counted, and whether the two agree.

The receiver is build-crash/bench/sink with --ledger (tests/bench/sink/ledger.h says what its file holds and which address asks
for which answer).
"""

import array
import mmap
import os
import pathlib
import signal
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATIONS = 8192
HEAD = struct.Struct("=8I")
GENERATION = struct.Struct("=4I")
ENTRY = struct.Struct("=Q4B4BHBBI")
ENTRIES_AT = HEAD.size + GENERATIONS * GENERATION.size

# What becomes of a message, by its kind: the answers that its recipients ask for, and the state it ends in.
KINDS = {
    "plain": ("a", "sent"), "two": ("aa", "sent"), "later": ("d", "sent"), "full": ("e", "sent"), "dropped": ("x", "sent"),
    "refused": ("f", "failed"), "content": ("g", "failed"), "mixed": ("adf", "failed"), "day": ("h", "sent"),
}


class Wrong(AssertionError):
    """The books do not agree."""


class Receiver:
    """The sink with its ledger, and a look into it."""

    def __init__(self, directory, messages):
        self.path = pathlib.Path(directory) / "ledger"
        with open(self.path, "wb") as out:
            out.truncate(ENTRIES_AT + messages * ENTRY.size)
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 0)
        sink = pathlib.Path(os.environ.get("OUTTRAY_SINK", ROOT / "build-crash/bench/sink"))
        self.process = subprocess.Popen([str(sink), "--auth", "--ledger", str(self.path)], stdout=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, text=True)
        word, _, port = self.process.stdout.readline().partition(" ")
        if word != "listening":
            raise Wrong(f"{sink} does not listen")
        self.port = int(port)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)

    def _get(self, at):
        return HEAD.unpack_from(self.map, 0)[at]

    def _set(self, at, value):
        struct.pack_into("=I", self.map, 4 * at, value)

    generation = property(lambda self: self._get(0), lambda self, value: self._set(0, value))
    refuse_every = property(lambda self: self._get(1), lambda self, value: self._set(1, value))
    logins, refused_logins, strangers, other_ids, unknown_ids = (property(lambda self, at=at: self._get(at))
                                                                 for at in range(3, 8))

    def generations(self):
        """A tuple (dropped, repeats, repeats_kill, accepted) for each generation so far."""
        return [GENERATION.unpack_from(self.map, HEAD.size + at * GENERATION.size) for at in range(self.generation + 1)]

    def entry(self, serial):
        """(hash of the Message-ID, accepted by slot, tried by slot)"""
        values = ENTRY.unpack_from(self.map, ENTRIES_AT + serial * ENTRY.size)
        return values[0], values[1:5], values[5:9]


class Book:
    """The producers' list. A message's name is S.SERIAL.soak; what it ended in is noted once."""

    OPEN, SENT, FAILED = 1, 2, 3

    def __init__(self, messages):
        self.kind = array.array("B", bytes(messages))
        self.state = array.array("B", bytes(messages))
        self.submitted = self.sent = self.failed = 0
        self.kinds = list(KINDS)

    def submit(self, serial, kind):
        self.kind[serial] = self.kinds.index(kind)
        self.state[serial] = self.OPEN
        self.submitted += 1

    def kind_of(self, serial):
        return self.kinds[self.kind[serial]]

    def end(self, serial, state):
        """Notes that the message ended in "sent" or "failed"."""
        if self.state[serial] != self.OPEN:
            raise Wrong(f"message {serial} ended in {state}, but it had ended before, or was never submitted")
        wanted = KINDS[self.kind_of(serial)][1]
        if state != wanted:
            raise Wrong(f"message {serial}, {self.kind_of(serial)}, ended in {state}, not in {wanted}")
        self.state[serial] = self.SENT if state == "sent" else self.FAILED
        if state == "sent":
            self.sent += 1
        else:
            self.failed += 1

    @property
    def waiting(self):
        return self.submitted - self.sent - self.failed


def compare(book, receiver):
    """Holds each message's end against what the receiver accepted of it; returns how many recipients got it, and the most
    often that one message came."""
    accepted, most, ids = 0, 0, {}
    for serial in range(book.submitted):
        identity, counts, _ = receiver.entry(serial)
        answers = KINDS[book.kind_of(serial)][0]
        ended = book.state[serial] != Book.OPEN
        for slot, answer in enumerate(answers):
            wanted = answer not in "fg"
            if counts[slot] and not wanted:
                raise Wrong(f"message {serial}: a recipient that was refused is in the receiver's books")
            if ended and wanted and not counts[slot]:
                raise Wrong(f"message {serial} ended, but recipient {slot} never got it")
            accepted += bool(counts[slot])
            most = max(most, counts[slot])
        if any(counts[len(answers):]):
            raise Wrong(f"message {serial} went to recipients that it does not have")
        if identity and ids.setdefault(identity, serial) != serial:
            raise Wrong(f"messages {serial} and {ids[identity]} have one Message-ID")
    return accepted, most


def bounds(receiver, in_flight, window):
    """Holds the repeats of each generation against what was in flight; returns their totals."""
    totals = {"dropped": 0, "repeats_after_drop": 0, "repeats_after_kill": 0, "accepted": 0, "most_after_one_kill": 0}
    for number, (dropped, repeats, repeats_kill, accepted) in enumerate(receiver.generations()):
        if repeats > window * dropped:
            raise Wrong(f"life {number}: {repeats} repeats after {dropped} lost connections with a window of {window}")
        if repeats_kill > in_flight + window * dropped:
            raise Wrong(f"life {number}: its end repeated {repeats_kill}; {in_flight} in flight, {dropped} connections lost")
        for key, value in zip(totals, (dropped, repeats, repeats_kill, accepted)):
            totals[key] += value
        totals["most_after_one_kill"] = max(totals["most_after_one_kill"], repeats_kill)
    for what in ("strangers", "other_ids", "unknown_ids"):
        if getattr(receiver, what):
            raise Wrong(f"the receiver counted {getattr(receiver, what)} {what}")
    return totals
