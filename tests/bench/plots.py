#!/usr/bin/python3
"""Draws docs/performance/*.svg from a result of suite.py --full, with gnuplot.

    /usr/bin/python3 tests/bench/plots.py [RESULT.json]
"""

import json
import pathlib
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "docs/performance"
POINTS_MAX = 400  # of a curve


def gnuplot(name, title, commands, data):
    """data: {block name: rows}; commands may name the blocks as $name."""
    blocks = "".join(f"${key} << EOD\n" + "".join(" ".join(map(str, row)) + "\n" for row in rows) + "EOD\n" for key, rows in data.items())
    script = (f"set terminal svg size 760,420 font 'sans,12' background rgb 'white'\nset output '{OUT / name}'\nset title \"{title}\"\n"
              f"set grid\nset key left top\n{blocks}{commands}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    print(f"docs/performance/{name}")


def under(title, result, part):
    """The title with a second line: the machine, the commit and the load of that part of the record."""
    machine = result["parts"][part]["machine"]
    return (f"{title}\\n{{/*0.8 {machine['cpu']}, {machine['cores']} cores, commit {machine['commit']}, load average "
            f"{machine['load'][0]:.0f} to {machine['load_end'][0]:.0f}}}")


def by_connections(result):
    rows = [[width, *(f([run["messages_per_s"] for run in runs]) for f in (statistics.median, min, max))]
            for width, runs in result["results"].get("connections", {}).items()]
    if rows:
        gnuplot("connections.svg", under("Local throughput by connections", result, "local"),
                "set xlabel 'connections'\nset ylabel 'messages/s'\nset logscale x 2\nset yrange [0:*]\n"
                "plot $rows using 1:2:3:4 with yerrorlines lw 2 pt 7 title 'window 8, 4 kB, every move durable; median, min..max'", {"rows": rows})


def by_window(result):
    runs = [run for run in result["results"].get("distance", []) if run["chunking"]]
    curves, plots = {}, []
    for trip in sorted({run["round_trip_ms"] for run in runs}):
        for connections in sorted({run["connections"] for run in runs}):
            name = f"r{trip}c{connections}"
            curves[name] = [[run["window"], run["rate"]["median"], run["bound"]["median"]] for run in runs
                            if (run["round_trip_ms"], run["connections"]) == (trip, connections)]
            number = len(plots) // 2 + 1
            plots += [f"${name} using 1:2 with linespoints lw 2 pt 7 lc {number} title '{trip} ms, {connections} connection(s)'",
                      f"${name} using 1:3 with lines dt 2 lc {number} notitle"]
    if curves:
        gnuplot("window.svg", under("Throughput by window and round trip, dashed: the bound", result, "distance"),
                "set xlabel 'window'\nset ylabel 'messages/s'\nset logscale xy\nset xrange [6:340]\nset xtics (8, 16, 32, 64, 128, 256)\nplot " + ", ".join(plots), curves)


def by_backlog(result):
    rows = [[row["messages"], statistics.median(run["cpu_ms"] for run in row["runs"]),
             1000 / statistics.median(run["messages_per_s"] for run in row["runs"])]
            for row in result["results"].get("scale", []) if row["tenants"] == 1]
    if rows:
        gnuplot("backlog.svg", under("Cost of a message by the size of the backlog", result, "scale"),
                "set xlabel 'messages in new/'\nset ylabel 'ms a message'\nset logscale x\nset yrange [0:*]\n"
                "plot $rows using 1:2 with linespoints lw 2 pt 7 title 'CPU', $rows using 1:3 with linespoints lw 2 pt 5 title 'elapsed (1 / rate)'",
                {"rows": rows})


def by_latency(result):
    rounds = result["results"].get("latency", [])
    if not rounds:
        return
    middle, curves = rounds[len(rounds) // 2], {}
    for name in ("idle", "busy"):
        values = middle[name]["sorted"]
        curves[name] = [[value, (i + 1) / len(values)] for i, value in enumerate(values)][::max(len(values) // POINTS_MAX, 1)]
    backlog = f"{middle['busy']['backlog']:,} messages of another tenant"
    gnuplot("latency.svg", under("From the rename into new/ to MAIL at the server", result, "latency"),
            "set xlabel 'ms'\nset ylabel 'share of the messages'\nset logscale x\nset key right bottom\n"
            f"plot $idle with lines lw 2 title 'idle agent', $busy with lines lw 2 title 'beside {backlog}'", curves)


def main():
    if not shutil.which("gnuplot"):
        sys.exit("bench-plots: gnuplot is missing: run ./scripts/setup bench, or apt-get install gnuplot-nox")
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results/full.json"
    if not path.exists():
        sys.exit(f"bench-plots: there is no {path}: run make bench BENCH=full first")
    result = json.loads(path.read_text(encoding="utf-8"))
    OUT.mkdir(parents=True, exist_ok=True)
    for draw in (by_connections, by_window, by_backlog, by_latency):
        draw(result)


if __name__ == "__main__":
    main()
