#!/usr/bin/python3
"""How fast a filled spool is delivered: messages/s, CPU, memory, connections; beside Postfix's smtp-source.

One measurement at a time, with everything settable; `make bench` (suite.py) runs many and makes a table.

    /usr/bin/python3 tests/bench/run.py --messages 20000 --window 32 --one-way 20

The spool lies on a journalled ext4 of its own on a loop device where root allows that, else in the temporary directory.
Both programs deliver to the same kind of sink (tests/bench/sink.c), the agent with every move durable, smtp-source from
memory. Exit code 1 where a message was lost or came twice, or, with --check, where the targets are missed.
"""

import argparse
import json
import pathlib
import sys
import time

import rig
from rig import Failed, Settings, Unavailable

TARGET_RATIO = 1.0  # of smtp-source,
TARGET_CEILING = 0.8  # or of the disk's ceiling, whichever is lower
TARGET_CPU = 0.06  # ms a message
TARGET_RSS_KIB = 24 * 1024
TARGET_DISTANCE = 0.9  # of window / (round trip + sync)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--size", type=int, default=4096, help="octets of a message (default: 4096)")
    parser.add_argument("--connections", type=int, default=16, help="sessions, of both programs (default: 16)")
    parser.add_argument("--window", type=int, default=8, help="messages in flight on a connection (default: 8)")
    parser.add_argument("--tenants", type=int, default=1)
    parser.add_argument("--one-way", type=int, default=0, metavar="MS", help="through the delay proxy: half a round trip")
    parser.add_argument("--rounds", type=int, default=1, help="repeat and print each (default: 1)")
    parser.add_argument("--build", default=rig.ROOT / "build", type=pathlib.Path, help="where the programs are built")
    parser.add_argument("--no-chunking", action="store_true", help="the sink does not offer CHUNKING")
    parser.add_argument("--no-pipelining", action="store_true", help="nor PIPELINING")
    parser.add_argument("--no-smtp-source", action="store_true", help="without the comparison")
    parser.add_argument("--tls", action="store_true", help="the agent uses STARTTLS (smtp-source does not)")
    parser.add_argument("--remount", action="store_true", help="have the spool's file system cold")
    parser.add_argument("--directory", type=pathlib.Path, help="spool here instead of on a loop device")
    parser.add_argument("--image", type=pathlib.Path, metavar="DIRECTORY",
                        help="the loop device's file lies here: on a tmpfs the disk costs nothing but CPU")
    parser.add_argument("--json", type=pathlib.Path, help="write the results here as well")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--strace", action="store_true", help="count the agent's system calls (slows it down)")
    return parser.parse_args()


def show(results):
    print(f"{'':24} {'messages/s':>11} {'steady':>9} {'CPU ms each':>12} {'peak RSS':>11} {'connections':>12}")
    for result in results:
        print(f"{result['name']:24} {result['messages_per_s']:11,.0f} {result['messages_per_s_steady']:9,.0f} "
              f"{result['cpu_ms']:12.3f} {result['rss_peak_kib'] / 1024:7.1f} MiB {result['connections']:12}")


def rate_target(settings, results, ceiling):
    """(words, messages/s wanted, messages/s reached)."""
    ours = results[0]
    if settings.one_way_ms:
        seconds = (2 * settings.one_way_ms + ceiling["sync_ms_median"]) / 1000
        # Without CHUNKING a transaction waits for its 354, so there is one at a time and a round trip for each.
        flight = settings.connections * (settings.window if settings.chunking else 1)
        return (f"{TARGET_DISTANCE} × {flight} in flight / (round trip + sync)", TARGET_DISTANCE * flight / seconds,
                ours["messages_per_s_steady"])
    bars = {f"{TARGET_CEILING} × the disk's ceiling": TARGET_CEILING * ceiling["renames_per_s"]}
    if len(results) > 1:
        bars[f"{TARGET_RATIO} × smtp-source"] = TARGET_RATIO * results[1]["messages_per_s"]
    name, bar = min(bars.items(), key=lambda item: item[1])
    return name, bar, ours["messages_per_s"]


def judge(settings, results, ceiling, words):
    """Prints what is to be said; returns whether all arrived once, and whether the targets are met."""
    ours, met = results[0], True
    print(f"spool {words}; {settings.messages:,} messages of {settings.size:,} octets; {ours['messages']:,} arrived, "
          f"{ours['duplicates']} twice")
    print(f"disk: {ceiling['renames_per_s']:,} renames/s in groups of {ceiling['batch']}, two syncs each (median "
          f"{ceiling['sync_ms_median']:.2f} ms, 95th percentile {ceiling['sync_ms_p95']:.2f} ms)")
    if ours["delay"]:
        delay = ours["delay"]
        print(f"delay proxy: {2 * delay['one_way_ms']:.0f} ms round trip, late by {delay['late_us_median']:.0f} µs in the "
              f"median, {delay['late_us_p99']:.0f} µs in 99 %; {delay['cpu_seconds'] / ours['messages'] * 1000:.3f} ms CPU a message")
    name, bar, reached = rate_target(settings, results, ceiling)
    for text, good in ((f"peak RSS up to {TARGET_RSS_KIB // 1024} MiB", ours["rss_peak_kib"] <= TARGET_RSS_KIB),
                       (f"CPU up to {TARGET_CPU} ms a message: {ours['cpu_ms']:.3f}", ours["cpu_ms"] <= TARGET_CPU),
                       (f"{name} = {bar:,.0f} messages/s: {reached / bar:.2f} of it", reached >= bar)):
        print(f"target: {text}: {'met' if good else 'missed'}")
        met = met and good
    return ours["complete"], met


def main():
    options = arguments()
    settings = Settings(
        messages=options.messages, size=options.size, connections=options.connections, window=options.window,
        tenants=options.tenants, chunking=not options.no_chunking, pipelining=not options.no_pipelining, tls=options.tls,
        one_way_ms=options.one_way, remount=options.remount, directory=options.directory, image=options.image,
        build=options.build)
    good, rounds = True, []
    for _ in range(options.rounds):
        with rig.temporary() as directory, rig.place_for(settings, directory) as place:
            results = [rig.outtray_once(settings, directory, place, strace=options.strace)]
            ceiling = rig.measure_ceiling(settings, place)
            if not options.no_smtp_source:
                try:
                    results.append(rig.smtp_source(settings, directory))
                except Unavailable as reason:
                    print(f"without smtp-source: {reason}")
            show(results)
            complete, met = judge(settings, results, ceiling, place.words)
            good = good and complete and (met or not options.check)
            rounds.append({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "spool": place.words,
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
