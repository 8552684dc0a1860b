"""One fixed scenario, played once for each fault: what tests/fault is made of.

Nine messages of one tenant and a real server on the loopback interface: sent, refused, mixed recipients, deferred, deferred
in part, a large body, no message at all, one that a crashed agent had claimed, one that waits in deferred/. The agent is
build-asan/fault/outtray, in which shim.c lets one call fail; the clock goes on where nothing moves. Then it is held to
its promises, and where it had to stop (a broken spool, no start), an agent without faults has to finish the work.
"""

import dataclasses
import errno
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cases")]

from smtpserver import Server  # noqa: E402
from support import logfmt  # noqa: E402
from support.agent import environment, sanitizer_report  # noqa: E402
from support.clock import Clock  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("OUTTRAY_FAULTY", ROOT / "build-asan" / "fault" / "outtray"))
STEP = 61  # seconds by which the clock goes on where nothing moves
STILL = 0.25  # seconds (real ones) without any change that count as "nothing moves"
STEPS_MAX = 80
LIMIT = 90  # seconds for one agent
WINDOW = 8  # messages that one agent may repeat
DISK = (errno.EIO, errno.EROFS)
# libcurl 7.88 divides by the zero slots of a hash table that it had no memory for. OpenSSL 3.0 leaks a name where a table of
# its own cannot grow, and once locks what is not there; ASan cannot start a thread whose stack pthread_getattr_np cannot tell.
THEIRS = re.compile(r"AddressSanitizer: FPE .*\n *#0 0x[0-9a-f]+ +\(\S*/libcurl\.so")
CONFIG = """
version: 1
spool: {0}/spool
state: {0}/state
domain: pbx.example.com
accounts:
  relay: {{auth: none, email: noreply@example.com, server: 127.0.0.1, port: {1}, encryption: none,
           limits: {{connections: 1, window: 8}}}}
tenants:
  acme: {{account: relay, from: Acme Voicemail <voicemail@acme.example>}}
retry: {{first: 1m, max: 4h, give_up_after: 5d, jitter: 0}}
log: {{file: {0}/log}}
"""
SERVER = [
    "on RCPT refused: 550 5.1.1 no such user",
    "on RCPT later-all: once 451 4.2.0 try later",
    "on RCPT later-part: once 451 4.2.0 try later",
]
MESSAGES = {  # name: (state, recipients, where it ends, body size)
    "plain": ("new", ["plain@x.example"], "sent", 100),
    "refused": ("new", ["refused@x.example"], "failed", 100),
    "mixed": ("new", ["mixed@x.example", "refused-too@x.example"], "failed", 100),
    "later": ("new", ["later-all@x.example"], "sent", 100),
    "part": ("new", ["part@x.example", "later-part@x.example"], "sent", 100),
    "large": ("new", ["large@x.example"], "sent", 300000),
    "nobody": ("new", [], "failed", 100),
    "claimed": ("cur/main", ["claimed@x.example"], "sent", 100),
    "waiting": ("deferred", ["waiting@x.example"], "sent", 100),
}
STATES = ("new", "cur/main", "deferred", "sent", "failed")


@dataclasses.dataclass(frozen=True)
class Fault:
    who: str
    call: str
    error: int
    first: int
    last: int = 0
    verb: str = "run"

    def text(self):
        """As the shim wants it."""
        return f"{self.who}:{self.call}:{self.error}:{self.first}:{self.last or self.first}"

    def key(self):
        """As it is listed, and given to tests/fault/sweep."""
        return self.text() if self.verb == "run" else f"{self.verb}/{self.text()}"

    @staticmethod
    def parse(key):
        verb, _, text = key.rpartition("/")
        who, call, error, first, last = text.split(":")
        return Fault(who, call, int(error), int(first), int(last), verb or "run")


class Play:
    def __init__(self, fault, program=PROGRAM, keep=False):
        self.fault = fault
        self.program = program
        self.keep = keep
        self.problems = []
        self.report = []  # lines of the shim
        self.code = None
        self.latched = False
        self.again = False  # an agent without faults had to finish
        self.steps = 0

    # The scenario

    def prepare(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="outtray-fault-"))
        self.spool = self.directory / "spool" / "acme"
        self.server = Server(SERVER)
        self.server.start()
        (self.directory / "outtray.yaml").write_text(CONFIG.format(self.directory, self.server.port))
        (self.directory / "state").mkdir(mode=0o700)
        for state in ("tmp", "hold", *STATES):
            (self.spool / state).mkdir(parents=True)
        self.content = {}
        old = time.time() - 60
        for name, (state, recipients, _, size) in MESSAGES.items():
            to = f"To: {', '.join(recipients)}\n" if recipients else ""
            line = f"a line of {name}\n"
            data = f"From: x@x.example\n{to}Subject: {name}\n\n{line * (size // len(line) + 1)}".encode()
            path = self.spool / state / name
            path.write_bytes(data)
            os.utime(path, (old, old))
            self.content[name] = (path.stat().st_ino, data)
        self.clock = Clock(self.directory / "clock")

    def places(self):
        """{name: [states]} of the messages, by inode: what lies under another name is still the same message."""
        by_inode = {inode: name for name, (inode, _) in self.content.items()}
        found = {name: [] for name in self.content}
        for state in STATES:
            try:
                entries = list(os.scandir(self.spool / state))
            except FileNotFoundError:
                continue
            for entry in entries:
                name = by_inode.get(entry.inode())
                if name:
                    found[name].append(state)
        return found

    def finished(self):
        return all(states == [MESSAGES[name][2]] for name, states in self.places().items())

    # Playing

    def run(self, faulty):
        """An agent until everything is where it belongs, or it ends by itself, or it says that it cannot go on."""
        more = {"OUTTRAY_FAULT_REPORT": self.directory / "report"}
        if self.fault is None or faulty:
            more["OUTTRAY_FAULT"] = self.fault.text() if self.fault else ""
        with open(self.directory / "output", "ab") as out:
            process = subprocess.Popen([self.program, "run", "--config", self.directory / "outtray.yaml"],
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.directory,
                                       env=environment(self.clock, **more))
        try:
            self.watch(process)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                self.end(process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                self.problems.append("the agent did not end")
        return process.returncode

    def watch(self, process):
        before, since, begin = None, time.monotonic(), time.monotonic()
        steps, begun = 0, len(self.log_text()) if self.again else 0
        while process.poll() is None and time.monotonic() - begin < LIMIT:
            now = self.places()
            if all(states == [MESSAGES[name][2]] for name, states in now.items()):
                return
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STILL:
                if "event=spool_broken" in self.log_text()[begun:] or steps == STEPS_MAX:
                    return
                self.clock.advance(STEP)
                steps += 1
                since = time.monotonic()
            time.sleep(0.004)
        self.steps += steps

    def end(self, process):
        begin = time.monotonic()
        while process.poll() is None and time.monotonic() - begin < LIMIT:
            time.sleep(0.004)
            if time.monotonic() - begin > 2:
                self.clock.advance(5)  # its grace

    def log_text(self):
        try:
            return (self.directory / "log").read_text(errors="backslashreplace")
        except FileNotFoundError:
            return ""

    def play(self):
        self.prepare()
        try:
            self.code = self.run(faulty=True)
            self.check_first()
            if not self.finished():
                self.again = True
                self.clock.advance(STEP)
                code = self.run(faulty=False)
                if code != 0:
                    self.problems.append(f"the agent without faults ended with {code}")
                if not self.finished():
                    self.problems.append(f"not everything came to its end: {self.places()}")
            self.check_end()
        finally:
            self.server.stop()
            self.last_log = self.log_text()
            path = self.directory / "report"
            self.report = path.read_text(errors="replace").splitlines() if path.exists() else []
            if not (self.keep and self.problems):
                shutil.rmtree(self.directory, ignore_errors=True)
        self.check_report()
        return self

    # Judging

    def events(self, *wanted):
        lines = self.log_text().splitlines()
        found = [logfmt.parse(line) for line in lines]
        return [pairs for pairs in found if pairs and pairs.get("event") in wanted]

    def check_first(self):
        output = (self.directory / "output").read_text(errors="replace")
        report = sanitizer_report(output)
        self.theirs = self.fault is not None and self.is_theirs(report, output)
        if report and not self.theirs:
            self.problems.append(report)
        elif self.theirs:
            pass  # then it is as if the agent had been killed
        elif self.code < 0 or self.code in (98, 99):
            self.problems.append(f"it ended with {self.code}\n{output[-3000:]}")
        self.latched = bool(self.events("spool_broken"))
        places = self.places()
        for name, states in places.items():
            if len(states) != 1:
                self.problems.append(f"{name} is in {states or 'no state'}")
        for line in self.events("sent"):
            self.check_sent_line(line, places)
        if (self.code == 74) != self.latched and self.code not in (73, 77) and not (
                self.code == 74 and "event=started" not in self.log_text()):
            self.problems.append(f"exit status {self.code}, and the spool is {'' if self.latched else 'not '}broken")
        if self.latched:
            self.check_latched()
        elif self.code == 0 and not self.finished() and not self.shut_out():
            self.problems.append(f"it went on, and did not finish: {places}\n{self.log_text()[-3000:]}")

    def shut_out(self):
        """Whether the trouble lasted and the tenant's directories could not be used at all, which was said."""
        return self.fault.last > self.fault.first and self.events("tenant_unavailable") and not self.events("sent", "failed")

    def is_theirs(self, report, output):
        """Whether the library whose allocation failed did not stand it, or the sanitizer itself."""
        leaked = "LeakSanitizer" in report and not re.search(r" in \w+ (agent|spool-format|config)/", report)
        return bool(THEIRS.search(report) or (self.fault.who == "libcrypto" and leaked) or
                    (self.fault.who == "libcrypto" and "CRYPTO_THREAD_read_lock" in report) or
                    (self.fault.who == "libc.so" and "CHECK failed" in output and "pthread_getattr_np" in output))

    def check_sent_line(self, line, places):
        """Said to be sent: then it lies in sent/, or its status file knows who has it."""
        name = line["name"]
        if name not in places or places[name] == ["sent"]:
            return
        state = places[name][0] if places[name] else "deferred"
        status = self.spool / ("deferred" if state == "cur/main" else state) / f"{name}.status"
        text = status.read_text() if status.exists() else ""
        for address in line["to"].split(","):
            if f"{{address: {address}, state: sent" not in text:
                self.problems.append(f"{name} is logged as sent to {address}, and lies in {state} without a word of it")

    def check_latched(self):
        try:
            text = (self.directory / "state" / "status.json").read_text()
        except FileNotFoundError:
            text = ""
        if '"spool": "broken"' not in text and '"spool":"broken"' not in text:
            self.problems.append(f"status.json does not say that the spool is broken: {text[:300]}")

    def check_end(self):
        for name, (inode, data) in self.content.items():
            states = self.places()[name]
            for state in states:
                entry = next(e for e in os.scandir(self.spool / state) if e.inode() == inode)
                if pathlib.Path(entry.path).read_bytes() != data:
                    self.problems.append(f"{name} is not what it was")
        got = [address for one in self.server.accepted for address in one.rcpts]
        for name, (_, recipients, _, _) in MESSAGES.items():
            for address in recipients:
                wanted = not address.startswith("refused")
                n = got.count(address)
                if wanted and not n:
                    self.problems.append(f"{address} never got {name}")
                if n > 1 and not (self.again or self.fault):
                    self.problems.append(f"{address} got {name} {n} times")
                if n > 2:
                    self.problems.append(f"{address} got {name} {n} times")
        for problem in self.server.errors + [p for c in self.server.connections for p in c.problems]:
            self.problems.append(f"the server saw: {problem}")
        self.repeats = len(got) - len(set(got))
        if self.repeats > WINDOW * (1 + self.again):
            self.problems.append(f"{self.repeats} repeats, more than were in flight")
        output = (self.directory / "output").read_text(errors="replace")
        if sanitizer_report(output) and not self.problems and not self.theirs:
            self.problems.append(sanitizer_report(output))
        left = [str(p.relative_to(self.spool)) for p in self.spool.rglob(".*")]
        if left:
            self.problems.append(f"left behind: {left}")

    def faults(self):
        return [line.split(" ") for line in self.report if line.startswith("fault ")]

    def check_report(self):
        """Where the latch belongs: outcomes and claims on a disk that fails; nowhere else. And no second fsync."""
        faults = self.faults()
        if not faults or self.fault is None:
            return
        must = [f for f in faults if self.outcome_failed(*f[1:6])]
        may = [f for f in faults if f[5].startswith(str(self.spool)) and (int(f[2]) in DISK or f[1] == "fsync")]
        if must and not self.latched:
            self.problems.append(f"the spool counts as sound after {' '.join(must[0])}")
        if self.latched and not may:
            self.problems.append(f"the spool counts as broken after {' '.join(faults[0])}")
        _, call, _, _, thread, *_ = faults[0]
        again = [line for line in self.report if line.startswith("sync filing")]
        if call == "fsync" and thread == "filing" and self.latched and again:
            self.problems.append(f"a failed fsync was followed by another: {again[0]}")

    def outcome_failed(self, call, error, _, thread, path):
        """Whether that fault must count as a failed disk: an outcome that could not be moved or synced."""
        if thread != "filing" or not path.startswith(str(self.spool)):
            return False
        directory = path in [str(self.spool / state) for state in STATES]
        return (call == "fsync" and directory and int(error) != errno.EINTR) or (call == "renameat2" and int(error) in DISK)


class Submission(Play):
    """`outtray submit` with one fault: 0 means that the message is in new/, whole; anything else that it is not, or whole."""

    MESSAGE = b"To: a@x.example\nSubject: one\n\n" + b"a line of it\n" * 3000

    def play(self):
        self.prepare_spool()
        try:
            done = subprocess.run([self.program, "submit", "--config", self.directory / "outtray.yaml"], input=self.MESSAGE,
                                  capture_output=True, cwd=self.directory, timeout=LIMIT,
                                  env=environment(None, OUTTRAY_FAULT=self.fault.text(),
                                                  OUTTRAY_FAULT_REPORT=self.directory / "report"))
            self.code = done.returncode
            self.judge(done.stderr.decode(errors="replace"))
        finally:
            self.last_log = ""
            path = self.directory / "report"
            self.report = path.read_text(errors="replace").splitlines() if path.exists() else []
            shutil.rmtree(self.directory, ignore_errors=True)
        return self

    def prepare_spool(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="outtray-fault-"))
        self.spool = self.directory / "spool" / "acme"
        (self.directory / "outtray.yaml").write_text(CONFIG.format(self.directory, 25))
        for state in ("tmp", "hold", *STATES):
            (self.spool / state).mkdir(parents=True)

    def judge(self, errors):
        new, tmp = list((self.spool / "new").iterdir()), list((self.spool / "tmp").iterdir())
        if sanitizer_report(errors):
            self.problems.append(sanitizer_report(errors))
        elif self.code < 0 or self.code in (98, 99):
            self.problems.append(f"it ended with {self.code}\n{errors[-3000:]}")
        if self.code == 0 and len(new) != 1:
            self.problems.append(f"it said yes, and new/ holds {new}")
        if self.code and not errors.strip():
            self.problems.append(f"it ended with {self.code} and said nothing")
        for path in new:
            if path.read_bytes() != self.expected():
                self.problems.append(f"what is in new/ is not the message: {path.read_bytes()[:300]}")
        if tmp and self.fault.call not in ("unlinkat", "linkat", "renameat", "renameat2"):
            self.problems.append(f"left in tmp/ after {self.code}: {tmp}")

    def expected(self):
        return self.MESSAGE


def where(line):
    """The lines of code of a line of the report."""
    offset = line.rsplit(" ", 1)[-1]
    if not offset.startswith("0x"):
        return ""
    return subprocess.run(["addr2line", "-ifpe", PROGRAM, offset], capture_output=True, text=True).stdout


def submit_counts(who="own"):
    """How often `outtray submit` makes each call."""
    one = Submission(Fault(who, "none", 0, 0))
    one.play()
    assert one.code == 0 and not one.problems, one.problems
    return {words[1]: int(words[2]) for words in map(str.split, one.report) if words[0] == "count"}


def counts(who="own"):
    """How often the agent makes each call where nothing fails."""
    play = Play(None)
    play.prepare()
    try:
        play.fault = Fault(who, "none", 0, 0)
        code = play.run(faulty=True)
        assert code == 0 and play.finished(), (code, play.places(), play.log_text()[-2000:])
        lines = (play.directory / "report").read_text().splitlines()
    finally:
        play.server.stop()
        shutil.rmtree(play.directory, ignore_errors=True)
    return {words[1]: int(words[2]) for words in map(str.split, lines) if words[0] == "count"}
