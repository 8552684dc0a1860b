#!/usr/bin/env python3
"""Kills, power cuts and replayed disks: the whole of it, or a sample.

    run.py sweep [--fs ext4,xfs] [--what agent,recovery,submit,token] [--sample N] [--record FILE] …
    run.py replay [--fs ext4,xfs,btrfs] [--states N] [--record FILE] …

Needs root and loop devices, and says so where they are missing (exit status 77). `make crash` runs both as a whole;
docs/RELIABILITY.md says what they show. Each also runs with a binary that lacks what the promises stand on
(--without directory-sync, recovery-rank), and then fails where nothing is found.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parent)]
import replay  # noqa: E402
import sweep  # noqa: E402
import volume  # noqa: E402
from scenario import Stage  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = {"": "outtray", "directory-sync": "outtray-no-directory-sync", "recovery-rank": "outtray-no-recovery-rank"}
STATES = {"agent": sweep.agent_state, "recovery": sweep.recovery_state, "submit": sweep.submit_state, "token": sweep.token_state}
SKIP = 77
# Where the first agent is killed, for kills of the one that recovers: by the number of the call.
FIRST = [{"first": number} for number in (14, 26, 38, 50)]

stage = None  # of this worker


def begin_worker(room, connections, window):
    global stage
    volume.end_with_parent()
    volume.apart()
    stage = Stage(room / f"worker.{os.getpid()}", connections, window)
    stage.config.write()


def make_template(what, kind, room, connections, window):
    """An image with the spool in it, made by a worker. Returns its path."""
    image = room / f"{what}.{kind}.img"
    volume.make(kind, image)
    disk = volume.Mounted(kind, image, stage.disk)
    try:
        stage.populate()
    finally:
        disk.close()
    return image


def one(what, kind, template, target, cut):
    stage.agent.init = False  # the template has its tree
    return STATES[what](stage, kind, template, target, cut)


def replayed(what, kind, count, seed, first_only):
    return replay.share(stage, what, kind, count, seed, first_only)


class Tally:
    """What the states came to."""

    def __init__(self):
        self.states, self.killed, self.repeats = 0, collections.Counter(), collections.Counter()
        self.found, self.listed = [], set()

    def add(self, result, where):
        self.states += 1
        self.repeats[result["repeated"]] += 1
        self.listed |= set(result["calls"])
        if result["killed"]:
            self.killed[result["killed"]] += 1
        for words in result["found"]:
            self.found.append(f"{where}, {'killed at ' + result['killed'] if result['killed'] else 'not killed'}"
                              f"{', power cut' if result['cut'] else ''}: {words}")


@contextlib.contextmanager
def workers(options, connections, window):
    room = volume.room()
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=context, initializer=begin_worker,
                                                  initargs=(room, connections, window))
    try:
        yield room, pool
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(room, ignore_errors=True)


def choose(count, sample, rng):
    """Which of the calls 1 to count are killed at; count + 1 is no kill, and the cut after a clean end."""
    every = list(range(1, count + 2))
    if not sample or sample >= len(every):
        return every
    return sorted({1, count + 1, *rng.sample(every, sample)})


def sweep_one(options, what, kind, shape, tally, more=None):
    """more: what each target has besides the call that is killed at."""
    connections, window = map(int, shape.split("x"))
    rng = random.Random(options.seed)
    with workers(options, connections, window) as (room, pool):
        template = pool.submit(make_template, what, kind, room, connections, window).result()
        first = pool.submit(one, what, kind, template, {**(more or {})}, True).result()
        where = f"{what} on {kind}, {connections} connections with a window of {window}"
        tally.add(first, where)
        targets = [{"kill": number, **(more or {})} for number in choose(len(first["calls"]), options.sample, rng)]
        cuts = [True] if options.sample else [True, False]
        jobs = [pool.submit(one, what, kind, template, target, cut) for cut in cuts for target in targets]
        for job in concurrent.futures.as_completed(jobs):
            tally.add(job.result(), where)
            if options.without and tally.found:
                break  # that is what was wanted
        print(f"{where}: {tally.states} states so far, {len(tally.found)} findings", flush=True)
        if options.sample or options.without:
            return
        # The threads take turns as they like: what was seen but not met is aimed at by name.
        for _ in range(3):
            missed = sorted(name for name in tally.listed if not tally.killed[name])
            jobs = [pool.submit(one, what, kind, template, {"at": name, **(more or {})}, True) for name in missed
                    if "INODE" not in name]
            for job in concurrent.futures.as_completed(jobs):
                tally.add(job.result(), where)


def sweep_main(options):
    began, tally = time.monotonic(), Tally()
    for what in options.what.split(","):
        for kind in options.fs.split(","):
            for shape in options.shapes.split(",") if what == "agent" else ["1x1"]:
                for more in FIRST if what == "recovery" else [None]:
                    if not (options.without and tally.found):
                        sweep_one(options, what, kind, shape, tally, more)
    missed = sorted(name for name in tally.listed if not tally.killed[name])
    return {"states": tally.states, "kills": sum(tally.killed.values()), "calls_met": len(tally.killed),
            "calls_seen": len(tally.listed), "calls_missed": missed if not options.sample else len(missed),
            "repeats": dict(sorted(tally.repeats.items())), "found": tally.found,
            "kinds_of_calls": sorted({name.partition(" ")[0] for name in tally.killed}),
            "fs": options.fs, "what": options.what, "seed": options.seed, "seconds": round(time.monotonic() - began)}


def replay_main(options):
    began, found = time.monotonic(), []
    repeats, doubled, states = collections.Counter(), collections.Counter(), collections.Counter()
    for what in options.what.split(","):
        for kind in options.fs.split(","):
            count = max(1, options.states // len(options.fs.split(",")) // (1 if what == "agent" else 4))
            with workers(options, 1, 1) as (_, pool):
                rounds = max(options.jobs, count // 100)  # each is a recording of its own
                counts = [count // rounds + (number < count % rounds) for number in range(rounds)]
                jobs = [pool.submit(replayed, what, kind, part, options.seed + number, bool(options.without))
                        for number, part in enumerate(counts)]
                for job in concurrent.futures.as_completed(jobs):
                    for result in job.result():
                        states[f"{what} on {kind}"] += 1
                        repeats[result["repeated"]] += 1
                        doubled[kind] += bool(result["doubled"])
                        found += [f"{what} on {kind}, {result['where']}: {words}" for words in result["found"]]
            print(f"{what} on {kind}: {sum(states.values())} states so far, {len(found)} findings", flush=True)
    return {"states": sum(states.values()), "by_kind": states, "states_with_two_names": doubled,
            "repeats": dict(sorted(repeats.items())), "found": found, "seed": options.seed, "seconds": round(time.monotonic() - began)}


def arguments(argv=None):
    parser = argparse.ArgumentParser(description="kills, power cuts, replayed disks")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, kinds in (("sweep", "ext4,xfs"), ("replay", "ext4,xfs,btrfs")):
        part = verbs.add_parser(verb)
        part.add_argument("--fs", default=kinds)
        part.add_argument("--jobs", type=int, default=os.cpu_count())
        part.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
        part.add_argument("--record", type=pathlib.Path, help="the figures go there as JSON")
        part.add_argument("--without", choices=[name for name in BINARIES if name], default="",
                          help="with a binary that lacks this; then findings are wanted")
        if verb == "sweep":
            part.add_argument("--what", default="agent,recovery,submit,token")
            part.add_argument("--shapes", default="1x1,2x4", help="connections x window")
            part.add_argument("--sample", type=int, default=0, help="kills for each file system; default: at every call")
        else:
            part.add_argument("--what", default="agent,submit")
            part.add_argument("--states", type=int, default=1500, help="of the agent, all file systems together")
    return parser.parse_args(argv)


def main():
    options = arguments()
    reason = volume.missing(*options.fs.split(",")) or (options.verb == "replay" and replay.missing())
    if reason:
        print(f"skipped: {reason}")
        return SKIP
    os.environ["OUTTRAY"] = str(ROOT / "build-crash" / BINARIES[options.without])
    figures = {"sweep": sweep_main, "replay": replay_main}[options.verb](options)
    print(json.dumps(figures, indent=1))
    if options.record:
        options.record.write_text(json.dumps(figures, indent=1) + "\n", encoding="ascii")
    return 0 if bool(figures["found"]) == bool(options.without) else 1


if __name__ == "__main__":
    sys.exit(main())
