#!/usr/bin/env python3
"""Plays the scenario under the tracer or under strace, on whatever file system a directory is on.

    watched.py tracer|strace DIRECTORY LIST

What the watcher saw goes to LIST. Exit status 77 where strace is not allowed to work here.
"""

import os
import pathlib
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parent)]
from scenario import Stage  # noqa: E402
from support.agent import binary, environment  # noqa: E402
from sweep import TRACER  # noqa: E402


def main():
    watcher, directory, out = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    os.environ["OUTTRAY"] = "build-crash/outtray"
    directory.mkdir()
    if watcher == "strace":
        probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True)
        if probe.returncode:
            print(f"strace does not work here: {probe.stderr.strip()}")
            return 77
        front = ["strace", "-f", "-y", "-qq", "-s", "4096", "-o", out, "--"]
    else:
        front = [str(TRACER), "--below", str(directory / "disk"), "--list", out, "--"]
    stage = Stage(directory)
    try:
        stage.populate()
        stage.reset()
        with open(stage.agent.output, "ab") as log:
            # strace is slow, and ends itself by the signals that are meant for what it watches.
            process = subprocess.Popen([*front, binary(), "run", "--config", str(stage.config.path)], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, env=environment(stage.clock), cwd=directory)
        try:
            assert stage.play(lambda: process.poll() is not None), stage.agent.log_text()
            os.kill(stage.pid(), 15)
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
