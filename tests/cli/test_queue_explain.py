"""queue and explain: what is where, and what would be done with a message."""

import json
import os
import re

import pytest

from support.box import MESSAGE

EXPLAIN_KEYS = ["tenant", "account", "server", "from", "envelope_from", "recipients", "message_id", "headers removed",
                "headers added", "size on the wire", "would"]


def refusing(box, rules):
    from smtpserver import Rule
    box.server.rules += [Rule(rule) for rule in rules]


@pytest.fixture
def mixed(box):
    """One message each in sent/, deferred/, failed/ and new/."""
    refusing(box, ["on RCPT later@example.net: 451 4.3.0 try later", "on RCPT bad@example.net: 550 5.1.1 no such user"])
    box.ready()
    for name in ("good", "later", "bad"):
        box.spool.drop("acme", MESSAGE.replace(b"a@example.net", name.encode() + b"@example.net, x@example.net"), name=name)
    box.deliver(code=1)
    box.spool.drop("acme", MESSAGE, name="fresh")
    return box


def test_queue_of_nothing(box):
    box.ready()
    done = box.run("queue")
    assert done.returncode == 0
    assert "acme" in done.stdout


def test_queue_counts(mixed):
    done = mixed.run("queue")
    assert done.returncode == 0
    for word in ("acme", "new", "deferred", "failed"):
        assert word in done.stdout


def test_queue_json_is_the_tenants_part_of_status_json(mixed):
    done = mixed.run("queue", "--json")
    assert done.returncode == 0
    tenants = json.loads(done.stdout)
    acme = tenants["acme"]
    assert acme["account"] == "relay"
    for state in ("new", "cur", "deferred", "failed"):
        assert {"count", "bytes", "oldest_s"} <= set(acme[state])
    assert {state: acme[state]["count"] for state in ("new", "cur", "deferred", "failed")} == {
        "new": 1, "cur": 0, "deferred": 1, "failed": 1}
    assert acme["new"]["bytes"] == len(MESSAGE)


def test_queue_oldest_age(box):
    box.ready()
    box.spool.drop("acme", MESSAGE, name="old")
    path = box.spool.path("acme", "new", "old")
    os.utime(path, (path.stat().st_mtime - 7200,) * 2)
    age = json.loads(box.run("queue", "--json").stdout)["acme"]["new"]["oldest_s"]
    assert 7190 <= age <= 7300


def test_queue_of_a_tenant(mixed):
    done = mixed.run("queue", "acme")
    assert done.returncode == 0
    for text in ("later", "bad", "fresh", "later@example.net", "451 4.3.0 try later", "550 5.1.1 no such user"):
        assert text in done.stdout, done.stdout


def test_queue_of_a_tenant_without_mail(box):
    box.ready()
    done = box.run("queue", "acme")
    assert (done.returncode, done.stdout) == (0, "") and "tenant acme has no mail" in done.stderr
    assert json.loads(box.run("queue", "--json", "acme").stdout) == []


def test_queue_of_a_name(mixed):
    done = mixed.run("queue", "later")
    assert done.returncode == 0
    assert "451 4.3.0 try later" in done.stdout
    assert "no such user" not in done.stdout


def test_queue_json_of_a_name(mixed):
    done = mixed.run("queue", "--json", "later")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert isinstance(found, list) and len(found) == 1
    one = found[0]
    assert one["tenant"] == "acme" and one["name"] == "later" and one["state"] == "deferred"
    assert {"inode", "size", "submitted", "message_id", "next_attempt", "recipients", "attempts"} <= set(one)
    assert {r["address"]: r["state"] for r in one["recipients"]} == {"later@example.net": "pending", "x@example.net": "sent"}
    assert one["attempts"][0]["reply"] == "451 4.3.0 try later"


def test_queue_json_of_a_tenant(mixed):
    found = json.loads(mixed.run("queue", "--json", "acme").stdout)
    assert {"later", "bad", "fresh"} <= {one["name"] for one in found}


def test_queue_of_nobody(box):
    box.ready()
    done = box.run("queue", "nobody")
    assert done.returncode == 66
    assert "nobody" in done.stderr


def test_queue_shows_no_raw_control_bytes(box):
    box.ready()
    path = box.spool.path("acme", "new", "x")
    path.write_bytes(b"From: \x1b]0;title\x07 <jane@inside.example>\nTo: a@example.net\n\ntext\n")
    done = box.run("queue", "acme")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout


def test_queue_with_a_broken_status_file(mixed):
    mixed.spool.path("acme", "deferred", "later.status").write_text("\0garbage: [\n")
    done = mixed.run("queue", "acme")
    assert done.returncode == 0
    assert "later" in done.stdout


def explained(done):
    """The text as {key: value}."""
    return dict(re.match(r"([a-z_ ]+): ?(.*)", line).groups() for line in done.stdout.splitlines() if re.match(r"[a-z_ ]+:", line))


def test_explain(box):
    box.ready()
    box.spool.drop("acme", b"Sender: x@inside.example\n" + MESSAGE.replace(b"To: a", b"Bcc: b@example.net\nTo: a"), name="one")
    path = box.spool.path("acme", "new", "one")
    before = path.read_bytes()
    done = box.run("explain", path)
    assert done.returncode == 0, done.stderr
    lines = [line.partition(":")[0] for line in done.stdout.splitlines() if re.match(r"[a-z]", line)]
    assert [line for line in lines if line in EXPLAIN_KEYS] == EXPLAIN_KEYS
    said = explained(done)
    assert said["tenant"].startswith("acme")
    assert said["account"].startswith("relay")
    assert f"127.0.0.1:{box.server.port}" in said["server"]
    assert "voicemail@acme.example" in said["from"] and "acme" in said["from"]
    assert "noreply@example.com" in said["envelope_from"]
    assert "a@example.net" in done.stdout and "b@example.net" in done.stdout
    assert "Bcc" in said["headers removed"] and "Sender" in said["headers removed"]
    assert "Message-ID" in said["headers added"] and "Date" in said["headers added"]
    assert re.search(r"\d+", said["size on the wire"])
    assert said["would"].startswith("deliver")
    assert path.read_bytes() == before and box.server.connections == []


def test_explain_json(box):
    box.ready()
    box.spool.drop("acme", MESSAGE, name="one")
    done = box.run("explain", "--json", box.spool.path("acme", "new", "one"))
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["tenant"] == "acme"
    assert said["account"] == "relay"
    assert "deliver" in json.dumps(said["would"])
    assert {"tenant", "account", "server", "from", "envelope_from", "recipients", "message_id", "would"} <= set(said)


def test_explain_tells_the_truth(box):
    """Size, Message-ID, envelope and From are those of the delivery that follows."""
    box.ready()
    box.spool.drop("acme", MESSAGE, name="one")
    said = explained(box.run("explain", box.spool.path("acme", "new", "one")))
    got = box.deliver()[0]
    assert int(re.search(r"\d+", said["size on the wire"])[0]) == len(got.data)
    assert re.search(r"<[^>]+>", said["message_id"])[0].encode() in got.data
    assert got.rcpts == ["a@example.net"]


def test_explain_rules_of_from(box):
    box.config.tenant("slave", parent="acme")
    box.config.tenant("plain", account="relay")
    box.ready()
    for tenant in ("slave", "plain"):
        box.spool.drop(tenant, MESSAGE, name="one")
    said = explained(box.run("explain", box.spool.path("slave", "new", "one")))
    assert "voicemail@acme.example" in said["from"] and "parent" in said["from"]
    said = explained(box.run("explain", box.spool.path("plain", "new", "one")))
    assert "root@pbx.example.com" in said["from"]


def test_explain_wait(box):
    box.ready()
    box.spool.drop("acme", b"X-Outtray-Not-Before: 2099-01-01T00:00:00Z\n" + MESSAGE, name="one")
    said = explained(box.run("explain", box.spool.path("acme", "new", "one")))
    assert said["would"].startswith("wait until") and "2099" in said["would"]


@pytest.mark.parametrize("text,reason", [(b"", "malformed"), (b"Subject: nobody\n\ntext\n", "malformed"),
                                         (b"To: a@example.net\n\na\0b\n", "malformed"),
                                         (b"X-Outtray-Expires: 2020-01-01T00:00:00Z\nTo: a@example.net\n\nx\n", "expired")])
def test_explain_failure(box, text, reason):
    box.ready()
    box.spool.drop("acme", text, name="one")
    done = box.run("explain", box.spool.path("acme", "new", "one"))
    said = explained(done)
    assert said["would"].startswith("fail as") and reason in said["would"], done.stdout + done.stderr


def test_explain_failure_has_every_line(box):
    box.ready()
    box.spool.drop("acme", b"Subject: nobody\n\ntext\n", name="one")
    path = box.spool.path("acme", "new", "one")
    done = box.run("explain", path)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == EXPLAIN_KEYS
    assert "voicemail@acme.example" in explained(done)["from"]
    assert "noreply@example.com" in explained(done)["envelope_from"]
    said = json.loads(box.run("explain", "--json", path).stdout)
    assert set(EXPLAIN_KEYS) <= set(said) and said["recipients"] == []


@pytest.mark.parametrize("name,why", [(".hid", "dot"), ("foo.status", ".status"), ("a\x01b", "control"), ("n" * 201, "200")])
def test_explain_a_name_that_is_ignored(box, name, why):
    box.ready()
    box.spool.drop("acme", MESSAGE, name=name)
    path = box.spool.path("acme", "new", name)
    said = explained(box.run("explain", path))
    assert said["would"].startswith("be ignored") and why in said["would"]
    assert json.loads(box.run("explain", "--json", path).stdout)["would"].startswith("be ignored")


@pytest.mark.parametrize("kind", ["directory", "FIFO", "socket", "symbolic link"])
def test_explain_what_is_no_file(box, kind):
    box.ready()
    path = box.spool.path("acme", "new", "one")
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "symbolic link":
        path.symlink_to("/dev/null")
    else:
        os.mknod(path, 0o140600)
    done = box.run("explain", path)
    assert done.returncode == 66
    assert kind in done.stderr and done.stdout == ""


def test_explain_a_deferred_message(mixed):
    said = explained(mixed.run("explain", mixed.spool.path("acme", "deferred", "later")))
    assert said["would"].startswith(("wait until", "deliver"))


def test_explain_missing_file(box):
    box.ready()
    done = box.run("explain", box.spool.path("acme", "new", "nowhere"))
    assert done.returncode == 66
    assert "nowhere" in done.stderr


def test_explain_without_a_file(box):
    box.ready()
    assert box.run("explain").returncode == 64
