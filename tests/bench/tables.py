#!/usr/bin/python3
"""Writes the tables of docs/PERFORMANCE.md from a result of suite.py, between the two marks in it.

    /usr/bin/python3 tests/bench/tables.py [RESULT.json]
"""

import json
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs/PERFORMANCE.md"
BEGIN, END = "<!-- tables: make bench-plots -->", "<!-- end of tables -->"


def figure(values, digits=0):
    values = list(values)
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(map(str, row)) + " |" for row in rows] + [""]


def cost_row(name, runs):
    return [name, figure(run["messages_per_s"] for run in runs), figure((run["cpu_ms"] for run in runs), 3),
            figure((run["rss_peak_kib"] / 1024 for run in runs), 1), runs[0]["connections"]]


def taken(result, part):
    how = result["parts"].get(part)
    if not how:
        return [f"### {part}", "", "Not measured in this record.", ""]
    machine = how["machine"]
    return [f"### {part.capitalize()}", "",
            f"`/usr/bin/python3 tests/bench/suite.py {' '.join(how['command'])}`; {machine['date']}, commit {machine['commit']}, load average "
            f"{machine['load'][0]:.1f} at the start and {machine['load_end'][0]:.1f} at the end.", ""]


def local(results):
    head = ["", "messages/s", "CPU ms a message", "peak RSS MiB", "connections"]
    rows = [cost_row("outtray, " + name, [run[0] for run in runs]) for name, runs in results["local"].items()]
    chunked = results["local"]["CHUNKING"]
    if all(run[1] for run in chunked):
        rows.append(cost_row("smtp-source -d (no queue, no disk)", [run[1] for run in chunked]))
    rows.append(["the disk: renames in groups of connections × window, two syncs each", figure(run[2]["renames_per_s"] for run in chunked),
                 figure((run[2]["cpu_us_per_rename"] / 1000 for run in chunked), 3), "", ""])
    rows += [cost_row(f"outtray, {width} connection(s), 10,000 messages", runs) for width, runs in results.get("connections", {}).items()]
    return table(head, rows)


def large(results):
    return table(["message", "outtray MB/s", "plain copy MB/s", "peak RSS MiB"], [
        [f"{int(size) >> 10:,} KiB", figure(ours["messages"] * int(size) / ours["seconds"] / 1e6 for ours, _ in rounds),
         figure(copy["bytes"] / copy["seconds"] / 1e6 for _, copy in rounds), figure((ours["rss_peak_kib"] / 1024 for ours, _ in rounds), 1)]
        for size, rounds in results["large"].items()])


def distance(results):
    return table(["round trip", "connections", "window", "messages/s", "0.9 × the bound", "of it", "proxy: late by, busy"], [
        [f"{run['round_trip_ms']} ms", run["connections"], run["window"] if run["chunking"] else "no CHUNKING",
         f"{run['rate']['median']:,.0f}", f"{run['bound']['median']:,.0f}", f"{run['ratio']:.2f}",
         f"{run['late_us_median']:.0f} µs, {run['proxy_busy']:.0%}"] for run in results["distance"]])


def latency(results):
    rows = []
    for key, name in (("idle", "idle agent"), ("busy", "beside {:,} messages of another tenant")):
        runs = [one[key] for one in results["latency"]]
        rows.append([name.format(runs[0]["backlog"])] + [figure((run[what] for run in runs), 2) for what in ("p50", "p95", "p99", "max")] +
                    [figure((run[what]["p99"] for run in runs), 2) for what in ("rename", "both")])
    return table(["", "p50 ms", "p95 ms", "p99 ms", "most ms", "the rename before it, p99 ms", "both together, p99 ms"], rows)


def peers(results):
    rows, settings = [], []
    for peer in results["peers"]:
        if "failed" in peer:
            rows.append([peer["name"], "could not be measured: " + peer["failed"].splitlines()[0], "", "", ""])
            continue
        runs = peer["runs"]
        distance = f", {peer['round_trip_ms']} ms round trip, 4 connections" if "round_trip_ms" in peer else ""
        rows.append(cost_row(f"{peer['name']} {runs[0]['version']}{distance}", runs))
        if distance:
            rows.append(cost_row(f"outtray{distance}", [peer["ours"]]))
            rows.append(cost_row(f"outtray, without CHUNKING{distance}", [peer["ours_plain"]]))
        else:
            settings.append(f"- {peer['name']}: {runs[0]['settings']}.")
    if "peers_ours" in results:
        rows.insert(0, cost_row("outtray", results["peers_ours"]))
    return table(["", "messages/s", "CPU ms a message", "peak RSS MiB (all processes)", "connections"], rows) + settings + [""]


def scale(results):
    rows = [[f"{row['messages']:,}", row["tenants"], figure(run["messages_per_s"] for run in row["runs"]),
             figure((run["first_s"] for run in row["runs"]), 3), figure((run["cpu_ms"] for run in row["runs"]), 3),
             figure((run["rss_peak_kib"] / 1024 for run in row["runs"]), 1)] for row in results["scale"]]
    lines = table(["messages in new/", "tenants", "messages/s", "first delivery s", "CPU ms a message", "peak RSS MiB"], rows)
    if "deferred" in results:
        one = results["deferred"]
        cpu = {kind: figure((run["cpu_seconds"] for run in one[kind]), 2) for kind in ("scan", "scan_both")}
        lines += [f"{one['messages']:,} messages in `deferred/`, {one['due']:,} of them due: {one['ours']['seconds']:.2f} s and "
                  f"{one['ours']['cpu_ms'] * one['ours']['messages'] / 1000:.2f} s CPU in all, peak RSS {one['ours']['rss_peak_kib'] / 1024:.1f} MiB; "
                  f"the due ones alone take {one['alone']['cpu_ms'] * one['alone']['messages'] / 1000:.2f} s CPU. A program that only reads the names and "
                  f"the times of the status files takes {cpu['scan']} s CPU, one that reads those of the messages, too, {cpu['scan_both']}.", ""]
    if "arrival" in results:
        one = results["arrival"]
        lines += [f"{one['messages']:,} messages renamed into `new/` within {one['rename_s']:.2f} s while the agent runs: all delivered "
                  f"{one['seconds']:.2f} s after the first rename, {one['seen']['duplicates']} twice.", ""]
    return lines


def targets(result):
    return ["### Targets", ""] + table(["target", "reached", "wanted", ""], [
        [one["what"], f"{one['reached']:.3f}", f"{'≤' if one['at_most'] else '≥'} {one['wanted']:.3f}", "met" if one["met"] else "**missed**"]
        for one in result["targets"]])


def main():
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results/full.json"
    if not path.exists():
        sys.exit(f"bench-plots: there is no {path}: run make bench BENCH=full first")
    result = json.loads(path.read_text(encoding="utf-8"))
    machine = result["machine"]
    lines = [f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_mib']:,} MiB, {machine['system']}. Median (min..max) where a "
             "figure was taken more than once.", ""]
    for part, draw in (("local", local), ("large", large), ("distance", distance), ("latency", latency), ("peers", peers), ("scale", scale)):
        lines += taken(result, part)
        if part in result["results"]:
            lines += draw(result["results"])
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    PAGE.write_text(before + BEGIN + "\n\n" + "\n".join(lines + targets(result)) + "\n" + END + after, encoding="utf-8")
    print("docs/PERFORMANCE.md")


if __name__ == "__main__":
    main()
