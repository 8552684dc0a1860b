"""Calls that fail: an even sample of what `make fault` plays whole, always the same one, and what was found by it.

Each play is one scenario with one fault (play.py); what is checked is written there.
"""

import concurrent.futures
import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from play import Fault  # noqa: E402

SAMPLE = 90
JOBS = 2

pytestmark = pytest.mark.xdist_group("fault")


@pytest.fixture(scope="session")
def sweep():
    """The module behind tests/fault/sweep, with the program that it plays built."""
    made = subprocess.run(["make", "-j2", "fault-build"], cwd=ROOT, text=True, capture_output=True)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    loader = importlib.machinery.SourceFileLoader("sweep", str(HERE / "sweep"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("sweep", loader))
    loader.exec_module(module)
    return module


def play(sweep, faults):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(sweep.judge, faults))
    bad = [result for result in results if result["problems"]]
    assert not bad, "\n\n".join(f"tests/fault/sweep {r['fault']}\n" + "\n".join(r["problems"])[:4000] for r in bad[:3])
    return results


def test_sample(sweep):
    wanted = list(sweep.faults())
    results = play(sweep, [wanted[i * len(wanted) // SAMPLE] for i in range(SAMPLE)])
    # A few come too late for a scenario that ends a little sooner than usual.
    assert sum(bool(result["injected"]) for result in results) > 0.9 * SAMPLE, [r["fault"] for r in results if not r["injected"]]
    assert any(result["latched"] for result in results) and not all(result["latched"] for result in results)


def test_recovery_cannot_look(sweep):
    """A claimed file that cannot be looked at: recovery is tried again. It was left in cur/ for good."""
    results = play(sweep, [Fault("own", "fstatat", error, n) for error in (5, 12) for n in range(1, 5)])
    met = [result["fault"] for result in results if "cur/main/claimed" in result["where"][0]]
    assert {fault.split(":")[2] for fault in met} == {"5", "12"}, met


def test_no_sync_after_a_failed_one(sweep):
    """The first fsync of the filing desk that fails is its last. Another directory of the batch used to be synced."""
    results = play(sweep, [Fault("own", "fsync", 5, n) for n in range(2, 20, 2)])
    assert sum(result["latched"] for result in results) >= 3


def test_short_of_memory(sweep):
    """A short moment without memory fails no message and tells no recipient served who was not. Both happened: where the
    tenant's From was read in it, and where the reply to RCPT was to be kept."""
    results = play(sweep, [Fault("own", "alloc", 12, n, n + 2) for n in range(540, 650, 5)])
    assert sum(bool(result["injected"]) for result in results) > len(results) * 0.9
