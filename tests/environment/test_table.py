"""Holds docs/BAD-INPUT.md to the tree: every input that has to be there has its row, and every test it names exists."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "BAD-INPUT.md"
FILES = {"Spool": ["tests/environment/test_environment.py"],
         "Environment": ["tests/environment/test_environment.py", "tests/fault/test_unreadable.py"],
         "Server": ["tests/oauth/test_agent.py"]}

INPUTS = {
    "Spool": """symlink; dangling symlink; symlink to a directory; hard link to another tenant's file; FIFO; socket; device; directory;
        1 TiB sparse file; empty; over the limit; grows while read; truncated while read; writer still open after the claim;
        mode 0000; wrong owner; name with newline; name with ESC; name with invalid UTF-8; name of 255 bytes; name `-rf`;
        name `:2,S`; name `%s%n`; name already in sent/; same name in two tenants; vanishes before the claim;
        sent/ on another file system (EXDEV)""",
    "Environment": """new/ renamed; new/ deleted; new/ replaced by a symlink; unmounted; overmounted; remounted read-only;
        a disk that fails at fsync (EIO); one file that cannot be read (EIO); ENOSPC; EDQUOT; EMFILE; inotify overflow; no inotify instance left; clock + 1 year;
        clock - 1 year; resume after 12 h; a second agent with the same name""",
    "Content": """bare LF; bare CR; LF.LF; LF.CRLF; CRLF.LF; CR.CR; lone dot; leading dots; no final newline; NUL in header;
        NUL in body; line of 998; line of 999; line of 1 MiB; 8-bit without 8BITMIME; UTF-8 header without SMTPUTF8;
        UTF-8 local part; no separator; headers only; body only; mbox From line; 10 MiB header; 100k header lines; folded From;
        two Froms; no From; group From; quoted > in From; encoded word hiding CRLF; From :; fold on the first line;
        tenant value with CRLF; forged Sender; Resent-*; Bcc present; duplicate Message-ID; no Date;
        DKIM-Signature on a rewritten From""",
    "Envelope": """CR in an address; LF in an address; NUL in an address; space inside; `<` or `>` inside; local part of 65;
        domain of 256; IDN; address literal; no recipients; 100k recipients; duplicate recipients""",
    "Server": """endless line; endless continuation; 1 byte/s; mixed codes in one reply; non-numeric code; 999; NUL in a reply;
        ESC in a reply; extra bytes after 220 STARTTLS; extra bytes after 235; STARTTLS missing; AUTH only before TLS; SIZE 2^64;
        SIZE 0; huge EHLO; all RCPT refused but 354; mixed RCPT results; 421 mid-session; close after 354; RST after the dot;
        silence after the dot; 250 at 599 s; premature 250; XOAUTH2 334 then 535; endless 334; expired certificate;
        wrong-name certificate; missing close_notify; zero window""",
}


def rows():
    """(chapter, input, tests, what is seen) of each row."""
    chapter = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            chapter = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 3 and cells[0] != "input" and not set(cells[0]) <= {"-"}:
            yield (chapter, *cells)


def exists(chapter, name):
    if name.startswith("test_"):
        return any(re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.M) for file in FILES[chapter])
    return (ROOT / "tests" / "cases" / f"{name}.case").exists()


@pytest.mark.parametrize("chapter", INPUTS)
def test_every_input_has_a_row(chapter):
    wanted = [" ".join(words.split()) for words in INPUTS[chapter].split(";")]
    assert [row[1] for row in rows() if row[0] == chapter] == wanted


def test_every_test_exists():
    missing = [(row[1], name) for row in rows() for name in row[2].split(", ") if not exists(row[0], name)]
    assert not missing
    assert all(row[3] for row in rows())
