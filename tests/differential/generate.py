"""Address lists and header blocks from a fixed seed, each with what it was made from: the truth that every parser has to find.

An entry also names the parsers that cannot be asked, for a reason that the tables of the hand-written corpus explain (a
comment somewhere, say).
"""

import random

SEED = 20261123
ATOMS = ["John", "jane", "O'Brien", "x", "Q.", "A+B", "a_b", "100%", "J\u00f6rg", "\u20ac", "\u65e5\u672c", "\U0001f600"]
QUOTED = ["Doe, John", "a;b", "a:b", "a <b@example.org>", "(no comment)", "it's", 'the "boss"', "back\\slash", "[x]", "a@b", "  two  blanks ", "J\u00f6, R"]
WORDS = {"=?utf-8?q?J=C3=B6rg_D?=": "J\u00f6rg D", "=?utf-8?b?SsO2cmc=?=": "J\u00f6rg", "=?iso-8859-1?q?M=FCller=2C_K?=": "M\u00fcller, K", "=?utf-8?q?a=3Cb=40c=3E?=": "a<b@c>"}
LOCALS = ["a", "john.doe", "x+tag", "o'brien", "first.middle.last", "!#$%&'*+-/=?^_`{|}~", "123", "J", "a-b"]
QUOTED_LOCALS = ["john doe", "a,b", "a@b", 'a"b', "a\\b", "a>b", "(a)", "a;b:c"]
DOMAINS = ["example.net", "sub.example.org", "a-b.example", "localhost", "x.y.z.example", "EXAMPLE.com", "1.example"]
LITERALS = ["[192.0.2.1]", "[IPv6:2001:db8::1]"]
COMMENTS = ["(work)", "(a, b)", "(nested (one))", "(escaped \\) one)", "()"]
BLANKS = [" ", "  ", "\r\n ", "\r\n\t", "\n "]


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def mailbox(rng, skip):
    """One mailbox: its text, its name and its address."""
    blank = lambda: rng.choice(BLANKS)  # noqa: E731
    domain = rng.choice(DOMAINS) if rng.random() < 0.9 else rng.choice(LITERALS)
    if rng.random() < 0.15:
        text = quote(rng.choice(QUOTED_LOCALS)) + "@" + domain
    else:
        text = rng.choice(LOCALS) + "@" + domain
    address = text
    kind = rng.choice(["none", "none", "brackets", "atoms", "atoms", "quoted", "quoted", "word", "comment", "behind"])
    if kind == "none":
        return text, "", address
    if kind == "brackets":
        return f"<{text}>", "", address
    if kind == "behind":
        skip |= {"policy"}
        return f"{text} (John Doe)", "John Doe", address
    if kind == "atoms":
        words = [rng.choice(ATOMS) for _ in range(rng.randint(1, 3))]
        phrase, shown = blank().join(words), " ".join(words)
    elif kind == "quoted":
        shown = rng.choice(QUOTED)
        phrase = quote(shown)
    elif kind == "word":
        phrase, shown = rng.choice(sorted(WORDS.items()))
    else:
        skip |= {"utils"}
        phrase = shown = "John Doe"
        text = text + rng.choice(COMMENTS)
    return f"{phrase}{blank()}<{text}>", " ".join(shown.split()), address


def address_list(rng):
    """A list: its octets, the pairs in it, and the parsers not to ask."""
    skip, pieces, pairs = set(), [], []
    for _ in range(rng.randint(1, 4)):
        group = rng.random() < 0.15
        members = [mailbox(rng, skip) for _ in range(rng.randint(0 if group else 1, 3))]
        text = rng.choice([",", ", ", ",\r\n ", " , ", ",\n\t"]).join(member[0] for member in members)
        pieces.append(f"{rng.choice(['G', 'A Group', quote('G, x')])}:{rng.choice(['', ' '])}{text};" if group else text)
        pairs += [[name, address] for _, name, address in members]
    text = rng.choice([", ", ",", ",\r\n\t"]).join(pieces)
    return text.encode(), pairs, skip


def block(rng):
    """A message: its octets, the fields in it (name and unfolded value) and its body."""
    end = rng.choice(["\n", "\r\n", "\n", "\r\n", None])  # None: mixed
    line = lambda: end or rng.choice(["\n", "\r\n"])  # noqa: E731
    text, fields = "", []
    if rng.random() < 0.1:
        text = "From a@example.net Mon Nov 23 15:04:05 2026" + line()
    for _ in range(rng.randint(1, 12)):
        name = rng.choice(["From", "To", "cc", "BCC", "Subject", "X-Receiver", "X-Y_z", "Received", "x", "List-Id", "!#$%&'*+-.^_`|~"])
        parts = [rng.choice(["a@example.net,", "b", "", "x: y", "J\u00f6", "=?utf-8?q?x?=", "  ", "(c"]) for _ in range(rng.randint(1, 3))]
        value = parts[0]
        shown = parts[0]
        for part in parts[1:]:
            fold = rng.choice([" ", "\t", "  "])
            value += line() + fold + part
            shown += fold + part
        text += f"{name}:{rng.choice(['', ' ', chr(9), '  '])}{value}{line()}"
        fields.append([name, shown.strip(" \t")])
    body = rng.choice(["", "text\n", "a: b\n\nc\n", " x\n", "J\u00f6\n", ".\n..\n", "no line end"])
    return (text + line() + body).encode(), fields, body


def lists(n):
    rng = random.Random(SEED)
    return [address_list(rng) for _ in range(n)]


def blocks(n):
    rng = random.Random(SEED + 1)
    return [block(rng) for _ in range(n)]
