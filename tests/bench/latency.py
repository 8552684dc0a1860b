#!/usr/bin/python3
"""How long a message waits: from its rename into new/ to the first octet of its MAIL at the sink, on a warm session.

    /usr/bin/python3 tests/bench/latency.py                     an idle agent
    /usr/bin/python3 tests/bench/latency.py --backlog 100000    while another tenant of the same account has that many

trickle (tests/bench/trickle.c) submits one message at a time at random moments and notes CLOCK_MONOTONIC before and after
each rename; the sink notes it for the read that brought the first octet of MAIL. The two are matched by Message-ID. What
counts is the time from where the rename has returned: until then the file system has the message, and makes a producer
wait for other renames and for its journal. How long that was is told beside it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import rig
from rig import Failed, Settings

TARGET_P50_MS, TARGET_P99_MS = 1.0, 5.0
TARGET_BACKLOG = 2.0  # × the idle value, and one message in flight
WARM_UP = 20  # messages before those that count
EDGES_MS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 1000)


def stamps(path):
    """{Message-ID: [ns, …]}"""
    with open(path, encoding="ascii") as lines:
        return {name: [int(ns) for ns in times] for name, *times in (line.split() for line in lines)}


def quantile(sorted_values, share):
    return sorted_values[min(int(share * len(sorted_values)), len(sorted_values) - 1)]


def summary(values):
    """Milliseconds: quantiles, and a histogram as [upper edge, how many]."""
    values = sorted(values)
    counts, at = [], 0
    for edge in EDGES_MS:
        n = sum(1 for value in values[at:] if value <= edge)
        counts.append([edge, n])
        at += n
    return {"samples": len(values), "p50": quantile(values, 0.5), "p95": quantile(values, 0.95),
            "p99": quantile(values, 0.99), "max": values[-1], "histogram": counts, "sorted": [round(v, 4) for v in values]}


@contextlib.contextmanager
def agent(settings, directory, place, sink):
    """A running agent; ends with SIGTERM, and had better end well."""
    config = directory / "outtray.yaml"
    rig.write_config(config, place, settings, sink.port)
    rig.run(settings.build / "outtray", "init", "--config", config)
    with open(directory / "agent.log", "wb") as log:
        process = subprocess.Popen([settings.build / "outtray", "run", "--config", config], stdout=log, stderr=log)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        if process.wait(120) != 0:
            raise Failed(f"the agent ended with {process.returncode}: {(directory / 'agent.log').read_text()[-1000:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def measure(settings, samples=500, interval_us=10000, backlog=0):
    """{"idle or busy": summary}; settings.tenants is 2: tenant0 is the quiet one, tenant1 has the backlog."""
    settings = dataclasses.replace(settings, tenants=2, messages=max(2 * backlog, 5000))
    with rig.temporary() as directory, rig.place_for(settings, directory) as place:
        rig.make_spool(settings, place)
        with rig.Sink(settings, directory, stamps=directory / "stamps") as sink:
            if backlog:
                # The filler knows its tenants by their numbers: this is its only one.
                other = place.path / "other"
                other.mkdir()
                (other / "tenant0").symlink_to(place.path / "spool/tenant1")
                rig.run(settings.build / "bench/fill", other, 1, backlog, settings.size, "new", timeout=rig.FILL_SECONDS)
            begin = time.monotonic_ns()
            with agent(settings, directory, place, sink):
                if backlog:
                    wait_for(lambda: sink.look()["messages"] >= 1000, "the backlog's first messages")
                total = WARM_UP + samples
                rig.run(settings.build / "bench/trickle", place.path / "spool/tenant0", total, interval_us,
                        directory / "submitted", settings.size, timeout=600)
                left = sum(1 for _ in os.scandir(place.path / "spool/tenant1/new"))
                busy = sink.look()
                sent = place.path / "spool/tenant0/sent"
                wait_for(lambda: sum(1 for _ in os.scandir(sent)) == total, "the last message")
            sink.stop()
        submitted, seen = stamps(directory / "submitted"), stamps(directory / "stamps")
        if set(submitted) != set(seen):
            raise Failed(f"{len(submitted)} submitted, {len(seen)} seen")
        if backlog and not left:
            raise Failed("the backlog was gone before the last sample: take a larger one")
        waits = [(before, after, seen[name][0]) for name, (before, after) in submitted.items()][WARM_UP:]
        result = summary([max(mail - after, 0) / 1e6 for _, after, mail in waits])
        for key, values in (("rename", [after - before for before, after, _ in waits]), ("both", [mail - before for before, _, mail in waits])):
            result[key] = {name: value for name, value in summary([ns / 1e6 for ns in values]).items() if name in ("p50", "p95", "p99", "max")}
        result.update(backlog=backlog, backlog_left=left, spool=place.words, load=os.getloadavg(), interval_us=interval_us,
                      connections=settings.connections, window=settings.window, size=settings.size)
        if backlog:
            rate = (busy["messages"] - 1) / ((busy["last_ns"] - busy["first_ns"]) / 1e9)
            result["rate"] = rate
            # What one message in flight takes, by Little's law.
            result["in_flight_ms"] = settings.connections * settings.window / rate * 1000
            result["first_s"] = (busy["first_ns"] - begin) / 1e9
        return result


def show(name, result):
    print(f"{name:44} p50 {result['p50']:7.3f}  p95 {result['p95']:7.3f}  p99 {result['p99']:7.3f}  max {result['max']:7.3f} ms "
          f"({result['samples']} samples; the rename before it p99 {result['rename']['p99']:.3f}, both together p99 {result['both']['p99']:.3f})")


def show_histogram(result):
    before = 0.0
    for edge, count in result["histogram"]:
        if count:
            print(f"{before:8g} … {edge:7g} ms {count:6} {'#' * (60 * count // result['samples'])}")
        before = edge


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--interval", type=int, default=10000, metavar="US", help="between submissions (default: 10000)")
    parser.add_argument("--backlog", type=int, default=0, help="messages of another tenant of the same account")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--image", type=pathlib.Path, metavar="DIRECTORY", help="where the loop device's file lies")
    parser.add_argument("--build", default=rig.ROOT / "build", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    settings = Settings(size=options.size, connections=options.connections, window=options.window, image=options.image,
                        build=options.build)
    idle = measure(settings, options.samples, options.interval)
    results = {"idle": idle}
    show("idle", idle)
    show_histogram(idle)
    print(f"target: p50 up to {TARGET_P50_MS} ms: {'met' if idle['p50'] <= TARGET_P50_MS else 'missed'}; "
          f"p99 up to {TARGET_P99_MS} ms: {'met' if idle['p99'] <= TARGET_P99_MS else 'missed'}")
    if options.backlog:
        busy = results["busy"] = measure(settings, options.samples, options.interval, options.backlog)
        show(f"beside {options.backlog:,} messages of another tenant", busy)
        show_histogram(busy)
        bar = TARGET_BACKLOG * idle["p99"] + busy["in_flight_ms"]
        print(f"the backlog went at {busy['rate']:,.0f} messages/s, {busy['backlog_left']:,} were left at the end")
        print(f"target: p99 up to {TARGET_BACKLOG:g} × {idle['p99']:.3f} + {busy['in_flight_ms']:.3f} (one message in flight) = "
              f"{bar:.3f} ms: {'met' if busy['p99'] <= bar else 'missed'}")
    if options.json:
        options.json.write_text(json.dumps(results) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as problem:
        sys.exit(f"bench: {problem}")
