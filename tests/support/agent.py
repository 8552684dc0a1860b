"""Starts, stops and questions the agent.

The binary is $OUTTRAY, or build-asan/outtray: sanitizers on, clock settable. Everything lives in the directory of the
Config. Use it as

    with Agent(config) as agent:
        name = agent.spool.drop("acme", message)
        agent.spool.wait("acme", name, "sent")
        assert agent.events("sent")[0]["nrcpt"] == "1"

Leaving the block stops the agent with SIGTERM and fails the test where it did not exit 0 or a sanitizer complained.
"""

import json
import os
import pathlib
import signal
import subprocess

from . import logfmt
from .clock import Clock
from .config import Config
from .spool import Spool
from .wait import Timeout, wait_until

__all__ = ["Agent", "Clock", "Config", "Spool", "Timeout", "binary", "outtray", "sanitizer_report", "wait_until"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
STOP_SECONDS = 60


def binary():
    """The program under test, as an absolute path."""
    return str(pathlib.Path(ROOT, os.environ.get("OUTTRAY", "build-asan/outtray")).resolve())


def environment(clock=None, **more):
    # Not items(): pytest takes a variable of its own away at the end of each test, while another thread may be here.
    found = ((key, os.environ.get(key)) for key in list(os.environ))
    env = {key: value for key, value in found if value is not None
           and not key.startswith("OUTTRAY") and key not in ("NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY")}
    env.setdefault("ASAN_OPTIONS", "exitcode=99:detect_stack_use_after_return=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:exitcode=99")
    # Local replies are wanted as they are: no proxy between the agent and the test's server.
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        env.pop(name, None)
    if clock is not None:
        env.update(clock.environment)
    env.update({key: str(value) for key, value in more.items()})
    return env


def sanitizer_report(text):
    """The part of a program's output that a sanitizer wrote, or ""."""
    for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "ERROR: ThreadSanitizer", "runtime error:"):
        at = text.find(mark)
        if at >= 0:
            return text[max(0, text.rfind("\n", 0, at)):at + 8000]
    return ""


def outtray(*arguments, config=None, input=None, clock=None, env=None, timeout=60, check=False, argv0=None, cwd=None):
    """Runs one verb to its end and returns the CompletedProcess (bytes in, text out). config goes in as --config."""
    arguments = [str(argument) for argument in arguments]
    if config is not None:
        arguments[1:1] = ["--config", str(getattr(config, "path", config))]
    if isinstance(input, str):
        input = input.encode()
    done = subprocess.run([argv0 or binary(), *arguments], executable=binary(), timeout=timeout, cwd=cwd,
                          env=environment(clock, **(env or {})), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}))
    done.stdout = done.stdout.decode("utf-8", "backslashreplace")
    done.stderr = done.stderr.decode("utf-8", "backslashreplace")
    report = sanitizer_report(done.stderr)
    assert not report, report
    if check:
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Agent:
    def __init__(self, config, clock=None, env=None, init=True):
        """config is a Config; it is written and the tree made with `outtray init` when the agent starts first."""
        self.config = config
        self.spool = Spool(config.spool)
        self.clock = clock if clock is not None else Clock(config.directory / "clock")
        self.env = dict(env or {})
        self.init = init
        self.process = None
        self.output = config.directory / "agent.log"

    # Life

    def prepare(self):
        """Writes the configuration and makes the spool; start() and once() do it by themselves."""
        self.config.write()
        if self.init:
            self.verb("init", check=True)
            self.init = False

    def start(self, *options):
        assert self.process is None, "the agent runs already"
        self.prepare()
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(
                [binary(), "run", "--config", str(self.config.path), *map(str, options)], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, env=environment(self.clock, **self.env), cwd=self.config.directory)
        return self

    def stop(self, seconds=STOP_SECONDS):
        """SIGTERM, then the exit code. A process that does not end in time is killed, and that is a failure."""
        process, self.process = self.process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Timeout(f"the agent did not stop within {seconds} s of SIGTERM\n{self.log_text()[-4000:]}") from None
        report = sanitizer_report(self.log_text())
        assert not report, report
        return code

    def kill(self):
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def once(self, timeout=120, check=True):
        """`run --once`; its output is appended to the log. Returns the exit code."""
        self.prepare()
        done = outtray("run", "--once", config=self.config, clock=self.clock, env=self.env, timeout=timeout)
        with open(self.output, "a", encoding="utf-8") as out:
            out.write(done.stdout + done.stderr)
        if check:
            assert done.returncode in (0, 1), f"run --once: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.returncode

    def verb(self, *arguments, **options):
        """Another verb with this agent's config and clock: agent.verb("queue", "--json")."""
        return outtray(*arguments, config=self.config, clock=self.clock, env=self.env, **options)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        code = self.stop()
        if kind is None and code is not None:
            assert code == 0, f"the agent ended with {code}\n{self.log_text()[-4000:]}"

    # What it says

    def log_text(self):
        texts = []
        named = self.config.data.get("log", {}).get("file")
        for path in filter(None, (self.output, named)):
            try:
                texts.append(pathlib.Path(path).read_text(encoding="utf-8", errors="backslashreplace"))
            except FileNotFoundError:
                pass
        return "".join(texts)

    def log(self):
        """Every log line so far as a dict, logfmt or JSON. An unfinished last line is left for the next call."""
        text = self.log_text()
        lines = []
        for line in text[:text.rfind("\n") + 1].splitlines():
            if line.startswith("{"):
                lines.append(json.loads(line))
            else:
                pairs = logfmt.parse(line)
                if pairs and "event" in pairs:
                    lines.append(pairs)
        return lines

    def events(self, event=None, **keys):
        """Log lines with that event (any, where None) and these keys."""
        return [line for line in self.log() if (event is None or line.get("event") == event)
                and all(str(line.get(key)) == str(value) for key, value in keys.items())]

    def wait_event(self, event, seconds=10.0, count=1, **keys):
        """Waits for `count` such lines and returns them."""
        def enough():
            found = self.events(event, **keys)
            if len(found) >= count:
                return found
            assert self.running() or self.process is None, f"the agent ended early\n{self.log_text()[-4000:]}"
            return None
        return wait_until(enough, seconds, lambda: f"{count} × event={event} {keys}\n{self.log_text()[-4000:]}")

    def status(self):
        """STATE/status.json as a dict, or None while there is none."""
        try:
            return json.loads((self.config.state / "status.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def wait_ready(self, seconds=20.0):
        """Waits until this very process has written its status.json."""
        def ready():
            assert self.running(), f"the agent ended early\n{self.log_text()[-4000:]}"
            status = self.status()
            return status is not None and status.get("pid") == self.process.pid
        wait_until(ready, seconds, lambda: f"status.json of pid {self.process.pid}\n{self.log_text()[-2000:]}")
        return self

    def metrics(self):
        """STATE/metrics.prom as {series with labels: number}."""
        series = {}
        for line in (self.config.state / "metrics.prom").read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series
