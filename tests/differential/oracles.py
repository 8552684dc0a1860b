"""The other parsers, and how their results are compared with outtray's.

A result is a list of (name, address) pairs, or None where the parser gives no usable list: an error, a defect it reports as
such, or an address without "@" (outtray takes none, so it calls the whole list an error).
"""

import email
import email.header
import email.headerregistry
import email.parser
import email.policy
import email.utils
import json
import os
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def build(directory):
    """Builds both drivers. The parser is compiled from the tree as it is, with the sanitizers."""
    sources = [ROOT / "spool-format" / f"{name}.c" for name in ("address", "address_lex", "address_parse", "address_spec", "header")]
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}", *SANITIZE]
    compiler = os.environ.get("CC", "gcc")
    subprocess.run([compiler, *flags, "-o", directory / "outtray", HERE / "parse_outtray.c", *sources], check=True)
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "gmime-3.0"], capture_output=True, text=True, check=True)
    subprocess.run([compiler, "-O1", "-o", directory / "gmime", HERE / "parse_gmime.c", *found.stdout.split()], check=True)


def run(program, kind, entries):
    """What a driver prints for each entry (bytes)."""
    text = "".join(f"{kind} {entry.hex()}\n" for entry in entries)
    result = subprocess.run([program], input=text, capture_output=True, text=True, timeout=300, check=True)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == len(entries)
    return lines


def decode(text):
    """Octets as the drivers print them, to text."""
    return text.encode("latin-1").decode("utf-8", "replace")


def name(text):
    """A display name for comparison: encoded words decoded, control characters and runs of blanks one blank."""
    if "=?" in text:
        try:
            text = str(email.header.make_header(email.header.decode_header(text)))
        except (LookupError, ValueError, email.errors.HeaderParseError):
            pass
    return re.sub(r"[\x00-\x20\x7f]+", " ", text).strip()


def address(text):
    """An address for comparison: quotes of the local part only where it needs them, as outtray writes it."""
    local, at, domain = text.rpartition("@")
    if at and '"' in local:
        quoted = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
        content = quoted.sub(lambda m: re.sub(r"\\(.)", r"\1", m[1], flags=re.S), local)
        atom = r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
        plain = re.fullmatch(rf"{atom}(\.{atom})*", content)
        local = content if plain else '"' + re.sub(r'(["\\])', r"\\\1", content) + '"'
    return local + at + domain


def usable(pairs):
    if any("@" not in a or a.startswith("@") or a.endswith("@") for _, a in pairs):
        return None
    return [[name(n), address(a)] for n, a in pairs]


def outtray(result):
    return [[name(decode(n)), decode(a)] for n, a in result["list"]] if "list" in result else None


def gmime(result):
    return usable([(decode(n), decode(a)) for n, a in result["list"]]) if "list" in result else None


def same(ours, theirs):
    """No list and an empty list are one: of these parsers only outtray tells them apart."""
    return ours == theirs or (not ours and not theirs)


def unfold(value):
    return re.sub(rb"[\r\n]+", b"", value)


def python_utils(value):
    """email.utils.getaddresses, Python's old parser."""
    text = unfold(value).decode("utf-8", "surrogateescape")
    try:
        pairs = email.utils.getaddresses([text], strict=False)
    except TypeError:  # a Python without the strict mode, which refuses most of what is unusual here
        pairs = email.utils.getaddresses([text])
    return usable([pair for pair in pairs if pair != ("", "")])


def python_policy(value):
    """email.headerregistry, Python's new parser."""
    text = unfold(value).decode("utf-8", "surrogateescape")
    factory = email.headerregistry.HeaderRegistry()
    try:
        header = factory("To", text)
        found = header.addresses
        groups = header.groups
    except (IndexError, ValueError, AttributeError, email.errors.HeaderParseError):
        return None
    if not found and not any(group.display_name for group in groups):
        return None
    return usable([(a.display_name, a.addr_spec) for a in found])


ORACLES = {"utils": python_utils, "policy": python_policy}


def field(key, value):
    """A field for comparison: the value without line ends, outer blanks and NULs."""
    return [key, re.sub(r"[\r\n]", "", value).replace("\0", " ").strip(" \t")]


def lines(text):
    """A body for comparison, with one kind of line end."""
    return re.sub(r"\r\n|\r", "\n", text)


def outtray_block(result, data):
    fields = [field(key, value) for key, value in result["fields"]]
    return {"fields": fields, "body": lines(data[result["body"] :].decode("latin-1"))}


def python_block(data):
    """By email.parser, with the fields as they stand."""
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(data)
    back = lambda text: text.encode("ascii", "surrogateescape").decode("latin-1")  # noqa: E731
    fields = [field(back(key), back(value)) for key, value in message._headers]
    return {"fields": fields, "body": lines(back(message._payload or ""))}


def gmime_block(result):
    """Only the fields: GMime does not tell where a body starts that no empty line precedes."""
    return {"fields": [field(key, value) for key, value in result["fields"]]} if "fields" in result else None
