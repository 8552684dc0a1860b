"""What holds for every log line and every status file of every scenario, from the formats people rely on."""

import datetime
import os
import re

import yaml

from casefile import glob
from support import logfmt

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
DELIVERY_KEYS = ["time", "event", "tenant", "name", "message_id", "account", "from", "to", "nrcpt", "size", "attempt", "relay",
                 "tls", "conn_use", "queue_ms", "conn_ms", "xfer_ms", "reply"]
MORE_KEYS = {"deferred": ["next", "class"], "failed": ["reason"]}
NUMBERS = ("nrcpt", "size", "attempt", "conn_use", "queue_ms", "conn_ms", "xfer_ms")
REASONS = {"recipient", "policy", "size", "malformed", "expired"}


def moment(text):
    """Seconds since the epoch of an RFC 3339 time."""
    return datetime.datetime.fromisoformat(text.strip()).timestamp()


def check_log_line(line):
    if any(ord(c) < 32 or ord(c) == 127 for c in line):
        return [f"a control byte in a log line: {line!r}"]
    pairs = logfmt.parse(line)
    if not pairs or "event" not in pairs:
        return [] if not line.startswith("time=") else [f"no logfmt: {line}"]
    problems = []
    if not re.match(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z event=[a-z_]+( |$)", line):
        problems.append(f"a log line starts otherwise: {line}")
    event = pairs["event"]
    if event == "sent":
        keys = [key for key in pairs if key in DELIVERY_KEYS]
        if keys != DELIVERY_KEYS:
            problems.append(f"event=sent has the keys {list(pairs)}, expected {DELIVERY_KEYS}")
        problems += [f"{key}={pairs[key]} is no number: {line}" for key in NUMBERS if not pairs.get(key, "").isdigit()]
        if len(pairs.get("to", "").split(",")) > 20:
            problems.append("a log line lists more than 20 recipients")
    elif event in MORE_KEYS:
        wanted = ["tenant", "name"] + MORE_KEYS[event]
        problems += [f"event={event} lacks {key}=: {line}" for key in wanted if key not in pairs]
    elif event not in ("returned", "ignored", "expired"):
        problems += [f"event={event} lacks {key}=: {line}" for key in ("level", "msg") if key not in pairs]
    return problems


def check_status(path, touched):
    """The promises of NAME.status, whatever is in it; touched: inodes whose mtime no longer is the submission time."""
    document = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    state = path.parent.name
    message = path.with_name(path.name.removesuffix(".status"))
    if not message.exists():
        return ["the message is gone and its status file is not"]
    info = os.lstat(message)
    problems = []
    wanted = {"version": "1", "tenant": path.parts[-3], "name": message.name, "inode": str(info.st_ino),
              "size": str(info.st_size), "state": state}
    for key, value in wanted.items():
        if document.get(key) != value:
            problems.append(f"{key}: {document.get(key)}, not {value}")
    for key in ("submitted", "message_id", "recipients", "attempts"):
        # A message that failed before anybody was called may lack what was never found out.
        if key not in document and (key == "submitted" or state == "deferred" or document.get("attempts")):
            problems.append(f"no {key}")
    if "submitted" in document:
        if not re.fullmatch(TIME.pattern.replace(r"(\.\d+)?", r"\.\d{6}"), document["submitted"]):
            problems.append(f"submitted: {document['submitted']}")
        elif info.st_ino not in touched and abs(moment(document["submitted"]) - info.st_mtime) > 0.001:
            problems.append("submitted is not the message's mtime")
    if state == "deferred":
        if not TIME.fullmatch(document.get("next_attempt", "")):
            problems.append(f"next_attempt: {document.get('next_attempt')}")
        elif abs(moment(document["next_attempt"]) - path.stat().st_mtime) > 1:
            problems.append("the file's mtime is not next_attempt")
        if "reason" in document:
            problems.append("a deferred message has a reason")
    elif document.get("reason") not in REASONS or not document.get("fix"):
        problems.append(f"reason: {document.get('reason')} fix: {document.get('fix')}")
    for recipient in document.get("recipients") or []:
        if recipient.get("state") not in ("sent", "pending", "refused") or not recipient.get("address"):
            problems.append(f"recipient {recipient}")
    for attempt in document.get("attempts") or []:
        if not {"at", "account", "stage", "reply"} <= set(attempt):
            problems.append(f"attempt {attempt}")
    return problems


def merge(base, more):
    """Mappings are merged, everything else replaces; null removes a key."""
    if not isinstance(base, dict) or not isinstance(more, dict):
        return more
    merged = dict(base)
    for key, value in more.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def part_of(expected, actual, where):
    """What of expected is not in actual: mappings may have more keys, lists not more items, text may hold *."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return [f"{where}: {actual!r} is no mapping"]
        return [p for key, value in expected.items()
                for p in (part_of(value, actual[key], f"{where}: {key}") if key in actual else [f"{where}: no {key}"])]
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return [f"{where}: {actual!r}, expected {expected!r}"]
        return [p for i, value in enumerate(expected) for p in part_of(value, actual[i], f"{where}[{i}]")]
    if expected is None or isinstance(expected, bool):
        same = actual is expected or str(actual).lower() == str(expected).lower()
        return [] if same or (expected is None and actual in ("", "null", "~")) else [f"{where}: {actual!r}, expected {expected!r}"]
    if isinstance(expected, (int, float)):
        return [] if str(actual) == str(expected) else [f"{where}: {actual!r}, expected {expected!r}"]
    return [] if glob(str(expected), str(actual)) else [f"{where}: {actual!r}, expected {expected!r}"]
