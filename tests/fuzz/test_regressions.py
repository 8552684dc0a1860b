"""Runs every input of the corpora and every input that once broke a promise through its fuzz target, once."""

import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.c"))

# One build for all of them, and one worker.
pytestmark = pytest.mark.xdist_group("fuzz")


@pytest.fixture(scope="session")
def build():
    """The directory of the programs, built here."""
    compiler = os.environ.get("FUZZ_CC", "clang")
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here: libFuzzer comes with clang")
    probe = subprocess.run(
        [compiler, "-fsanitize=fuzzer,address", "-x", "c", "-", "-o", "/dev/null"],
        input="int LLVMFuzzerTestOneInput(const char *d, unsigned long n);"
        "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }",
        text=True,
        capture_output=True,
    )
    if probe.returncode:
        pytest.skip(f"{compiler} has no libFuzzer here (Debian: libclang-rt-14-dev)")
    made = subprocess.run(
        ["make", "-j2", "fuzz-build", f"FUZZ_CC={compiler}"], cwd=ROOT, text=True, capture_output=True
    )
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    return ROOT / "build-fuzz" / "fuzz"


@pytest.mark.parametrize("target", TARGETS)
def test_inputs(build, target, tmp_path):
    inputs = [
        str(path)
        for kind in ("corpus", "regressions")
        for path in sorted((HERE / kind / target).glob("*"))
        if path.is_file()
    ]
    assert inputs, "a target without a corpus"
    run = subprocess.run(
        [str(build / target), "-rss_limit_mb=1024", "-timeout=20", *inputs],
        cwd=tmp_path,
        text=True,
        errors="replace",
        capture_output=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert run.stderr.count("Executed ") == len(inputs)
