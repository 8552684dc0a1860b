"""The soak and the simulated day in their short form; `make soak` runs the long one."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def directory(tmp_path):
    """In memory where that is possible: what a killed process leaves does not depend on the disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    made = tempfile.mkdtemp(prefix="outtray-soak-test.", dir="/dev/shm")
    yield pathlib.Path(made)
    shutil.rmtree(made)


def soak(directory, *arguments):
    assert os.access(ROOT / "build-crash/outtray", os.X_OK), "run `make crash-build` first"
    record = directory / "figures.json"
    done = subprocess.run([sys.executable, str(ROOT / "tests/soak/run.py"), "--directory", str(directory), "--record", str(record),
                           *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stdout[-6000:]
    return json.loads(record.read_text())


def test_killed_under_load(directory):
    figures = soak(directory, "--no-day", "--messages", "16000", "--kills", "16", "--gap", "0.2", "1.2", "--steady", "6000")
    assert figures["kills"] == 16 and figures["submitted"] == 22000
    assert figures["sent"] + figures["failed"] == figures["submitted"] and figures["waiting"] == 0


def test_a_day_of_backoff(directory):
    figures = soak(directory, "--only-day")["day"]
    assert figures["simulated_hours"] >= 48 and figures["waits_in_minutes"][-1] == 240
