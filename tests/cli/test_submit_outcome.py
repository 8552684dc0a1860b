"""submit --wait (the exit code is the outcome) and --key (a second submission is none)."""

import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import pytest

from support.box import MESSAGE, Box
from smtpserver import Server
from support.agent import Agent, binary, environment, outtray
from support.wait import wait_until


@pytest.fixture
def scripted(program, config, clock):
    """A box whose server follows a script, and an agent for it; agent(LINE…) starts both."""
    started = []

    def start(*script, run=True, **keys):
        server = Server(list(script))
        server.start()
        started.append(server)
        box = Box(config, clock, server)
        config.data.update(keys)
        agent = Agent(config, clock=clock)
        started.append(agent)
        agent.prepare()
        if run:
            agent.start()
        box.agent = agent
        return box

    yield start
    for thing in reversed(started):
        if isinstance(thing, Agent):
            assert thing.stop() in (0, None)
        else:
            thing.stop()


def wait(box, *arguments, seconds="--wait=60s", input=MESSAGE):
    return box.run("submit", seconds, *arguments, input=input)


def test_sent(scripted):
    box = scripted()
    done = wait(box)
    assert done.returncode == 0, done.stderr
    assert "sent" in done.stderr
    assert len(box.server.accepted) == 1


@pytest.mark.parametrize("rule, code, words", [
    ("on RCPT: 550 5.1.1 nobody of that name", 68, "nobody of that name"),
    ("on BODY: 554 5.7.1 looks like spam", 77, "looks like spam"),
    ("on MAIL: 552 5.3.4 too large for us", 65, "too large for us"),
])
def test_refused(scripted, rule, code, words):
    """68 for a recipient, 77 for policy, 65 for the message itself, with the server's words."""
    box = scripted(rule)
    done = wait(box)
    assert done.returncode == code, done.stderr
    assert words in done.stderr


def test_some_recipients_refused(scripted):
    box = scripted("on RCPT b@: 550 5.1.1 no b here")
    done = wait(box, "a@example.net", "b@example.net")
    assert done.returncode == 68
    assert "b@example.net: 550 5.1.1 no b here" in done.stderr
    assert "a@example.net:" not in done.stderr


def test_deferred_for_longer(scripted):
    """The next attempt comes after the time that is left: the answer is there at once."""
    box = scripted("on RCPT: 451 4.3.0 come back later", retry={"first": "1h", "max": "4h", "jitter": 0})
    began = time.monotonic()
    done = wait(box, seconds="--wait=10m")
    assert done.returncode == 75, done.stderr
    assert "deferred until" in done.stderr and "come back later" in done.stderr
    assert time.monotonic() - began < 300


def test_deferred_for_a_moment(scripted):
    """The next attempt is soon enough: its outcome counts."""
    box = scripted("on RCPT: once 451 4.3.0 come back later")
    done = wait(box)
    assert done.returncode == 0, done.stderr
    assert box.agent.events("deferred")


def test_expired(scripted):
    box = scripted("on RCPT: 451 4.3.0 never today")
    done = wait(box, input=b"X-Outtray-Expires: +1s\n" + MESSAGE)
    assert done.returncode == 75, done.stderr
    assert "failed (expired)" in done.stderr


def test_nobody_delivers(scripted):
    box = scripted(run=False)
    done = wait(box, seconds="--wait=1s")
    assert done.returncode == 75
    assert "no agent is running" in done.stderr and "not sent yet" in done.stderr
    assert len(box.new()) == 1


def test_interrupted(scripted):
    box = scripted(run=False)
    command = [binary(), "submit", "--config", str(box.config.path), "--wait=10m"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(box.clock))
    process.stdin.write(MESSAGE)
    process.stdin.close()
    wait_until(box.new, what="the message in new/")
    wait_until(lambda: signal_waits(process.pid), what="the wait")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 75
    assert b"interrupted; queued as" in process.stderr.read()
    process.stderr.close()
    assert len(box.new()) == 1


@pytest.mark.parametrize("how", ["rm", "drop", "in cur/"])
def test_removed(scripted, how):
    """Nobody waits for a message that is gone: not for one in new/, nor for one that an agent has claimed."""
    box = scripted("on RCPT: pause", run=how == "in cur/")
    command = [binary(), "submit", "--config", str(box.config.path), "--wait=10m"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(box.clock))
    process.stdin.write(MESSAGE)
    process.stdin.close()
    place = ("cur", "main") if how == "in cur/" else ("new",)
    name = wait_until(lambda: os.listdir(box.spool.path("acme", *place)), what="the message")[0]
    if how == "in cur/":
        wait_until(lambda: box.server.seen("RCPT"), what="the recipient at the server")
    if how == "drop":
        box.run("drop", "--delete", "--yes", name, check=True)
    else:
        (box.spool.path("acme", *place) / name).unlink()
    assert process.wait(30) == 66
    assert f"queued as {name}, and removed by somebody" in process.stderr.read().decode()
    process.stderr.close()
    if how == "in cur/":
        box.server.release()


def signal_waits(pid):
    """Whether the process sleeps in ppoll(2), where signals reach it."""
    return pathlib.Path(f"/proc/{pid}/wchan").read_text() not in ("", "0") or "S" in pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_many_at_once(scripted):
    box = scripted()
    results = []
    threads = [threading.Thread(target=lambda: results.append(wait(box).returncode)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 8
    assert len(box.server.accepted) == 8


def test_wait_needs_a_duration(box):
    box.ready()
    done = box.run("submit", "--wait=soon", input=MESSAGE)
    assert done.returncode == 64
    assert "--wait takes a duration" in done.stderr
    assert box.new() == []


def test_whoever_cannot_look_is_told(scripted):
    """The message is queued; only its outcome stays unknown."""
    box = scripted(run=False)
    box.spool.path("acme", "sent").rmdir()
    done = wait(box)
    assert done.returncode == 75, done.stderr
    assert "cannot look into all of the spool of acme" in done.stderr
    assert len(box.new()) == 1


# Keys


def keyed(box, key="order 4711", *arguments, input=MESSAGE):
    done = box.run("submit", "--key", key, *arguments, input=input)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_second_submission_in_new(scripted):
    box = scripted(run=False)
    assert "already" not in keyed(box)
    assert "submitted already" in keyed(box, input=b"To: a@example.net\n\nanother text\n")
    assert len(box.new()) == 1
    assert b"X-Outtray-Key: order 4711\n" in box.new()[0]
    keyed(box, "order 4712")
    assert len(box.new()) == 2
    assert len(box.deliver()) == 2
    assert not any(b"X-Outtray" in accepted.data for accepted in box.server.accepted)


@pytest.mark.parametrize("rule, state, code", [(None, "sent", 0), ("on RCPT: 451 4.3.0 later", "deferred", 75),
                                               ("on RCPT: 550 5.1.1 no", "failed", 68)])
def test_second_submission_later(scripted, rule, state, code):
    """Whatever became of the first: one key, one message. --wait tells the first one's outcome."""
    box = scripted(*filter(None, [rule]), retry={"first": "1h", "max": "4h", "jitter": 0})
    keyed(box)
    box.spool.wait_counts("acme", **{state: 1})
    assert "submitted already" in keyed(box)
    done = wait(box, "--key", "order 4711")
    assert done.returncode == code, done.stderr
    assert box.spool.counts("acme") == {**dict.fromkeys(box.spool.counts("acme"), 0), state: 1}


def test_key_is_remembered_for_its_time(scripted):
    box = scripted(dedupe="1h")
    keyed(box)
    box.spool.wait_counts("acme", sent=1)
    box.clock.advance(3500)
    assert "submitted already" in keyed(box)
    box.clock.advance(200)
    assert "already" not in keyed(box)
    box.spool.wait_counts("acme", sent=2)
    assert len(box.server.accepted) == 2


def test_other_tenants_have_other_keys(scripted, config):
    config.tenant("other", account="relay")
    box = scripted()
    keyed(box, "k", "--tenant", "acme")
    assert "already" not in keyed(box, "k", "--tenant", "other")
    box.spool.wait_counts("acme", sent=1)
    box.spool.wait_counts("other", sent=1)


def test_producers_that_write_files_themselves(scripted):
    """The header counts. The repeat is logged as such, kept in sent/, and neither sent nor counted."""
    box = scripted()
    first = box.spool.drop("acme", b"X-Outtray-Key: k1\n" + MESSAGE)
    box.spool.wait("acme", first, "sent")
    second = box.spool.drop("acme", b"X-Outtray-Key: k1\n" + MESSAGE)
    line = box.agent.wait_event("ignored", name=second)[0]
    assert line["reason"] == "duplicate" and first in line["reply"]
    box.spool.wait("acme", second, "sent")
    assert len(box.server.accepted) == 1
    wait_until(lambda: (box.agent.status() or {})["tenants"]["acme"]["sent_total"] == 1, what="the count")
    assert "submitted already" in keyed(box, "k1")
    # The same message again is no repeat of itself.
    os.rename(box.spool.path("acme", "sent", first), box.spool.path("acme", "new", first))
    wait_until(lambda: len(box.server.accepted) == 2, what="the message again")


def test_repeat_is_found_by_the_agent(scripted):
    """submit cannot see the record of a message that an agent claimed and that lies in no state it may look into."""
    box = scripted(run=False)
    for name in ("a", "b", "c"):
        box.spool.drop("acme", b"X-Outtray-Key: same\n" + MESSAGE, name)
    box.clock.advance(10)
    assert box.agent.once() == 0
    assert len(box.server.accepted) == 1
    assert len(box.agent.events("ignored", reason="duplicate")) == 2
    assert box.spool.names("acme", "sent") == ["a", "b", "c"]


def test_waiting_for_a_repeat_follows_the_first(scripted):
    """Both are in new/ before the agent runs, under names of their own."""
    box = scripted("on RCPT: 550 5.1.1 nobody", run=False)
    box.spool.drop("acme", b"X-Outtray-Key: same\n" + MESSAGE, "first")
    os.utime(box.spool.path("acme", "new", "first"), (1, 1))
    command = [binary(), "submit", "--config", str(box.config.path), "--wait=10m", "--key", "same"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(box.clock))
    process.stdin.write(MESSAGE)
    process.stdin.close()
    wait_until(lambda: len(box.new()) == 2, what="two messages")
    box.agent.start()
    assert process.wait(60) == 68
    words = process.stderr.read()
    process.stderr.close()
    assert b"a message with this key came before: first" in words and b"nobody" in words


def test_restart_and_kill_do_not_forget(scripted):
    box = scripted()
    keyed(box)
    box.spool.wait_counts("acme", sent=1)
    box.agent.kill()
    box.agent.start()
    assert "submitted already" in keyed(box)
    name = box.spool.drop("acme", b"X-Outtray-Key: order 4711\n" + MESSAGE)
    box.agent.wait_event("ignored", name=name)
    assert len(box.server.accepted) == 1


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_record_comes_after_the_message_and_before_the_wire(scripted, tmp_path):
    """The message is durable before its record is, and the record before anything is sent."""
    box = scripted(run=False)
    keyed(box)
    trace = tmp_path / "trace"
    calls = "trace=fsync,renameat2,sendto,write"
    box.clock.advance(10)
    subprocess.run(["strace", "-f", "-y", "-s", "300", "-o", trace, "-e", calls, binary(), "run", "--once", "--config", box.config.path],
                   env=environment(box.clock, ASAN_OPTIONS="detect_leaks=0"), stderr=subprocess.DEVNULL, timeout=120, check=False)
    assert len(box.server.accepted) == 1
    lines = trace.read_text().splitlines()

    def first(text):
        return next(i for i, line in enumerate(lines) if text in line)

    digest = os.listdir(box.spool.path("acme") / ".keys")[0]
    order = [first(f"/cur/main/key.{digest}>)"), first("/cur/main>)"), first(f'"{digest}", RENAME_NOREPLACE'), first("/.keys>)"),
             first("MAIL FROM")]
    assert order == sorted(order), "\n".join(lines)


@pytest.mark.parametrize("when", range(1, 7))
def test_killed_around_the_record(scripted, when):
    """kill -9 at each fsync and rename around it: the first is never lost, and here none is sent twice."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    box = scripted(run=False)
    box.spool.drop("acme", b"X-Outtray-Key: k\n" + MESSAGE, "one")
    box.clock.advance(10)
    inject = f"inject=fsync,renameat2:signal=SIGKILL:when={when}"
    subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync,renameat2", "-e", inject, binary(), "run", "--once",
                    "--config", box.config.path], env=environment(box.clock, ASAN_OPTIONS="detect_leaks=0"),
                   stderr=subprocess.DEVNULL, timeout=120, check=False)
    killed = len(box.server.accepted)
    box.spool.drop("acme", b"X-Outtray-Key: k\n" + MESSAGE, "two")
    box.clock.advance(10)
    assert box.agent.once() == 0
    box.clock.advance(10)
    assert box.agent.once() == 0
    assert box.spool.names("acme", "sent") == ["one", "two"]
    assert killed <= 1 and len(box.server.accepted) - killed <= 1
    assert len(box.server.accepted) >= 1


def test_records_go_when_their_time_is_over(scripted):
    box = scripted(dedupe="1h")
    keyed(box)
    box.spool.wait_counts("acme", sent=1)
    keys = box.spool.path("acme") / ".keys"
    assert len(os.listdir(keys)) == 1
    # A look for what is old may be under way while the clock goes on; the next one comes an hour later.
    wait_until(lambda: box.clock.advance(3600) or os.listdir(keys) == [], 30, "no records", interval=0.2)


def test_broken_record_is_replaced(scripted):
    box = scripted()
    keyed(box)
    box.spool.wait_counts("acme", sent=1)
    keys = box.spool.path("acme") / ".keys"
    (keys / os.listdir(keys)[0]).write_text("garbage\n")
    name = box.spool.drop("acme", b"X-Outtray-Key: order 4711\n" + MESSAGE)
    wait_until(lambda: len(box.server.accepted) == 2, what="the second message")
    box.spool.wait("acme", name, "sent")


@pytest.mark.parametrize("key", ["", " x", "x ", "a\nb", "x" * 201])
def test_keys_that_cannot_be(box, key):
    box.ready()
    done = box.run("submit", "--key", key, input=MESSAGE)
    assert done.returncode == 65, done.stderr
    assert "the key" in done.stderr
    assert box.new() == []


def test_two_different_keys(box):
    box.ready()
    done = box.run("submit", "--key", "a", input=b"X-Outtray-Key: b\n" + MESSAGE)
    assert done.returncode == 65
    assert "another X-Outtray-Key" in done.stderr


def test_key_of_the_message_counts_for_submit(box):
    box.ready()
    message = b"X-Outtray-Key: b\n" + MESSAGE
    assert box.run("submit", input=message).returncode == 0
    assert "submitted already" in box.run("submit", input=message).stderr
    assert "submitted already" in box.run("submit", "--key", "b", input=MESSAGE).stderr
    assert box.new() == [message]


def test_malformed_key_in_a_file(scripted):
    box = scripted(run=False)
    box.spool.drop("acme", b"X-Outtray-Key: a\nX-Outtray-Key: b\n" + MESSAGE, "twice")
    box.spool.drop("acme", b"X-Outtray-Key: " + b"x" * 201 + b"\n" + MESSAGE, "long")
    box.clock.advance(10)
    assert box.agent.once() == 1
    assert box.spool.names("acme", "failed") == ["long", "twice"]
    assert "longer than 200" in box.spool.status("acme", "failed", "long")["detail"]


@pytest.mark.parametrize("arguments", [[], ["--wait=60s"]])
def test_the_same_key_from_many_at_once(scripted, arguments):
    box = scripted()
    results = []

    def submit():
        results.append(outtray("submit", "--key", "one", *arguments, config=box.config, clock=box.clock, input=MESSAGE).returncode)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 8
    wait_until(lambda: box.spool.quiet("acme"), what="quiet")
    assert len(box.server.accepted) == 1


def test_a_time_behind_a_blank_is_no_recipient(scripted):
    box = scripted(run=False)
    done = outtray("submit", "--wait", "5s", config=box.config, input=MESSAGE)
    assert done.returncode == 64 and "--wait=5s" in done.stderr, done.stderr
    assert not any((box.config.spool / "acme" / "new").iterdir())
