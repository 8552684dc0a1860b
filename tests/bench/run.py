#!/usr/bin/python3
"""How fast a filled spool is delivered: messages/s, CPU, memory, connections; beside Postfix's smtp-source.

    make bench                                     20,000 messages of 4 kB
    /usr/bin/python3 tests/bench/run.py --help

The spool lies on a journalled ext4 of its own on a loop device where root allows that, else in the temporary directory.
Both programs deliver to the same sink (tests/bench/sink.c), the agent with every move durable, smtp-source from memory.
Exit code 1 where a message was lost or came twice, or, with --check, where the targets are missed.
"""

import argparse
import contextlib
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

TARGET_RATIO = 1.0  # of smtp-source,
TARGET_CEILING = 0.8  # or of the disk's ceiling, whichever is lower
TARGET_CPU = 0.06  # ms a message
TARGET_RSS_KIB = 24 * 1024
FILL_SECONDS = 300
RUN_SECONDS = 900


class Failed(Exception):
    """The benchmark cannot be run, with the reason."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--size", type=int, default=4096, help="octets of a message (default: 4096)")
    parser.add_argument("--connections", type=int, default=16, help="sessions, of both programs (default: 16)")
    parser.add_argument("--window", type=int, default=8, help="messages in flight on a connection (default: 8)")
    parser.add_argument("--tenants", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="repeat and print each (default: 1)")
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path, help="where the programs are built")
    parser.add_argument("--no-chunking", action="store_true", help="the sink does not offer CHUNKING")
    parser.add_argument("--no-pipelining", action="store_true", help="nor PIPELINING")
    parser.add_argument("--no-smtp-source", action="store_true", help="without the comparison")
    parser.add_argument("--tls", action="store_true", help="the agent uses STARTTLS (smtp-source does not)")
    parser.add_argument("--directory", type=pathlib.Path, help="spool here instead of on a loop device")
    parser.add_argument("--image", type=pathlib.Path, metavar="DIRECTORY",
                        help="the loop device's file lies here: on a tmpfs the disk costs nothing but CPU")
    parser.add_argument("--json", type=pathlib.Path, help="write the results here as well")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--strace", action="store_true", help="count the agent's system calls (slows it down)")
    return parser.parse_args()


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **options)


@contextlib.contextmanager
def loop_file_system(directory, octets, place=None):
    """A fresh ext4 with a journal, mounted on directory/mnt from its own image and its own loop device."""
    mount = directory / "mnt"
    mount.mkdir()
    handle, name = tempfile.mkstemp(prefix="outtray-bench.", dir=place or directory)
    os.truncate(handle, octets)
    os.close(handle)
    image = pathlib.Path(name)
    device = None
    try:
        run("mkfs.ext4", "-q", "-F", "-i", "8192", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        device = run("losetup", "--find", "--show", image).stdout.strip()
        run("mount", "-t", "ext4", device, mount)
    except (OSError, subprocess.CalledProcessError) as error:
        if device:
            run("losetup", "-d", device)
        image.unlink()
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        raise Failed(f"no loop device: {reason}") from error
    try:
        yield mount
    finally:
        run("umount", mount)
        run("losetup", "-d", device)
        image.unlink()


@contextlib.contextmanager
def spool_place(options, directory):
    """(directory, words) to put the spool in."""
    if options.directory:
        place = pathlib.Path(tempfile.mkdtemp(prefix="outtray-bench.", dir=options.directory))
        try:
            yield place, f"in {options.directory}"
        finally:
            shutil.rmtree(place)
        return
    octets = (options.messages * (options.size + 8192) + (512 << 20)) // (1 << 20) << 20
    try:
        if os.geteuid() != 0:
            raise Failed("no loop device: not root")
        with contextlib.ExitStack() as stack:
            mount = stack.enter_context(loop_file_system(directory, octets, options.image))
            yield mount, f"on a journalled ext4 of its own (loop device{f' in {options.image}' if options.image else ''})"
    except Failed as reason:
        plain = directory / "plain"
        plain.mkdir()
        yield plain, f"in {directory} ({reason})"


class Sink:
    """The receiver, for one run."""

    def __init__(self, options, directory, tls=None, duplicates=True):
        self.file = directory / "sink.json"
        command = [options.build / "bench/sink", "--statistics", self.file]
        command += ["--no-chunking"] if options.no_chunking else []
        command += ["--no-pipelining"] if options.no_pipelining else []
        command += ["--duplicates"] if duplicates else []
        command += ["--tls", *tls] if tls else []
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if len(words) != 2:
            raise Failed("the sink did not start")
        self.port = int(words[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.process.stdout.close()
        return json.loads(self.file.read_text(encoding="ascii"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def message(number, size):
    head = (f"From: bench <bench@example.com>\nTo: sink{number % 100}@example.net\nSubject: message {number}\n"
            f"Date: Mon, 23 Nov 2026 15:04:05 +0000\nMessage-ID: <bench.{number}@example.com>\n\n")
    line = "The quick brown fox jumps over the lazy dog, then rests a while.\n"
    body = line * ((size - len(head)) // len(line) + 1)
    return (head + body)[:size - 1] + "\n"


def fill(spool, options):
    """As a producer does it, but with one sync for all."""
    for number in range(options.messages):
        tenant = spool / f"tenant{number % options.tenants}"
        name = f"{1764000000 + number}.M{number}P1.bench"
        with open(tenant / "tmp" / name, "w", encoding="ascii") as file:
            file.write(message(number, options.size))
        os.rename(tenant / "tmp" / name, tenant / "new" / name)
    run("sync", "-f", spool, timeout=FILL_SECONDS)


def write_config(path, place, options, port, authority):
    tls = f", tls: {{ca_file: {authority}}}" if authority else ""
    lines = [
        "version: 1", f"spool: {place}/spool", f"state: {place}/state", "domain: bench.example.com", "accounts:",
        f"  sink: {{auth: none, email: bench@example.com, server: {'localhost' if authority else '127.0.0.1'}, "
        f"port: {port}, encryption: {'starttls' if authority else 'none'}{tls},",
        f"    limits: {{connections: {options.connections}, window: {options.window}, "
        "messages_per_connection: 1000000}}}",
        "tenants:"]
    lines += [f"  tenant{number}: {{account: sink, from: bench@example.com}}" for number in range(options.tenants)]
    lines += [f"log: {{file: {place}/log}}", "metrics: {textfile: false}"]
    path.write_text("\n".join(lines).replace("}}}", "}}") + "\n", encoding="ascii")


def measured(options, directory, *command, environment=None):
    """Runs command through bench/measure; returns what it told."""
    file = directory / "measure.json"
    with open(directory / "output", "w", encoding="utf-8") as output:
        subprocess.run([str(part) for part in (options.build / "bench/measure", file, *command)], stdout=output,
                       stderr=subprocess.STDOUT, env=environment, timeout=RUN_SECONDS, check=False)
    result = json.loads(file.read_text(encoding="ascii"))
    result["output"] = (directory / "output").read_text(encoding="utf-8", errors="replace")
    return result


def row(name, options, cost, sink):
    messages = sink["messages"]
    cpu = cost["user_s"] + cost["system_s"]
    return {
        "name": name, "exit": cost["exit"], "messages": messages, "duplicates": sink["duplicates"],
        "bytes": sink["bytes"], "seconds": cost["wall_s"],
        "messages_per_s": messages / cost["wall_s"] if cost["wall_s"] else 0,
        # Without start and end: from the first accepted message to the last.
        "messages_per_s_steady": (messages - 1) / sink["seconds"] if sink["seconds"] > 0 else 0,
        "cpu_s_per_1000": cpu / messages * 1000 if messages else 0, "rss_peak_kib": cost["rss_peak_kib"],
        "connections": sink["connections"], "connections_most": sink["connections_most"],
        "complete": messages == options.messages and sink["duplicates"] == 0}


def certificate(directory):
    """(certificate, key) for localhost; the certificate is its own authority."""
    files = directory / "localhost.pem", directory / "localhost.key"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", files[1], "-out", files[0])
    return files


def measure_ceiling(options, place):
    """What the disk can make durable in groups as large as all that may be in flight: the ceiling."""
    batch = options.connections * options.window
    out = run(options.build / "bench/commit", place, max(options.messages // batch, 20) * batch, batch)
    return json.loads(out.stdout)


def bench_outtray(options, directory):
    with spool_place(options, directory) as (place, words):
        spool, config = place / "spool", directory / "outtray.yaml"
        (place / "state").mkdir(mode=0o700)
        for number in range(options.tenants):
            for state in ("tmp", "new"):
                (spool / f"tenant{number}" / state).mkdir(parents=True)
        tls = certificate(directory) if options.tls else None
        with Sink(options, directory, tls) as sink:
            write_config(config, place, options, sink.port, tls and tls[0])
            run(options.build / "outtray", "init", "--config", config)
            fill(spool, options)
            strace = ["strace", "-f", "-c", "-o", directory / "strace"] if options.strace else []
            cost = measured(options, directory, *strace, options.build / "outtray", "run", "--once", "--config", config)
            result = row("outtray run --once", options, cost, sink.stop())
        sent = sum(len(list((spool / f"tenant{number}" / "sent").iterdir())) for number in range(options.tenants))
        if options.strace:
            print((directory / "strace").read_text(encoding="ascii"))
        if cost["exit"] != 0 or sent != options.messages:
            log = place / "log"
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if log.exists() else []
            print(f"outtray run --once: exit {cost['exit']}, {sent} of {options.messages} in sent/",
                  cost["output"][-2000:], *tail, sep="\n", file=sys.stderr)
            result["complete"] = False
        return result, measure_ceiling(options, place), words


def smtp_source():
    """The program and its environment: installed, or from the unpacked package."""
    found = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found:
        return found, None
    root = unpack("postfix")
    return root / "usr/sbin/smtp-source", dict(os.environ, LD_LIBRARY_PATH=str(root / "usr/lib/postfix"))


def bench_smtp_source(options, directory):
    program, environment = smtp_source()
    # Its messages have no Message-ID of their own to tell them apart by.
    with Sink(options, directory, duplicates=False) as sink:
        cost = measured(options, directory, program, "-d", "-s", options.connections, "-m", options.messages, "-l",
                        options.size, "-f", "bench@example.com", "-t", "sink@example.net", f"127.0.0.1:{sink.port}",
                        environment=environment)
        if cost["exit"] != 0:
            raise Failed(f"smtp-source: {cost['output'][-500:]}")
        return row(f"smtp-source -d -s {options.connections}", options, cost, sink.stop())


def show(results):
    print(f"{'':24} {'messages/s':>11} {'steady':>9} {'CPU s/1,000':>12} {'peak RSS':>11} {'connections':>12}")
    for result in results:
        print(f"{result['name']:24} {result['messages_per_s']:11,.0f} {result['messages_per_s_steady']:9,.0f} "
              f"{result['cpu_s_per_1000']:12.3f} {result['rss_peak_kib'] / 1024:7.1f} MiB {result['connections']:12}")


def judge(options, results, ceiling, words):
    """Prints what is to be said; False where something is missing."""
    ours, good = results[0], True
    print(f"spool {words}; {options.messages:,} messages of {options.size:,} octets; {ours['messages']:,} arrived, "
          f"{ours['duplicates']} twice")
    good = good and ours["complete"]
    met = ours["rss_peak_kib"] <= TARGET_RSS_KIB
    print(f"target: peak RSS up to {TARGET_RSS_KIB // 1024} MiB: {'met' if met else 'missed'}")
    good = good and (met or not options.check)
    met = ours["cpu_s_per_1000"] <= TARGET_CPU
    print(f"target: CPU up to {TARGET_CPU} ms a message: {ours['cpu_s_per_1000']:.3f}: {'met' if met else 'missed'}")
    good = good and (met or not options.check)
    print(f"disk: {ceiling['renames_per_s']:,} renames/s in groups of {ceiling['batch']}, two syncs each (median "
          f"{ceiling['sync_ms_median']:.2f} ms, 95th percentile {ceiling['sync_ms_p95']:.2f} ms)")
    bars = {f"{TARGET_CEILING} × the disk's ceiling": TARGET_CEILING * ceiling["renames_per_s"]}
    if len(results) > 1:
        bars[f"{TARGET_RATIO} × smtp-source"] = TARGET_RATIO * results[1]["messages_per_s"]
    name, bar = min(bars.items(), key=lambda item: item[1])
    met = ours["messages_per_s"] >= bar
    print(f"target: {name} = {bar:,.0f} messages/s: {ours['messages_per_s'] / bar:.2f} of it: "
          f"{'met' if met else 'missed'}")
    good = good and (met or not options.check)
    return good


def main():
    options = arguments()
    good, rounds = True, []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="outtray-bench.") as temporary:
            directory = pathlib.Path(temporary)
            ours, ceiling, words = bench_outtray(options, directory)
            results = [ours]
            if not options.no_smtp_source:
                try:
                    results.append(bench_smtp_source(options, directory))
                except Unavailable as reason:
                    print(f"without smtp-source: {reason}")
            show(results)
            good = judge(options, results, ceiling, words) and good
            rounds.append({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "spool": words,
                           "messages": options.messages, "size": options.size, "connections": options.connections,
                           "window": options.window, "results": results, "ceiling": ceiling})
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1) + "\n", encoding="ascii")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as problem:
        sys.exit(f"bench: {problem}")
