"""outtray's parsers of addresses and header blocks against Python's email package and GMime.

/usr/bin/python3 -m pytest tests/differential

The corpus is written by hand (corpus_*.txt, with a table of the deviations and their reasons) and generated from a fixed
seed (generate.py, with the truth). A deviation that is not listed fails, and so does a listed one that is none.
"""

import re
import shutil
import subprocess
from pathlib import Path

import generate
import oracles
import pytest

HERE = Path(__file__).resolve().parent
GENERATED = 400  # of each kind


def unescape(line):
    one = lambda m: {"r": "\r", "n": "\n", "t": "\t"}.get(m[1]) or (chr(int(m[1][1:], 16)) if len(m[1]) > 1 else m[1])  # noqa: E731
    return re.sub(r"\\(x[0-9a-f]{2}|.)", one, line).encode("latin-1")


def read_corpus(path):
    """(line, octets, {parser: reason}) for each entry, and the reasons that the table at the top explains."""
    entries, reasons, in_table = [], set(), False
    for line in path.read_text(encoding="ascii").splitlines():
        deviation = re.fullmatch(r" +! (\w+) ([\w-]+)", line)
        if deviation:
            entries[-1][2][deviation[1]] = deviation[2]
        elif line == "#" or line.startswith("# "):
            in_table = in_table or line.startswith("# ----")
            row = re.match(r"# ([\w-]+) +[A-Z]", line) if in_table else None
            reasons |= {row[1]} if row else set()
        else:
            in_table = False
            entries.append((line, unescape(line), {}))
    return entries, reasons


LISTS, LIST_REASONS = read_corpus(HERE / "corpus_lists.txt")
BLOCKS, BLOCK_REASONS = read_corpus(HERE / "corpus_blocks.txt")


@pytest.fixture(scope="session")
def drivers(tmp_path_factory):
    if subprocess.run(["pkg-config", "--exists", "gmime-3.0"], check=False).returncode != 0 or shutil.which("gcc") is None:
        pytest.skip("gcc or GMime (libgmime-3.0-dev) is not installed")
    directory = tmp_path_factory.mktemp("drivers")
    oracles.build(directory)
    return directory


def parse_lists(drivers, entries):
    """For each entry what outtray finds and what each of the others does."""
    ours = oracles.run(drivers / "outtray", "L", entries)
    gmimes = oracles.run(drivers / "gmime", "L", entries)
    for entry, our, gmime in zip(entries, ours, gmimes):
        theirs = {"gmime": oracles.gmime(gmime), "utils": oracles.python_utils(entry), "policy": oracles.python_policy(entry)}
        yield oracles.outtray(our), theirs


def parse_blocks(drivers, entries):
    ours = oracles.run(drivers / "outtray", "B", entries)
    gmimes = oracles.run(drivers / "gmime", "B", entries)
    for entry, our, gmime in zip(entries, ours, gmimes):
        yield oracles.outtray_block(our, entry), {"gmime": oracles.gmime_block(gmime), "email": oracles.python_block(entry)}


def same_block(ours, theirs):
    return theirs is not None and all(theirs[part] == ours[part] for part in theirs)


def compare(entries, results, same):
    """The surprises: deviations that are not listed, and listed ones that are none."""
    surprises = []
    for (line, _, listed), (ours, theirs) in zip(entries, results, strict=True):
        for parser, their in theirs.items():
            if same(ours, their) == (parser in listed):
                what = "deviates" if parser not in listed else "no longer deviates"
                surprises.append(f"{line}\n    {parser} {what}\n    ours   {ours}\n    theirs {their}")
    return surprises


def test_corpus_is_large_and_explained():
    assert len(LISTS) + len(BLOCKS) >= 350
    assert len(LISTS) + len(BLOCKS) + 2 * GENERATED >= 500
    assert len({line for line, _, _ in LISTS}) == len(LISTS)
    assert len({line for line, _, _ in BLOCKS}) == len(BLOCKS)
    for entries, reasons, parsers in ((LISTS, LIST_REASONS, {"gmime", "utils", "policy"}), (BLOCKS, BLOCK_REASONS, {"gmime", "email"})):
        assert {reason for _, _, listed in entries for reason in listed.values()} == reasons
        assert {parser for _, _, listed in entries for parser in listed} <= parsers


def test_lists(drivers):
    surprises = compare(LISTS, parse_lists(drivers, [octets for _, octets, _ in LISTS]), oracles.same)
    assert not surprises, "\n".join(surprises)


def test_blocks(drivers):
    surprises = compare(BLOCKS, parse_blocks(drivers, [octets for _, octets, _ in BLOCKS]), same_block)
    assert not surprises, "\n".join(surprises)


def test_generated_lists(drivers):
    entries = generate.lists(GENERATED)
    asked = 0
    for (octets, truth, skip), (ours, theirs) in zip(entries, parse_lists(drivers, [entry[0] for entry in entries]), strict=True):
        assert ours == truth, octets
        for parser, their in theirs.items():
            if parser not in skip:
                asked += 1
                assert oracles.same(ours, their), (parser, octets, ours, their)
    assert asked > 2 * GENERATED  # most of them were asked


def test_generated_blocks(drivers):
    entries = generate.blocks(GENERATED)
    for (octets, fields, body), (ours, theirs) in zip(entries, parse_blocks(drivers, [entry[0] for entry in entries]), strict=True):
        truth = [oracles.field(name, value.encode().decode("latin-1")) for name, value in fields]
        assert ours == {"fields": truth, "body": body.encode().decode("latin-1")}, octets
        for parser, their in theirs.items():
            assert same_block(ours, their), (parser, octets, ours, their)
