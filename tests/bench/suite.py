#!/usr/bin/python3
"""All benchmarks in one run: a table with the targets met and missed, and the results as JSON.

    make bench                  the short run, two to three minutes
    make bench BENCH=full       everything, also the peers and a million messages
    /usr/bin/python3 tests/bench/suite.py --parts latency,distance --rounds 3

Figures are medians of the rounds with min..max. Targets are ratios within one run, judged and printed; they never fail it.
Exit code 1 where a message was lost or came twice.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import latency
import rig
from peers import servers
from rig import Failed, Settings, Unavailable

HERE = pathlib.Path(__file__).resolve().parent
CPU_MS = 0.06  # a message, as the target has it
NEAR_WINDOW = 32  # where the server is near: a group of syncs is worth more messages than 8 on each connection
AROUND = 5  # short runs before a long one that they are compared with, and as many behind it
PARTS = ("local", "large", "distance", "latency", "peers", "scale")


@dataclasses.dataclass
class Report:
    options: argparse.Namespace
    results: dict = dataclasses.field(default_factory=dict)
    targets: list = dataclasses.field(default_factory=list)
    complete: bool = True

    def target(self, what, reached, wanted, at_most=False):
        met = reached <= wanted if at_most else reached >= wanted
        self.targets.append({"what": what, "reached": reached, "wanted": wanted, "at_most": at_most, "met": met})

    def note(self, row):
        if not row.get("complete", True):
            self.complete = False
            print(f"INCOMPLETE: {row['name']}: {row['messages']} messages, {row.get('duplicates')} twice")


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def of(rounds, key, row=0):
    return spread([one[row][key] for one in rounds])


def text(value, digits=0):
    return f"{value['median']:,.{digits}f} ({value['min']:,.{digits}f}..{value['max']:,.{digits}f})"


def line(name, rounds, row=0):
    rss = max(one[row]["rss_peak_kib"] for one in rounds) / 1024
    print(f"  {name:46} {text(of(rounds, 'messages_per_s', row)):>28} msg/s  {of(rounds, 'cpu_ms', row)['median']:6.3f} ms CPU  "
          f"{rss:6.1f} MiB  {rounds[0][row]['connections']} connections")


def one_run(report, settings, ceiling=False, source=False):
    """[ours, smtp-source or None, ceiling or None]"""
    with rig.temporary() as directory, rig.place_for(settings, directory) as place:
        result = [rig.outtray_once(settings, directory, place), None, None]
        report.note(result[0])
        if ceiling:
            result[2] = rig.measure_ceiling(settings, place)
        if source:
            with contextlib.suppress(Unavailable):
                result[1] = rig.smtp_source(settings, directory)
        return result


def bar(run):
    """The lower of smtp-source's rate and 0.8 × the disk's ceiling, both of this run."""
    bars = [0.8 * run[2]["renames_per_s"]] + ([run[1]["messages_per_s"]] if run[1] else [])
    return min(bars)


def local(report, base):
    plain = dataclasses.replace(base, messages=report.options.messages, window=NEAR_WINDOW)
    kinds = {"CHUNKING": plain, "PIPELINING without CHUNKING": dataclasses.replace(plain, chunking=False),
             "STARTTLS": dataclasses.replace(plain, tls=True)}
    rounds = {name: [] for name in kinds}
    for _ in range(report.options.rounds):
        for name, settings in kinds.items():
            rounds[name].append(one_run(report, settings, ceiling=name == "CHUNKING", source=name == "CHUNKING"))
    report.results["local"] = rounds
    print(f"Local, {plain.messages:,} messages of {plain.size:,} octets, {plain.connections} connections, window {plain.window}:")
    for name, runs in rounds.items():
        line(f"outtray, {name}", runs)
    chunked = rounds["CHUNKING"]
    if all(run[1] for run in chunked):
        line(f"smtp-source -d -s {plain.connections} (no queue, no disk)", chunked, 1)
    print(f"  {'disk: renames in groups, two syncs each':46} {text(of(chunked, 'renames_per_s', 2)):>28} /s     "
          f"sync median {of(chunked, 'sync_ms_median', 2)['median']:.2f} ms")
    ratio = statistics.median(run[0]["messages_per_s"] / bar(run) for run in chunked)
    report.target("local: of the lower of smtp-source and 0.8 × the disk's ceiling", ratio, 1.0)
    for name, wanted in (("PIPELINING without CHUNKING", 0.8), ("STARTTLS", 0.7)):
        ratio = statistics.median(a[0]["messages_per_s"] / b[0]["messages_per_s"] for a, b in zip(rounds[name], chunked))
        report.target(f"local: {name}, of the plain figure", ratio, wanted)
    report.target("local: CPU ms a message", of(chunked, "cpu_ms")["median"], CPU_MS, at_most=True)
    report.target("local: peak RSS in MiB", max(run[0]["rss_peak_kib"] for run in chunked) / 1024, 24, at_most=True)
    if report.options.full:
        widths = report.results["connections"] = {}
        for connections in (1, 2, 4, 8, 16):
            widths[connections] = [one_run(report, dataclasses.replace(base, messages=10000, connections=connections))[0]
                                   for _ in range(report.options.rounds)]
            line(f"outtray, {connections} connection(s), window {base.window}, 10,000 messages", [[one] for one in widths[connections]])


def large(report, base):
    print("Large messages, 4 connections, bytes/s beside a plain read-and-send copy:")
    report.results["large"] = {}
    for size, count in ((256 << 10, 3000), (10 << 20, 100)):
        settings = dataclasses.replace(base, messages=count, size=size, connections=4, window=NEAR_WINDOW)
        rounds = []
        for _ in range(report.options.rounds):
            with rig.temporary() as directory, rig.place_for(settings, directory) as place:
                ours = rig.outtray_once(settings, directory, place)
                report.note(ours)
                with rig.Sink(settings, directory, duplicates=False) as sink:
                    cost = rig.measured(settings, directory, settings.build / "bench/copy", sink.port, settings.connections,
                                        place.path / "spool/tenant0/sent")
                    rounds.append([ours, rig.row("copy", settings, cost, sink.stop())])
        report.results["large"][size] = rounds
        ratios = [count * size / a["seconds"] / (b["bytes"] / b["seconds"]) for a, b in rounds]
        print(f"  {count} × {size >> 10:,} KiB: outtray {text(spread([count * size / a['seconds'] / 1e6 for a, _ in rounds])):>22} MB/s, "
              f"copy {text(spread([b['bytes'] / b['seconds'] / 1e6 for _, b in rounds])):>22} MB/s, "
              f"RSS {max(a['rss_peak_kib'] for a, _ in rounds) / 1024:.1f} MiB")
        report.target(f"large: {size >> 10} KiB messages, of a plain copy", statistics.median(ratios), 0.8)


def distance(report, base):
    full = report.options.full
    trips = (40, 200)
    windows = (8, 32, 64, 128, 256) if full else (8, 64)
    print("Over a distance (delay proxy), steady messages/s, the bound is 0.9 × in flight / (round trip + median commit):")
    results = report.results["distance"] = []
    for trip in trips:
        for connections in (1, 4):
            for chunking, window in [(True, w) for w in windows] + [(False, windows[0])]:
                flight = connections * (window if chunking else 1)
                settings = dataclasses.replace(base, connections=connections, window=window, chunking=chunking,
                                               one_way_ms=trip // 2, messages=max(flight * (100 if trip < 100 else 40), connections * 20))
                runs = [one_run(report, settings, ceiling=True) for _ in range(report.options.rounds if window in (8, 64) else 1)]
                # What is in flight without CHUNKING is one message a connection, so the steady rate leaves out only those.
                rates = [run[0]["messages_per_s_steady"] if chunking else (run[0]["messages"] - connections) * run[0]["messages_per_s_steady"] /
                         max(run[0]["messages"] - connections * window, 1) for run in runs]
                bounds = [0.9 * flight / (trip / 1000 + run[2]["sync_ms_median"] / 1000) for run in runs]
                ratio = statistics.median(rate / bound for rate, bound in zip(rates, bounds))
                late = max(run[0]["delay"]["late_us_median"] for run in runs)
                busy = max(run[0]["delay"]["cpu_seconds"] / run[0]["seconds"] for run in runs)
                results.append({"round_trip_ms": trip, "connections": connections, "window": window, "chunking": chunking,
                                "rate": spread(rates), "bound": spread(bounds), "ratio": ratio, "late_us_median": late,
                                "proxy_busy": busy, "runs": runs})
                print(f"  {trip:3} ms, {connections} connection(s), {'CHUNKING, window ' + str(window) if chunking else 'no CHUNKING':20} "
                      f"{text(spread(rates)):>26} msg/s, bound {statistics.median(bounds):8,.0f}, {ratio:4.2f} of it   "
                      f"(proxy late by {late:.0f} µs, busy {busy:.0%})")
                if connections == 1:  # of more it is told
                    report.target(f"distance: {trip} ms, 1 connection, {'window ' + str(window) if chunking else 'no CHUNKING'}, of the bound", ratio, 1.0)


def latency_part(report, base):
    backlog = 200000  # it has to last longer than the samples
    settings = dataclasses.replace(base, connections=4)
    samples = 500 if report.options.full else 200
    rounds = [(latency.measure(settings, samples), latency.measure(settings, samples, backlog=backlog))
              for _ in range(report.options.rounds)]
    rounds.sort(key=lambda pair: pair[0]["p99"])
    report.results["latency"] = [{"idle": idle, "busy": busy} for idle, busy in rounds]
    print("From the end of the rename into new/ to the first octet of MAIL:")
    for idle, busy in rounds:
        latency.show("  idle agent", idle)
        latency.show(f"  beside {backlog:,} of another tenant ({busy['rate']:,.0f}/s)", busy)
    middle = rounds[len(rounds) // 2]
    report.target("latency: idle, p50 in ms", statistics.median(one["p50"] for one, _ in rounds), latency.TARGET_P50_MS, at_most=True)
    report.target("latency: idle, p99 in ms", middle[0]["p99"], latency.TARGET_P99_MS, at_most=True)
    report.target("latency: beside a backlog, p99 of (2 × idle + one in flight)",
                  statistics.median(busy["p99"] / (2 * idle["p99"] + busy["in_flight_ms"]) for idle, busy in rounds), 1.0, at_most=True)


def peers(report, base):
    print("Peers from Debian's packages, 20 connections, queue filled while held, into the same kind of sink; outtray as in the local part:")
    results = report.results["peers"] = []
    settings = dataclasses.replace(base, connections=20)
    near = dataclasses.replace(base, messages=report.options.messages, window=NEAR_WINDOW)
    rounds = [[one_run(report, near)[0]] for _ in range(report.options.rounds)]
    line("outtray", rounds)
    report.results["peers_ours"] = [run[0] for run in rounds]
    ours = of(rounds, "messages_per_s")["median"]
    chosen = servers.ALL if report.options.full else servers.ALL[:1]
    for kind in chosen:
        try:
            runs = [[servers.measure(kind, settings, count=None if report.options.full else 3000)] for _ in range(report.options.rounds)]
        except (Failed, Unavailable, subprocess.SubprocessError) as reason:
            results.append({"name": kind.name, "failed": str(reason)})
            print(f"  {kind.name}: could not be measured: {str(reason).splitlines()[0] if str(reason) else type(reason).__name__}")
            continue
        results.append({"name": kind.name, "runs": [run[0] for run in runs]})
        line(f"{kind.name} {runs[0][0]['version']}", runs)
        print(f"      {kind.settings}")
        if kind is servers.Postfix:
            report.target("peers: of Postfix", ours / of(runs, "messages_per_s")["median"], 20)
            for trip in (40, 200) if report.options.full else ():
                far_from_postfix(report, dataclasses.replace(settings, one_way_ms=trip // 2, connections=4, messages=2000), trip)


def far_from_postfix(report, far, trip):
    try:
        theirs = servers.measure(servers.Postfix, far, count=100)
    except (Failed, Unavailable, subprocess.SubprocessError) as reason:
        print(f"  {trip} ms: Postfix could not be measured: {reason}")
        return
    mine = one_run(report, far)[0]
    plain = one_run(report, dataclasses.replace(far, chunking=False, messages=600))[0]
    report.results["peers"].append({"name": servers.Postfix.name, "round_trip_ms": trip, "runs": [theirs], "ours": mine, "ours_plain": plain})
    rates = mine["messages_per_s_steady"], plain["messages"] / plain["seconds"]
    print(f"  {trip} ms, 4 connections: outtray {rates[0]:,.0f} msg/s, without CHUNKING {rates[1]:,.0f}, Postfix {theirs['messages_per_s']:,.0f}")
    for what, rate, wanted in (("", rates[0], 20), (", without CHUNKING", rates[1], 3)):
        report.target(f"peers: of Postfix at {trip} ms, 4 connections{what}", rate / theirs["messages_per_s"], wanted)


def backlog_sizes(report, base):
    sizes = [n for n in (1000, 10000, 50000, 100000, 1000000) if n <= report.options.largest] if report.options.full else [1000, 50000]
    rows = report.results["scale"] = []
    for count in sizes:
        for tenants in (1, 1000) if count in (50000, 1000000) and report.options.full else (1,):
            settings = dataclasses.replace(base, messages=count, tenants=tenants, remount=True)
            rounds = report.options.rounds if count <= 10000 else AROUND if count == 50000 and report.options.full else 1
            runs = [one_run(report, settings)[0] for _ in range(rounds)]
            rows.append({"messages": count, "tenants": tenants, "runs": runs})
            line(f"{count:,} in new/, {tenants} tenant(s)", [[run] for run in runs])
            print(f"      first delivery after {statistics.median(run['first_s'] for run in runs):.3f} s")
            if count == 1000000:
                report.target(f"scale: {count:,} over {tenants} tenant(s): first delivery in s", max(run["first_s"] for run in runs), 3, at_most=True)
                report.target(f"scale: {count:,} over {tenants} tenant(s): RSS in MiB", max(run["rss_peak_kib"] for run in runs) / 1024, 64, at_most=True)
                same = next(row for row in rows if row["messages"] == 50000 and row["tenants"] == tenants)
                # Within the minutes between the two the machine is now faster, now slower: short runs before and after the long one.
                same["runs"] += [one_run(report, dataclasses.replace(settings, messages=50000))[0] for _ in range(AROUND)]
                report.target(f"scale: {count:,} over {tenants} tenant(s): rate, of that of 50,000",
                              runs[0]["messages_per_s"] / statistics.median(run["messages_per_s"] for run in same["runs"]), 0.9)


def deferred(report, base):
    count = report.options.largest if report.options.full else 50000
    settings = dataclasses.replace(base, messages=count, size=512, remount=True, files_each=2)
    scans = {"scan": [], "scan_both": []}  # before and behind ours
    with rig.temporary() as directory, rig.place_for(settings, directory) as place:
        def scan(*options):
            place.remount()
            return json.loads(rig.run(settings.build / "bench/scan", *options, place.path / "spool/tenant0/deferred").stdout)

        def scan_all():
            scans["scan"].append(scan())
            scans["scan_both"].append(scan("--both"))

        def filled():
            scan("--both")  # whoever is first after a fill finds the kernel's own caches empty: nobody's figure
            scan_all()

        ours = rig.outtray_once(settings, directory, place, state="deferred", due=count // 100, filled=filled)
        scan_all()
    few = dataclasses.replace(settings, messages=count // 100)
    with rig.temporary() as directory, rig.place_for(few, directory) as place:
        alone = rig.outtray_once(few, directory, place, state="deferred", due=few.messages)
    report.note(ours)
    report.note(alone)
    report.results["deferred"] = {"messages": count, "due": few.messages, "ours": ours, "alone": alone, **scans}
    cpu, delivering = (one["cpu_ms"] * one["messages"] / 1000 for one in (ours, alone))
    print(f"  {count:,} in deferred/, {few.messages:,} of them due: {ours['seconds']:.2f} s, {cpu:.2f} s CPU, {ours['rss_peak_kib'] / 1024:.1f} MiB")
    print(f"      the due ones alone take {alone['seconds']:.2f} s, {delivering:.2f} s CPU")
    for kind, words in (("scan", "status files"), ("scan_both", "messages and status files")):
        print(f"      a plain scan of the times of {words} takes {text(spread([one['seconds'] for one in scans[kind]]), 2)} s, "
              f"{text(spread([one['cpu_seconds'] for one in scans[kind]]), 2)} s CPU")
    report.target(f"scale: {count:,} deferred: CPU without that of the due ones alone, of a plain scan's of both times",
                  (cpu - delivering) / statistics.mean(one["cpu_seconds"] for one in scans["scan_both"]), 1.0, at_most=True)


def arrival(report, base):
    count = 100000 if report.options.full else 20000
    settings = dataclasses.replace(base, messages=count)
    with rig.temporary() as directory, rig.place_for(settings, directory) as place:
        rig.make_spool(settings, place)
        with rig.Sink(settings, directory) as sink, latency.agent(settings, directory, place, sink):
            filler = subprocess.Popen([settings.build / "bench/fill", place.path / "spool", "1", str(count), str(settings.size), "arrive"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            filler.stdout.readline()
            out, _ = filler.communicate("go\n", timeout=rig.FILL_SECONDS)
            times = json.loads(out)
            latency.wait_for(lambda: sink.look()["messages"] >= count, f"{count} messages", 300)
            seen = sink.look()
    renames = (times["rename_end_ns"] - times["rename_begin_ns"]) / 1e9
    took = (seen["last_ns"] - times["rename_begin_ns"]) / 1e9
    report.results["arrival"] = {"messages": count, "rename_s": renames, "seconds": took, "seen": seen}
    report.complete = report.complete and seen["messages"] == count and not seen["duplicates"]
    print(f"  {count:,} renamed into new/ within {renames:.2f} s while the agent runs: all delivered after {took:.2f} s "
          f"({count / took:,.0f} msg/s), {seen['duplicates']} twice")


def scale(report, base):
    print("Backlogs of different size, file system remounted before the start (nothing of it in memory):")
    backlog_sizes(report, base)
    deferred(report, base)
    arrival(report, base)


def show_targets(report):
    print(f"\n{'target':76} {'reached':>9} {'wanted':>9}")
    for target in report.targets:
        sign = "≤" if target["at_most"] else "≥"
        print(f"{target['what']:76} {target['reached']:9.3f} {sign} {target['wanted']:7.3f}  {'met' if target['met'] else 'MISSED'}")


def write(path, keep, parts, report, machine, seconds):
    """Each part has the machine, the load and the command it was run with."""
    whole = {"parts": {}, "results": {}, "targets": []}
    if keep and path.exists():
        whole = json.loads(path.read_text(encoding="utf-8"))
    whole["machine"] = machine
    whole["parts"].update({part: {"machine": machine, "command": sys.argv[1:], "seconds": seconds} for part in parts})
    whole["results"].update(report.results)
    whole["targets"] = [one for one in whole["targets"] if one["what"].split(":")[0] not in parts] + report.targets
    path.write_text(json.dumps(whole) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--full", action="store_true", help="everything, not the short run")
    parser.add_argument("--parts", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=0, help="of each measurement (default: 1, with --full 3)")
    parser.add_argument("--messages", type=int, default=0, help="of a local run (default: 20000, with --full 50000)")
    parser.add_argument("--image", type=pathlib.Path, metavar="DIRECTORY", help="where the loop device's file lies")
    parser.add_argument("--build", default=rig.ROOT / "build", type=pathlib.Path)
    parser.add_argument("--largest", type=int, default=1000000, help="backlog of a full run (default: 1000000)")
    parser.add_argument("--json", type=pathlib.Path, help="write the results here")
    parser.add_argument("--keep", action="store_true", help="leave the parts that are in that file and not run now")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.full else 1)
    options.messages = options.messages or (50000 if options.full else 20000)
    parts = options.parts.split(",") if options.parts else PARTS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is mounted is to be unmounted
    report, base, begin = Report(options), Settings(build=options.build, image=options.image), time.monotonic()
    machine = rig.machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, commit {machine['commit']}, "
          f"load {machine['load'][0]:.1f}, {machine['date']}")
    work = {"local": local, "large": large, "distance": distance, "latency": latency_part, "peers": peers, "scale": scale}
    for part in parts:
        if part not in work:
            parser.error(f"no part is called {part}")
        try:
            work[part](report, base)
        except (Failed, Unavailable) as reason:
            print(f"{part}: {reason}")
            report.results[part + "_failed"] = str(reason)
        sys.stdout.flush()
    show_targets(report)
    machine["load_end"] = os.getloadavg()
    print(f"{time.monotonic() - begin:.0f} s, load {machine['load_end'][0]:.1f} at the end")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write(options.json, options.keep, parts, report, machine, time.monotonic() - begin)
    return 0 if report.complete else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as problem:
        sys.exit(f"bench: {problem}")
