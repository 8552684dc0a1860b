"""What every benchmark is built from: a place for the spool, the sink, the delay proxy, a filled spool, a measured program.

Times are read from CLOCK_MONOTONIC everywhere, in the C programs as in here, so that they can be compared.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.debs import Unavailable, unpack  # noqa: E402

__all__ = ["Failed", "Unavailable", "unpack"]
FILL_SECONDS = 600
RUN_SECONDS = 900
# mkfs would give so small a file system 16 MiB, which is full after a second; renames then wait for checkpoints, as
# they never do on a disk of the usual size.
JOURNAL_MIB = 256
FILE_EXTRA = 8192  # octets that a file takes beside its content, at most: an inode, a name, the end of a block


class Failed(Exception):
    """The benchmark cannot be run, with the reason."""


@dataclasses.dataclass
class Settings:
    """One measurement."""
    messages: int = 20000
    size: int = 4096
    connections: int = 16
    window: int = 8
    tenants: int = 1
    chunking: bool = True
    pipelining: bool = True
    tls: bool = False
    auth: bool = False
    one_way_ms: int = 0  # 0: no proxy
    remount: bool = False  # between filling and delivering, so that nothing of the spool is in memory
    files_each: int = 1  # files of a message, for the size of the file system
    directory: pathlib.Path | None = None
    image: pathlib.Path | None = None
    build: pathlib.Path = ROOT / "build"


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **options)


class Place:
    """Where a spool lies."""

    def __init__(self, path, words, device=None):
        self.path, self.words, self.device = path, words, device

    def remount(self):
        """Forgets what the kernel has in memory of it. False where it is no file system of its own."""
        if not self.device:
            return False
        run("umount", self.path)
        run("mount", "-t", "ext4", self.device, self.path)
        return True


@contextlib.contextmanager
def loop_file_system(directory, octets, inodes, place=None):
    """(mount point, device): a fresh ext4 with a journal from its own image and its own loop device."""
    mount = directory / "mnt"
    mount.mkdir()
    handle, name = tempfile.mkstemp(prefix="outtray-bench.", dir=place or directory)
    os.truncate(handle, octets)
    os.close(handle)
    image = pathlib.Path(name)
    device = None
    try:
        run("mkfs.ext4", "-q", "-F", "-J", f"size={JOURNAL_MIB}", "-N", str(inodes), "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        device = run("losetup", "--find", "--show", image).stdout.strip()
        run("mount", "-t", "ext4", device, mount)
    except (OSError, subprocess.CalledProcessError) as error:
        if device:
            run("losetup", "-d", device)
        image.unlink()
        mount.rmdir()
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        raise Failed(f"no loop device: {reason}") from error
    try:
        yield mount, device
    finally:
        run("umount", "--lazy", mount)  # after a signal what was measured may still be ending
        run("losetup", "-d", device)  # at once, or when that has ended
        image.unlink()


@contextlib.contextmanager
def place_for(settings, directory):
    """A Place for the settings' spool: a file system of its own where root allows that, else a directory."""
    if settings.directory:
        path = pathlib.Path(tempfile.mkdtemp(prefix="outtray-bench.", dir=settings.directory))
        try:
            yield Place(path, f"in {settings.directory}")
        finally:
            shutil.rmtree(path)
        return
    files = settings.messages * settings.files_each
    # A second set of inodes: the disk's ceiling is measured with files of its own.
    octets = files * (settings.size // settings.files_each + FILE_EXTRA) + (1 << 30)
    with contextlib.ExitStack() as stack:
        try:
            if os.geteuid() != 0:
                raise Failed("no loop device: not root")
            free = shutil.disk_usage(settings.image or directory).free
            if octets > free - (1 << 30):
                raise Failed(f"the spool needs {octets >> 20} MiB, of which {free >> 20} are free")
            mount, device = stack.enter_context(
                loop_file_system(directory, octets >> 20 << 20, 2 * files + 20000 + 10 * settings.tenants, settings.image))
            words = f"on a journalled ext4 of its own (loop device{f' in {settings.image}' if settings.image else ''})"
            yield Place(mount, words, device)
        except Failed as reason:
            if "loop device" not in str(reason):
                raise
            plain = directory / "plain"
            plain.mkdir()
            yield Place(plain, f"in {directory} ({reason})")


class Listener:
    """A program of the bench that says "listening PORT", serves, and leaves its statistics as JSON."""

    def __init__(self, command, statistics):
        self.file = statistics
        self.process = subprocess.Popen([str(part) for part in (*command, "--statistics", statistics)], stdout=subprocess.PIPE,
                                        text=True)
        words = self.process.stdout.readline().split()
        if len(words) != 2:
            self.__exit__()
            raise Failed(f"{command[0]} did not start")
        self.port = int(words[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return json.loads(self.file.read_text(encoding="ascii"))

    def look(self):
        """The statistics so far."""
        self.file.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(1000):
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                return json.loads(self.file.read_text(encoding="ascii"))
            time.sleep(0.005)
        raise Failed("no statistics")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Sink(Listener):
    """The receiver, for one run. `port` is what clients connect to: the proxy's where there is a delay."""

    def __init__(self, settings, directory, tls=None, duplicates=True, stamps=None, implicit=False, plain=False):
        command = [settings.build / "bench/sink"]
        command += [] if settings.chunking else ["--no-chunking"]
        command += [] if settings.pipelining else ["--no-pipelining"]
        command += ["--duplicates"] if duplicates else []
        command += ["--auth"] if settings.auth else []
        command += ["--stamps", stamps] if stamps else []
        command += ["--tls", *tls] if tls else []
        command += ["--implicit-tls"] if implicit else []
        super().__init__(command, directory / "sink.json")
        self.proxy = None
        if settings.one_way_ms and not plain:
            self.proxy = Listener([settings.build / "bench/delay", "--to", self.port, "--one-way", settings.one_way_ms],
                                  directory / "delay.json")
            self.port = self.proxy.port

    def stop(self):
        delay = self.proxy.stop() if self.proxy else None
        result = super().stop()
        if delay:
            result["delay"] = delay
        return result

    def __exit__(self, *_):
        if self.proxy:
            self.proxy.__exit__()
        super().__exit__()


def make_spool(settings, place):
    """The directories that fill needs; `outtray init` makes the others."""
    (place.path / "state").mkdir(mode=0o700)
    for number in range(settings.tenants):
        for state in ("tmp", "new"):
            (place.path / "spool" / f"tenant{number}" / state).mkdir(parents=True)


def fill(settings, place, state="new", last=0):
    out = run(settings.build / "bench/fill", place.path / "spool", settings.tenants, settings.messages, settings.size, state,
              last, timeout=FILL_SECONDS)
    return json.loads(out.stdout)


def write_config(path, place, settings, port, authority=None, extra=()):
    tls = f", tls: {{ca_file: {authority}}}" if authority else ""
    auth = f"basic, username: bench, password_file: {path.parent / 'password'}" if settings.auth else "none"
    if settings.auth:
        (path.parent / "password").touch(mode=0o600)
        (path.parent / "password").write_text("secret\n", encoding="ascii")
    lines = [
        "version: 1", f"spool: {place.path}/spool", f"state: {place.path}/state", "domain: bench.example.com", "accounts:",
        f"  sink: {{auth: {auth}, email: bench@example.com, server: {'localhost' if authority else '127.0.0.1'}, "
        f"port: {port}, encryption: {'starttls' if authority else 'none'}{tls},",
        f"    limits: {{connections: {settings.connections}, window: {settings.window}, "
        "messages_per_connection: 1000000}}",
        "tenants:"]
    lines += [f"  tenant{number}: {{account: sink, from: bench@example.com}}" for number in range(settings.tenants)]
    lines += [*extra, f"log: {{file: {place.path}/log}}", "metrics: {textfile: false}"]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def measured(settings, directory, *command, environment=None, input=None):
    """Runs command through bench/measure; returns what it told."""
    file = directory / "measure.json"
    with open(directory / "output", "w", encoding="utf-8") as output:
        begin = time.monotonic_ns()
        subprocess.run([str(part) for part in (settings.build / "bench/measure", file, *command)], stdout=output,
                       stderr=subprocess.STDOUT, env=environment, timeout=RUN_SECONDS, check=False,
                       stdin=input or subprocess.DEVNULL)
    result = json.loads(file.read_text(encoding="ascii"))
    result["begin_ns"] = begin
    result["output"] = (directory / "output").read_text(encoding="utf-8", errors="replace")
    return result


def row(name, settings, cost, sink, expected=None):
    """One line of a table: what was delivered, how fast, and at what cost."""
    messages = sink["messages"]
    cpu = cost["user_s"] + cost["system_s"]
    # What was in flight at first came without being waited for: over a distance it would make the rate look better.
    flight = settings.connections * settings.window if settings.one_way_ms else 1
    return {
        "name": name, "exit": cost["exit"], "messages": messages, "duplicates": sink["duplicates"],
        "bytes": sink["bytes"], "seconds": cost["wall_s"],
        "messages_per_s": messages / cost["wall_s"] if cost["wall_s"] else 0,
        # Without start and end: from the first accepted message to the last.
        "messages_per_s_steady": (messages - flight) / sink["seconds"] if sink["seconds"] > 0 else 0,
        "bytes_per_s": sink["bytes"] / cost["wall_s"] if cost["wall_s"] else 0,
        "first_s": (sink["first_ns"] - cost["begin_ns"]) / 1e9 if messages else None,
        "cpu_ms": cpu / messages * 1000 if messages else 0, "rss_peak_kib": cost["rss_peak_kib"],
        "connections": sink["connections"], "connections_most": sink["connections_most"], "delay": sink.get("delay"),
        "complete": messages == (settings.messages if expected is None else expected) and sink["duplicates"] == 0}


def certificate(directory):
    """(certificate, key) for localhost; the certificate is its own authority."""
    files = directory / "localhost.pem", directory / "localhost.key"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", files[1], "-out", files[0])
    return files


def measure_ceiling(settings, place, most=50000):
    """What the disk can make durable in groups as large as all that may be in flight: the ceiling."""
    batch = settings.connections * settings.window
    out = run(settings.build / "bench/commit", place.path, max(min(settings.messages, most) // batch, 20) * batch, batch)
    return json.loads(out.stdout)


def count_sent(settings, place):
    return sum(sum(1 for _ in os.scandir(place.path / "spool" / f"tenant{number}" / "sent"))
               for number in range(settings.tenants))


def outtray_once(settings, directory, place, name="outtray run --once", strace=False, state="new", due=0, filled=lambda: None):
    """Fills the place's spool and has the agent deliver it. With state deferred, `due` of the messages are due. `filled` is called between
    the two."""
    config = directory / "outtray.yaml"
    make_spool(settings, place)
    tls = certificate(directory) if settings.tls else None
    with Sink(settings, directory, tls) as sink:
        write_config(config, place, settings, sink.port, tls and tls[0])
        run(settings.build / "outtray", "init", "--config", config)
        fill_cost = fill(settings, place, state, due)
        filled()
        if settings.remount:
            place.remount()
        traced = ["strace", "-f", "-c", "-o", directory / "strace"] if strace else []
        cost = measured(settings, directory, *traced, settings.build / "outtray", "run", "--once", "--config", config)
        expected = due if state == "deferred" else settings.messages
        result = row(name, settings, cost, sink.stop(), expected)
    result["fill_s"] = fill_cost["seconds"]
    sent = count_sent(settings, place)
    if strace:
        print((directory / "strace").read_text(encoding="ascii"))
    if cost["exit"] != 0 or sent != expected:
        log = place.path / "log"
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if log.exists() else []
        print(f"outtray run --once: exit {cost['exit']}, {sent} of {expected} in sent/", cost["output"][-2000:], *tail,
              sep="\n", file=sys.stderr)
        result["complete"] = False
    return result


def smtp_source(settings, directory):
    """Postfix's load generator into a sink of its own: a program without queue and disk."""
    found, environment = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin"), None
    if not found:
        root = unpack("postfix")
        found, environment = root / "usr/sbin/smtp-source", dict(os.environ, LD_LIBRARY_PATH=str(root / "usr/lib/postfix"))
    # Its messages have no Message-ID of their own to tell them apart by.
    with Sink(settings, directory, duplicates=False) as sink:
        cost = measured(settings, directory, found, "-d", "-s", settings.connections, "-m", settings.messages, "-l",
                        settings.size, "-f", "bench@example.com", "-t", "sink@example.net", f"127.0.0.1:{sink.port}",
                        environment=environment)
        if cost["exit"] != 0:
            raise Failed(f"smtp-source: {cost['output'][-500:]}")
        return row(f"smtp-source -d -s {settings.connections}", settings, cost, sink.stop())


def machine():
    """What the figures were taken on."""
    cpu = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
                if line.startswith("model name")), "unknown")
    memory = next(int(line.split()[1]) for line in pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
                  if line.startswith("MemTotal"))
    uname = os.uname()
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_mib": memory // 1024, "system": f"{uname.sysname} {uname.release}",
            "commit": commit.stdout.strip() or "unknown", "load": os.getloadavg(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


@contextlib.contextmanager
def temporary():
    with tempfile.TemporaryDirectory(prefix="outtray-bench.") as name:
        yield pathlib.Path(name)
