"""Plays one scenario file: builds the spool, starts the server and the agent, walks through the steps, compares.

Steps, one per line:

once -> CODE              `outtray run --once`, which must end with that code
start | stop -> CODE | kill | hup | term       the running agent; `term` sends SIGTERM without waiting, `stop` waits for the end
clock +5m                 the agent's clocks go on by that much
fill DIR N                N small messages, 0001 and so on, to rN@example.net
put PATH                  moves a `later` message (or file) to its place
mv A B | link A B | symlink TEXT PATH | touch PATH | rm PATH | mkdir PATH | mkfifo PATH | mksocket PATH | chmod MODE PATH |
sparse PATH SIZE | append PATH TEXT | open PATH, write PATH TEXT (flushed), close PATH      below the spool; a leading @ means below the scenario's directory
server stop|start [2]     the port refuses connections, or answers again
release                   replies held back by `pause` go on
truncate PATH SIZE
await exists PATH… | await gone PATH… | await log [Nx] PATTERN… | await seen EVENT [N] [server 2] | await accepted N |
await json KEY.KEY VALUE | await end CODE      within a deadline; the log is read from the start
advance STEP until CONDITION        the clock goes on by STEP until the condition (as for await) holds
run CODE ARGUMENT…        another verb; $CONFIG is the configuration; its output goes to `await out`, see also `out TEXT`
out TEXT                  the last verb's output (both streams) holds TEXT, * is any text
next PATH SECONDS [TOLERANCE]       the status file's mtime is that far from the agent's present
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import yaml

from casefile import Case, Section, expression, glob, seconds, section_lines
from checks import merge
from checks import moment as parse_moment
from comparison import Comparison
from smtpserver import Server, unescape
from support import logfmt
from support.agent import binary, environment, sanitizer_report
from support.clock import Clock
from support.wait import Timeout, wait_until

PATIENCE = float(os.environ.get("OUTTRAY_TEST_PATIENCE", "20"))
BASE = """
version: 1
spool: $TMP/spool
state: $TMP/state
domain: pbx.example.com
accounts:
  relay:
    auth: none
    email: noreply@example.com
    server: 127.0.0.1
    port: $PORT
    encryption: none
    limits: {connections: 1, window: 8}
tenants:
  acme:
    account: relay
    from: Acme Voicemail <voicemail@acme.example>
retry: {first: 1m, max: 4h, give_up_after: 5d, jitter: 0}
"""
STATES = ("tmp", "new", "cur", "deferred", "sent", "failed", "hold")


class Failure(AssertionError):
    pass


def pinned_key(certificate):
    """sha256//BASE64 of the public key, as curl's CURLOPT_PINNEDPUBLICKEY wants it."""
    key = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=True, capture_output=True).stdout
    der = ssl.PEM_cert_to_DER_cert(key.decode().replace("PUBLIC KEY", "CERTIFICATE"))
    return "sha256//" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def parse_log_line(line):
    """A dict of texts, from logfmt or JSON."""
    if not line.startswith("{"):
        return logfmt.parse(line)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in json.loads(line).items()}


class Scenario(Comparison):
    def __init__(self, path, certs):
        self.path_of_case = path
        self.certs = certs

    def open(self):
        self.case = Case(self.path_of_case)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"outtray-{self.case.name}-"))
        self.spool = self.directory / "spool"
        self.log_path = self.directory / "agent.log"
        self.clock = Clock(self.directory / "clock")
        self.process, self.output, self.handles = None, "", {}
        self.messages = {}  # inode -> (first path, content, mtime in ns)
        self.touched = set()
        self.servers = {}

    # Preparing

    def fill(self, text):
        for key, value in {"$TMP": self.directory, "$CERTS": self.certs, "$PORT2": self.port(2), "$PORT": self.port(1),
                           "$CONFIG": self.directory / "outtray.yaml"}.items():
            text = text.replace(key, str(value))
        if "$PIN" in text:
            text = text.replace("$PIN", pinned_key(self.certs / "good.pem"))
        text = re.sub(r"\$INODE\((.*?)\)", lambda m: str(os.stat(self.spool / m[1]).st_ino), text)
        return re.sub(r"\$SIZE\((.*?)\)", lambda m: str(os.stat(self.spool / m[1]).st_size), text)

    def port(self, number):
        return self.servers[number].port if number in self.servers else 9

    def prepare(self):
        scripts = {1: []}
        for section in self.case.all("server"):
            scripts[int(section.args[0]) if section.args else 1] = section_lines(section)
        for number, script in scripts.items():
            self.servers[number] = Server(script, self.certs)
            self.servers[number].start()
        for place in (self.spool, self.directory / "state"):
            place.mkdir()
        data = yaml.safe_load(self.fill(BASE))
        for section in self.case.all("config"):
            data = merge(data, yaml.safe_load(self.fill(section.text)) or {})
        (self.directory / "outtray.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
        for tenant in data["tenants"]:
            for state in STATES:
                (self.spool / tenant / state).mkdir(parents=True)
        secret = self.directory / "password"
        secret.write_text("secret\n")
        secret.chmod(0o600)
        for section in self.case.sections:
            if section.name in ("message", "file") and "later" not in section.args:
                self.place(section)

    def place(self, section):
        options = dict(word.partition("=")[::2] for word in section.args[1:])
        base = self.spool if section.name == "message" else self.directory
        path = base / section.args[0]
        if "expr" in options:
            data = expression(section.text)
        elif section.name == "file":
            data = self.fill(section.text).encode()
        else:
            data = section.text.encode()
            data = data.replace(b"\n", b"\r\n") if "crlf" in options else data
        moment = options.get("mtime", "-60")
        if moment[0] in "+-":
            stamp = time.time() + seconds(moment)  # files have the time of the kernel, whatever the agent is told
        else:
            stamp = parse_moment(moment)
        stamp = int(stamp) * 10**9 + 123456000
        if moment[0] == "-" and stamp > time.time_ns():  # the second has just begun
            stamp -= 10**9
        temporary = self.directory / ".making"
        temporary.write_bytes(data)
        temporary.chmod(int(options.get("mode", "640"), 8))
        os.utime(temporary, ns=(stamp, stamp))
        path.parent.mkdir(parents=True, exist_ok=True)
        if section.name == "message":
            self.messages[os.stat(temporary).st_ino] = (section.args[0], data, stamp)
        os.rename(temporary, path)

    # The agent

    def command(self, *arguments):
        return [binary(), *arguments]

    def start(self):
        if self.process is not None:
            raise Failure("the agent runs already")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command("run", "--config", str(self.directory / "outtray.yaml")), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=environment(self.clock), cwd=self.directory)

    def once(self, expected):
        with open(self.log_path, "ab") as log:
            code = subprocess.run(
                self.command("run", "--once", "--config", str(self.directory / "outtray.yaml")), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment(self.clock), cwd=self.directory, timeout=2 * PATIENCE).returncode
        self.expect_code("run --once", code, expected)

    def expect_code(self, what, code, expected):
        if code != int(expected):
            raise Failure(f"{what} ended with {code}, not {expected}")

    def ended(self, expected, what="the agent"):
        try:
            code = self.process.wait(3 * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{what} did not end") from None
        self.process = None
        self.expect_code(what, code, expected)

    def verb(self, expected, arguments):
        done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, cwd=self.directory,
                              env=environment(self.clock, OUTTRAY_CONFIG=self.directory / "outtray.yaml"),
                              timeout=3 * PATIENCE)
        self.output = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
        self.expect_code(f"outtray {' '.join(arguments)} ({self.output.strip()})", done.returncode, expected)
        if sanitizer_report(self.output):
            raise Failure(self.output)

    def log_text(self):
        try:
            return self.log_path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return ""

    def log(self):
        text = self.log_text()
        lines = text[:text.rfind("\n") + 1].splitlines()
        return [pairs for pairs in map(parse_log_line, lines) if pairs and "event" in pairs]

    # Steps

    def path(self, text):
        if "\\" in text:
            text = os.fsdecode(text.encode().decode("unicode_escape").encode("latin-1"))
        return self.directory / text[1:] if text.startswith("@") else self.spool / text

    def step(self, line):
        words = shlex.split(line)
        word, rest = words[0], words[1:]
        if word == "once":
            self.once(rest[1])
        elif word == "start":
            self.start()
        elif word == "stop":
            self.process.send_signal(signal.SIGTERM)
            self.ended(rest[1] if rest else 0)
        elif word in ("kill", "hup", "term"):
            self.process.send_signal({"kill": signal.SIGKILL, "hup": signal.SIGHUP, "term": signal.SIGTERM}[word])
            if word == "kill":
                self.process.wait()
                self.process = None
        elif word == "clock":
            self.clock.advance(seconds(rest[0]))
        elif word == "await":
            if rest[0] == "end":
                self.ended(rest[1])
            else:
                self.wait(rest)
        elif word == "advance":
            self.wait(rest[2:], advance=seconds(rest[0]))
        elif word == "server":
            server = self.servers[int(rest[1]) if len(rest) > 1 else 1]
            server.pause() if rest[0] == "stop" else server.resume()
        elif word == "run":
            self.verb(rest[0], [self.fill(a) for a in rest[1:]])
        elif word == "out":
            if not glob(f"*{line[4:]}*", self.output):
                raise Failure(f"the output lacks {line[4:]!r}:\n{self.output}")
        elif word == "release":
            for server in self.servers.values():
                server.release()
        elif word == "next":
            away = os.stat(self.path(rest[0])).st_mtime - time.time() - self.clock.offset
            if abs(away - seconds(rest[1])) > (seconds(rest[2]) if len(rest) > 2 else 3):
                raise Failure(f"{rest[0]} is due in {away:.1f} s, not in {rest[1]}")
        else:
            self.file_step(word, rest)

    def file_step(self, word, rest):
        if word == "put":
            self.place(next(s for s in self.case.sections if s.name in ("message", "file") and s.args[0] == rest[0]))
        elif word == "fill":
            for number in range(1, int(rest[1]) + 1):
                text = f"To: r{number}@example.net\nSubject: {number}\n\nmessage {number}\n"
                self.place(Section("message", [f"{rest[0]}/{number:04}"], text, 0))
        elif word == "mv":
            os.rename(self.path(rest[0]), self.path(rest[1]))
        elif word == "link":
            os.link(self.path(rest[0]), self.path(rest[1]))
        elif word == "symlink":
            os.symlink(self.fill(rest[0]), self.path(rest[1]))
        elif word == "touch":
            now = time.time() + self.clock.offset
            with open(self.path(rest[0]), "rb") as file:  # the agent may take it the moment it is touched
                os.utime(file.fileno(), (now, now))
                touched = os.fstat(file.fileno())
            if touched.st_ino in self.messages:
                self.touched.add(touched.st_ino)
                self.messages[touched.st_ino] = self.messages[touched.st_ino][:2] + (touched.st_mtime_ns,)
        elif word == "rm":
            path = self.path(rest[0])
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif word == "mkdir":
            self.path(rest[0]).mkdir()
        elif word == "mkfifo":
            os.mkfifo(self.path(rest[0]))
        elif word == "mksocket":
            short = self.directory / "s"  # a socket's own path must be short
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(short))
            os.rename(short, self.path(rest[0]))
        elif word == "chmod":
            os.chmod(self.path(rest[1]), int(rest[0], 8))
        elif word == "sparse":
            with open(self.path(rest[0]), "wb") as out:
                out.truncate(int(rest[1]))
            os.utime(self.path(rest[0]), (time.time() - 60,) * 2)
        elif word == "append":
            with open(self.path(rest[0]), "ab") as out:
                out.write(unescape(rest[1]))
        elif word == "write":
            self.handles[rest[0]].write(unescape(rest[1]))
            self.handles[rest[0]].flush()
        elif word == "truncate":
            os.truncate(self.path(rest[0]), int(rest[1]))
        elif word == "open":
            self.handles[rest[0]] = open(self.path(rest[0]), "ab")
        elif word == "close":
            self.handles.pop(rest[0]).close()
        else:
            raise ValueError(f"no step is called {word}")

    def wait(self, words, advance=0):
        def condition():
            if self.holds(words):
                return True
            if self.process is not None and self.process.poll() is not None:
                raise Failure(f"the agent ended by itself with {self.process.returncode}")
            if advance:
                self.clock.advance(advance)
            return False
        wait_until(condition, PATIENCE, lambda: f"await {' '.join(words)}", interval=0.1 if advance else 0.01)

    def holds(self, words):
        kind, rest = words[0], words[1:]
        if kind == "exists":
            return all(os.path.lexists(self.path(p)) for p in rest)
        if kind == "gone":
            return not any(os.path.lexists(self.path(p)) for p in rest)
        if kind == "log":
            count = int(rest[0][:-1]) if re.fullmatch(r"\d+x", rest[0]) else None
            pairs = [word.split("=", 1) for word in (rest if count is None else rest[1:])]
            return self.matching(pairs) >= (count or 1)
        if kind == "seen":
            server = self.servers[int(rest[3]) if "server" in rest else 1]
            return server.seen(rest[0]) >= (int(rest[1]) if len(rest) > 1 and rest[1].isdigit() else 1)
        if kind == "accepted":
            return sum(len(s.accepted) for s in self.servers.values()) >= int(rest[0])
        if kind == "json":
            try:
                value = json.loads((self.directory / "state/status.json").read_text())
                for key in rest[0].split("."):
                    value = value[key]
            except (OSError, ValueError, KeyError):
                return False
            return glob(rest[1], str(value))
        raise ValueError(f"no condition is called {kind}")

    def matching(self, pairs):
        def fits(line, key, pattern):
            values = line.values() if key == "any" else [line[key]] if key in line else []
            return any(glob(pattern, value) for value in values)
        return sum(all(fits(line, key, pattern) for key, pattern in pairs) for line in self.log())

    # All of it

    def run(self):
        problems = []
        self.open()
        try:
            self.prepare()
            try:
                for line in self.case.lines("steps") or ["once -> 0"]:
                    self.step(line)
                if self.process is not None:
                    self.step("stop -> 0")
            except (Failure, Timeout, subprocess.TimeoutExpired, OSError) as error:
                problems.append(f"step `{line}`: {error}")
            problems += self.compare()
        finally:
            self.clean(keep=bool(problems) and "OUTTRAY_TEST_KEEP" in os.environ)
        if problems:
            raise Failure(self.report(problems))

    def clean(self, keep):
        self.last_log = self.log_text()[-6000:]
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for handle in self.handles.values():
            handle.close()
        for server in self.servers.values():
            server.stop()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def report(self, problems):
        wire = "".join(f"-- server {n} connection {c.number}\n" + "".join(f"   {line[:200]}\n" for line in c.commands[:60])
                       for n, s in self.servers.items() for c in s.connections[:8])
        return (f"{self.case.path.name}: {self.case.about}\n\n" + "\n".join(f"* {p}" for p in problems)
                + f"\n\nThe wire:\n{wire}\nThe log:\n{self.last_log}")

