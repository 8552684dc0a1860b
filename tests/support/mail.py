"""Messages for the tests: generated from a seed, with what has to come out at the other end.

corpus() gives a list of Message; arrived() and compare() hold what a server received against it.
"""

import base64
import dataclasses
import email.header
import email.parser
import email.policy
import email.utils
import hashlib
import random

SERIAL = "X-Test-Serial"
DOMAIN = "interop.example"


@dataclasses.dataclass
class Sender:
    """A tenant: its name in the spool, and the From its messages have to carry."""
    tenant: str
    address: str
    display: str | None  # None: the message's own display name is kept


@dataclasses.dataclass
class Message:
    serial: int
    sender: Sender
    data: bytes          # the file as a producer writes it
    recipients: list     # who has to get it
    subject: str
    display: str         # of the From in the file
    body: str            # digest of the normalized body
    reference: str       # digest of the headers that nobody may touch
    name: str = ""       # in the spool; set by whoever drops it
    refused: list = dataclasses.field(default_factory=list)  # recipients in the file that the server is to refuse


def normalize(body):
    """Line ends to LF, one at the end: what RFC 5321 lets a mail system change."""
    body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return body if not body or body.endswith(b"\n") else body + b"\n"


def split(data):
    """(header block, body) of a message with any line ends."""
    ends = [(at, length) for mark, length in ((b"\n\n", 2), (b"\r\n\r\n", 4), (b"\n\r\n", 3)) if (at := data.find(mark)) >= 0]
    if not ends:
        return data, b""
    at, length = min(ends)
    return data[:at], data[at + length:]


def headers(block):
    """[(name, value)] of a header block in its order, unfolded but otherwise as it stands."""
    found = []
    for line in normalize(block).split(b"\n"):
        if line[:1] in (b" ", b"\t") and found:
            found[-1][1] += b"\n" + line
        elif line:
            name, _, value = line.partition(b":")
            found.append([name.decode("ascii", "replace"), value])
    return [(name, value.strip().decode("utf-8", "surrogateescape")) for name, value in found]


def digest(data):
    return hashlib.sha256(data).hexdigest()


REFERENCE = ("MIME-Version", "Content-Type", "Content-Transfer-Encoding", "X-Folded", "References")


def reference(fields):
    """Digest of the headers that no hop may change, folding included."""
    kept = [f"{name}: {value}" for name, value in fields if name in REFERENCE]
    return digest("\n".join(kept).encode("utf-8", "surrogateescape"))


# Bodies. Each takes the generator and a size to aim at, and returns (headers, body with LF).

def _words(rng, length):
    letters = "abcdefghijklmnopqrstuvwxyz      .,-0123456789"
    return "".join(rng.choices(letters, k=length)).encode()


def _plain(rng, size):
    lines, left = [], size
    while left > 0:
        line = _words(rng, min(left, rng.randint(0, 78)))
        lines.append(line)
        left -= len(line) + 1
    return [], b"\n".join(lines) + b"\n"


def _dots(rng, size):
    starts = [b".", b"..", b"...", b".text", b". ", b"..text", b"From here", b">From", b"", b"QUIT", b".\t"]
    lines, left = [], size
    while left > 0:
        line = rng.choice(starts) + (_words(rng, rng.randint(0, 40)) if rng.random() < 0.4 else b"")
        lines.append(line)
        left -= len(line) + 1
    return [], b"\n".join(lines) + b"\n"


def _eight_bit(rng, size):
    samples = ["Grüße aus Köln", "naïve café", "Привет", "日本語のテスト", "€ 100,00"]
    lines, left = [], size
    while left > 0:
        line = rng.choice(samples).encode() + b" " + _words(rng, rng.randint(0, 40))
        lines.append(line)
        left -= len(line) + 1
    return [("MIME-Version", "1.0"), ("Content-Type", "text/plain; charset=utf-8"), ("Content-Transfer-Encoding", "8bit")], \
        b"\n".join(lines) + b"\n"


def _long_lines(rng, size):
    lines, left = [], size
    while left > 0:
        line = _words(rng, rng.choice((996, 997, 998, 500, 79))).replace(b" .", b"..")
        lines.append(line)
        left -= len(line) + 1
    return [], b"\n".join(lines) + b"\n"


def _attachment(rng, size):
    boundary = f"=_{rng.getrandbits(64):016x}"
    octets = rng.randbytes(max(1, size * 3 // 4 - 300))
    encoded = base64.encodebytes(octets).rstrip(b"\n")
    body = (f"--{boundary}\nContent-Type: text/plain; charset=us-ascii\n\nSee the recording.\n.\n--{boundary}\n"
            "Content-Type: audio/x-wav; name=\"message.wav\"\nContent-Transfer-Encoding: base64\n"
            "Content-Disposition: attachment;\n filename=\"message.wav\"\n\n").encode() + encoded + \
        f"\n--{boundary}--\n".encode()
    return [("MIME-Version", "1.0"), ("Content-Type", f"multipart/mixed;\n boundary=\"{boundary}\"")], body


KINDS = (_plain, _dots, _eight_bit, _long_lines, _attachment)


def _line_ends(rng, data, style):
    if style == "lf":
        return data
    if style == "crlf":
        return data.replace(b"\n", b"\r\n")
    lines = data.split(b"\n")
    return b"".join(line + rng.choice((b"\n", b"\r\n")) for line in lines[:-1]) + lines[-1]


def make(rng, serial, sender, size, refused=None):
    """One message. Its recipients come from To, Cc and Bcc, or from X-Receiver lines."""
    people = [f"user{rng.randint(0, 40)}.{serial}@{DOMAIN}" for _ in range(4)]
    to, cc, bcc = [people[0]], [], []
    if rng.random() < 0.3:
        cc.append(people[1])
    if rng.random() < 0.4:
        bcc.append(people[2])
    if refused:
        (to if rng.random() < 0.5 else bcc).insert(0, refused)
    # Somebody named twice gets one copy.
    recipients = list(dict.fromkeys(address for address in to + cc + bcc if address != refused))
    display = rng.choice(("", "PBX Robot", "Alice Example", "O'Neil, \\\"Q\\\" Pat"))
    subject = rng.choice(("Voicemail from 100", "Fax report", "Grüße 你好", "a: b; <c>", "x" * 60)) + f" {serial}"

    fields = []
    envelope = rng.random() < 0.25
    if envelope:
        # The pickup convention: these lines and nothing else say who gets it.
        fields.append(("X-Sender", f"<producer{serial}@local.example>"))
        fields += [("X-Receiver", f"<{address}>") for address in ([refused] if refused else []) + recipients]
    if rng.random() < 0.3:
        fields.append(("Received", "from pbx (localhost [127.0.0.1])\n\tby pbx.example.com; Mon, 23 Nov 2026 10:00:00 +0000"))
    fields.append(("From", f'"{display}" <author{serial}@local.example>' if display else f"author{serial}@local.example"))
    fields.append(("To", ", ".join(to)))
    if cc:
        fields.append(("Cc", ",\n ".join(cc)))
    if bcc:
        fields.append(("Bcc", ", ".join(bcc)))
        if rng.random() < 0.2:
            fields.append(("Bcc", "") if envelope else ("bcc", bcc[0]))
    fields.append(("Subject", subject))
    if rng.random() < 0.8:
        fields.append(("Message-ID", f"<{serial}.{rng.getrandbits(48):x}@local.example>"))
    if rng.random() < 0.8:
        fields.append(("Date", email.utils.formatdate(1764000000 + serial)))
    if rng.random() < 0.3:
        fields.append(("X-Folded", "one\n two\n\tthree"))
    if rng.random() < 0.1:
        fields.append(("X-Outtray-Priority", "high"))
    fields.append((SERIAL, str(serial)))

    kind = rng.choice(KINDS) if size <= 1 << 20 else _attachment
    more, body = kind(rng, size)
    fields += more
    if rng.random() < 0.1:
        body = body.rstrip(b"\n")
    elif rng.random() < 0.1:
        body += b"\n\n"
    block = "".join(f"{name}: {value}\n" for name, value in fields).encode()
    style = rng.choices(("lf", "crlf", "mixed"), (6, 3, 1))[0]
    data = _line_ends(rng, block + b"\n" + body, style)
    return Message(serial, sender, data, recipients, subject, display.replace("\\", ""), digest(normalize(body)),
                   reference(headers(block)), refused=[refused] if refused else [])


def corpus(senders, seed, small=950, medium=45, large=5, refused=0):
    """The messages of an interop run in a random order: small ≤ 16 kB, medium ≤ 1 MB, large 10 MB; `refused` more of them
    have one recipient that the server refuses."""
    rng = random.Random(seed)
    sizes = [rng.randint(0, 15000) for _ in range(small)] + [rng.randint(16 << 10, 1000 << 10) for _ in range(medium)] + \
        [10 << 20] * large
    plan = [(size, False) for size in sizes] + [(rng.randint(0, 15000), True) for _ in range(refused)]
    rng.shuffle(plan)
    return [make(rng, serial, senders[serial % len(senders)], size, f"refused.{serial}@{DOMAIN}" if refuse else None)
            for serial, (size, refuse) in enumerate(plan)]


def _decode(value):
    return str(email.header.make_header(email.header.decode_header(value)))


def _one(fields, name):
    values = [value for key, value in fields if key.lower() == name]
    assert len(values) == 1, f"{len(values)} {name} headers: {values}"
    return values[0]


FORBIDDEN = ("bcc", "x-sender", "x-receiver", "x-outtray-priority", "x-outtray-tenant", "x-outtray-expires",
             "x-outtray-not-before")


def compare(message, data):
    """Asserts that `data`, as a server stored it, is `message` as the agent had to send it."""
    block, body = split(data)
    fields = headers(block)
    assert digest(normalize(body)) == message.body, f"the body differs ({len(body)} octets)"
    assert reference(fields) == message.reference, f"MIME headers differ: {fields}"
    for name, _ in fields:
        assert name.lower() not in FORBIDDEN, f"{name} went out"
    author = _one(fields, "from")
    display, address = email.utils.parseaddr(author.replace("\n", ""))
    assert address == message.sender.address, f"From is {author}"
    wanted = message.display if message.sender.display is None else message.sender.display
    assert _decode(display) == wanted, f"From is {author}, not {wanted!r}"
    assert author.isascii(), f"From is not ASCII: {author!r}"
    assert _decode(_one(fields, "subject").replace("\n", "")) == message.subject
    assert _one(fields, "message-id") and email.utils.parsedate_to_datetime(_one(fields, "date"))


def serial_of(data):
    """The serial of a stored message, from its header block."""
    return int(_one(headers(split(data)[0]), SERIAL.lower()))


def compare_all(messages, stored):
    """Asserts that `stored`, an iterable of (recipient, data), is every message exactly once for each of its recipients."""
    wanted = {(message.serial, recipient) for message in messages for recipient in message.recipients}
    by_serial = {message.serial: message for message in messages}
    seen, twice, unknown = set(), [], []
    for recipient, data in stored:
        key = (serial_of(data), recipient.lower())
        if key in seen:
            twice.append(key)
        elif key not in wanted:
            unknown.append(key)
        seen.add(key)
        if key[0] in by_serial:
            try:
                compare(by_serial[key[0]], data)
            except AssertionError as error:
                raise AssertionError(f"message {key[0]} of {by_serial[key[0]].sender.tenant} for {recipient}: {error}") from None
    missing = sorted(wanted - seen)
    assert not missing, f"{len(missing)} of {len(wanted)} did not arrive: {missing[:5]}"
    assert not twice, f"{len(twice)} arrived more than once: {twice[:5]}"
    assert not unknown, f"{len(unknown)} arrived that should not: {unknown[:5]}"
