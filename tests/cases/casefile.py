"""Scenario files: one promise each, as a person would tell it.

A `.case` file starts with a comment that says which promise it holds the agent to, followed by sections. A section
starts with a line `== NAME ARGUMENTS`; what follows, up to the next such line, is its text.

== config                 YAML merged into the base configuration of runner.py (null removes a key). $PORT, $PORT2, $TMP,
                          $CERTS and $PIN (of the good certificate's key) are filled in.
== message PATH [OPTION…] a file of the spool, PATH below the spool root. Lines end in LF; `crlf` makes them CRLF, `expr` takes the
                          text as a Python expression that gives bytes. mtime=-60 (seconds from now, the default) or
                          mtime=2026-01-02T03:04:05Z; mode=0640; `later` waits for the step `put PATH`.
== file PATH [OPTION…]    the same below the scenario's own directory, and not counted as a message. $INODE(PATH) and $SIZE(PATH)
                          name a message of the spool.
== server [2] [OPTION…]   what the server at $PORT (or $PORT2) does: see smtpserver.py. Without any, everything is accepted.
== steps                  one line each: see runner.py. Without any: `once -> 0`.
== dialogue               what the server must have read, in order: commands with * for any text; `conn N` starts the next
                          connection. RSET, NOOP and QUIT are never compared; EHLO, STARTTLS and AUTH only where a connection's
                          block names them. Parameters of MAIL and RCPT stand in any order, more than those named are fine, and
                          !NAME forbids one.
== accepted               the recipients of every transaction the server said 2xx to, one per line, comma separated, in any order.
== received N             of the N-th accepted message (or: the one for ADDRESS): `has FIELD: TEXT` (a field, unfolded; * is any
                          text), `no FIELD`, `one FIELD` (exactly one), `body EXPR`, `all EXPR` (Python bytes), `ends EXPR`,
                          `lacks TEXT`, `ascii` (no octet above 127 in the header), `decoded FIELD: TEXT` (after RFC 2047),
                          `same FIELD N` (as in the N-th body the server ever read), `date-of PATH` (Date is that message's submission time), `order A B` (field A before B), `within N` (it was among the first N
                          that were accepted).
== spool                  every file of the spool at the end, and nothing else (.agents and empty directories aside). The
                          runner checks by itself that each message kept its bytes and its mtime.
== status PATH            of PATH.status: a YAML mapping that must be part of it. Text may hold *; `attempts: 2` counts; `next_in: 60`
                          is the time from the last attempt to the next, in seconds, with a tolerance of 2.
== log                    one line per expectation: `key=pattern …` must match a log line; `no key=pattern …` must match none;
                          `2x key=pattern …` exactly two; the key `any` stands for every key.
== metrics                `SERIES VALUE` lines that STATE/metrics.prom must hold (labels in any order).
== json                   YAML that must be part of STATE/status.json.
"""

import dataclasses
import pathlib
import re


@dataclasses.dataclass
class Section:
    name: str
    args: list
    text: str
    line: int


class Case:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.name = self.path.stem
        self.about = ""
        self.sections = []
        self._parse(self.path.read_text(encoding="utf-8"))

    def _parse(self, text):
        about, current = [], None
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            match = re.match(r"== (\S+)(?: (.*))?$", line.rstrip("\n"))
            if match:
                if match[1] not in SECTIONS:
                    raise ValueError(f"{self.path}:{number}: no section is called {match[1]}")
                current = Section(match[1], (match[2] or "").split(), "", number)
                self.sections.append(current)
            elif current is None:
                about.append(line.lstrip("# "))
            else:
                current.text += line
        self.about = "".join(about).strip()
        if not self.about:
            raise ValueError(f"{self.path}: the comment that says which promise this is about is missing")

    def all(self, name):
        return [s for s in self.sections if s.name == name]

    def lines(self, name):
        """The lines of all sections of that name, without comments and empty ones; None where there is no such section."""
        found = self.all(name)
        if not found:
            return None
        return [line for s in found for line in section_lines(s)]


SECTIONS = {"config", "message", "file", "server", "steps", "dialogue", "accepted", "received", "spool", "status", "log",
            "metrics", "json"}


def section_lines(section):
    lines = (line.strip() for line in section.text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def expression(text):
    """Bytes written as a Python expression: what a quoted string cannot say briefly, such as b"x" * 998."""
    value = eval(text.strip(), {"__builtins__": {}}, {"range": range, "str": str, "bytes": bytes, "len": len})
    return value.encode() if isinstance(value, str) else value


def glob(pattern, text):
    """Whether text is pattern, where * stands for any text and everything else for itself."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.S) is not None


def seconds(text):
    """+5m, 30s, 2h, 1d or a bare number."""
    match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise ValueError(f"not a duration: {text}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
