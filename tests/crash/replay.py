"""A disk that remembers, and every state in which a power cut may leave it. One worker per process: see run.py.

The scenario runs once on a file system whose device is tests/crash/disk.c. A state is a prefix of the log of that disk: all
writes up to the last flush in it, and of those after it none, all, or some.
"""

import dataclasses
import pathlib
import random
import struct
import subprocess
import tempfile
import threading
import time

from scenario import PATIENCE, Accepted
from support.agent import binary, environment
from support.wait import wait_until
from sweep import SUBMITTED
from volume import Mounted, copy, end_with_parent, make

DISK = pathlib.Path(__file__).resolve().parents[2] / "build-crash/crash/disk"
RECORD = struct.Struct("=IIQq")
SUBMISSIONS = 12
ENDLESS = 1 << 62


@dataclasses.dataclass
class Record:
    """A write, or (data None) a flush."""
    at: int
    offset: int
    data: bytes | None


def read_log(path):
    data, at, records = path.read_bytes(), 0, []
    while at + RECORD.size <= len(data):
        kind, length, offset, when = RECORD.unpack_from(data, at)
        at += RECORD.size
        records.append(Record(when, offset, data[at:at + length] if kind == ord("W") else None))
        at += length
    return records


def missing():
    """Why there can be no such disk here, or None."""
    with tempfile.TemporaryDirectory() as directory:
        image, place = pathlib.Path(directory, "image"), pathlib.Path(directory, "place")
        image.write_bytes(bytes(4096))
        place.mkdir()
        script = f"'{DISK}' '{image}' '{directory}/log' '{place}' & for i in $(seq 200); do [ -e '{place}/disk' ] && break; " \
            f"kill -0 $! || exit 1; sleep 0.02; done; cat '{place}/disk' >/dev/null && umount '{place}' && wait $!"
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], capture_output=True,
                              text=True, timeout=30)
        return None if done.returncode == 0 else f"no FUSE here: {done.stderr.strip()}"


class Recorder:
    """An image behind the disk that remembers, mounted at stage.disk until close()."""

    def __init__(self, stage, kind, image):
        self.log, self.place = stage.directory / "disk.log", stage.directory / "fuse"
        self.place.mkdir(exist_ok=True)
        self.process = subprocess.Popen([str(DISK), str(image), str(self.log), str(self.place)], stdin=subprocess.DEVNULL,
                                        preexec_fn=end_with_parent)
        self.mounted = None
        try:
            wait_until((self.place / "disk").exists, 20, "the disk that remembers")
            self.mounted = Mounted(kind, self.place / "disk", stage.disk)
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.mounted:
            self.mounted.close()
        deadline = time.monotonic() + 10  # the loop device lets go of its file a moment after the unmount
        while subprocess.run(["umount", str(self.place)], capture_output=True).returncode and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Lines:
    """What a program writes, each line with the time at which it was read: a moment after it was written."""

    def __init__(self, stream):
        self.lines = []
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream):
        for line in stream:
            self.lines.append((time.monotonic_ns(), line.decode("utf-8", "backslashreplace")))

    def until(self, at):
        return "".join(line for when, line in self.lines if when < at)


class Agent:
    """The recording of an agent that plays the whole scenario."""

    def record(self, stage):
        process = subprocess.Popen([binary(), "run", "--config", str(stage.config.path)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(stage.clock),
                                   cwd=stage.directory, preexec_fn=end_with_parent)
        try:
            self.lines = Lines(process.stdout)
            assert stage.play(lambda: process.poll() is not None), "the agent ended by itself\n" + self.lines.until(ENDLESS)
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.lines.thread.join(10)
        self.accepted = list(stage.server.accepted)

    def judge(self, stage, at):
        """The findings in a state that is mounted, of a cut at that time."""
        accepted = Accepted()
        accepted.extend(item for item in self.accepted if item.at < at)
        stage.server.accepted = accepted
        found = stage.look(self.lines.until(at), list(accepted))
        before = stage.finish()
        return found + stage.judge(before)


class Submit:
    """The recording of some submissions, one after the other."""

    def record(self, stage):
        self.accepted_at = []
        for number in range(SUBMISSIONS):
            done = subprocess.run([binary(), "submit", "--config", str(stage.config.path), "--tenant", "acme"], timeout=PATIENCE,
                                  input=SUBMITTED + b"%d\n" % number, env=environment(stage.clock), cwd=stage.directory,
                                  stderr=subprocess.DEVNULL)
            assert done.returncode == 0
            self.accepted_at.append(time.monotonic_ns())

    def judge(self, stage, at):
        found, numbers = [], set()
        stage.repeated = stage.doubled = 0
        for path in stage._files("new"):
            if path.name[:2] in ("1.", "2.", "3.", "4.", "5.", "6."):
                continue
            _, whole, number = path.read_bytes().rpartition(SUBMITTED)
            if not whole or not number.endswith(b"\n"):
                found.append("half a message is in new/")
            else:
                numbers.add(int(number))
        found += [f"submission {number} was accepted, and is not in new/" for number, when in enumerate(self.accepted_at)
                  if when < at and number not in numbers]
        return found


RECORDINGS = {"agent": Agent, "submit": Submit}
DROPS = ("none kept", "all kept", "some kept", "some kept")


def share(stage, what, kind, count, seed, first_only=False):
    """Records once, and judges `count` states of it, or up to the first with a finding. Returns a result for each."""
    template, base, image = (stage.directory / name for name in ("template", "base", "image"))
    make(kind, template)
    disk = Mounted(kind, template, stage.disk)
    try:
        stage.agent.init = True
        stage.populate()
        stage.agent.init = False
    finally:
        disk.close()
    stage.reset()
    recording = RECORDINGS[what]()
    copy(template, base)
    recorder = Recorder(stage, kind, base)
    try:
        recording.record(stage)
    finally:
        recorder.close()
    records = read_log(recorder.log)
    rng = random.Random(seed)
    points = sorted((rng.randrange(len(records) + 1), rng.choice(DROPS)) for _ in range(count))
    copy(template, base)
    results, flushed = [], 0
    for point, drop in points:
        flushed = advance(base, records, flushed, point)
        copy(base, image)
        open_writes = [record for record in records[flushed:point] if record.data is not None]
        kept = [record for record in open_writes
                if drop == "all kept" or (drop == "some kept" and rng.random() < 0.5)]
        write(image, kept)
        results.append(judge_state(stage, kind, image, recording, records, point, drop, len(kept), len(open_writes)))
        if first_only and results[-1]["found"]:
            break
    return results


def advance(base, records, flushed, point):
    """Brings the base up to the last flush before the point; returns the number of records in it."""
    end = flushed
    for number in range(flushed, point):
        if records[number].data is None:
            end = number + 1
    write(base, [record for record in records[flushed:end] if record.data is not None])
    return end


def write(image, records):
    with open(image, "r+b") as out:
        for record in records:
            out.seek(record.offset)
            out.write(record.data)


def judge_state(stage, kind, image, recording, records, point, drop, kept, open_writes):
    stage.reset()
    at = records[point].at if point < len(records) else ENDLESS
    where = f"after {point} of {len(records)} records, {drop} ({kept} of {open_writes} writes)"
    try:
        disk = Mounted(kind, image, stage.disk)
    except OSError as problem:
        return {"where": where, "found": [f"mount: {problem}"], "repeated": 0, "doubled": 0}
    try:
        found = recording.judge(stage, at)
    except AssertionError as problem:
        found = [f"recovery: {problem}"]
    finally:
        disk.close()
    return {"where": where, "found": found, "repeated": stage.repeated, "doubled": stage.doubled}
