"""Reads the agent's log lines: key=value, values quoted where needed, with backslash escapes inside the quotes."""

import re

_PAIR = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?:\s+|$)')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t"}


def _unescape(match):
    code = match.group(1)
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _SIMPLE.get(code, code)


def parse(line):
    """A dict of strings, or None where the line is not logfmt from start to end."""
    line = line.rstrip("\n")
    at, pairs = 0, {}
    while at < len(line):
        match = _PAIR.match(line, at)
        if match is None:
            return None
        pairs[match.group(1)] = _ESCAPE.sub(_unescape, match.group(2)) if match.group(2) is not None else match.group(3)
        at = match.end()
    return pairs or None
