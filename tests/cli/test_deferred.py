"""What status.json says of deferred/ after `run --once`, which does not read it again only to count it."""

import contextlib
import json
import os
import shutil
import subprocess
import time

import pytest
from smtpserver import Server
from support.agent import binary, environment, wait_until
from support.box import MESSAGE, Box

LATER = 60  # messages that are not due


@pytest.fixture
def served(program, config, clock):
    """box = served(LINE…): a Box with a server that follows a script."""
    with contextlib.ExitStack() as stack:
        def start(*script):
            server = Server(list(script))
            server.start()
            stack.callback(server.stop)
            return Box(config, clock, server).ready()
        yield start


def defer(box, name, age, wait):
    """A message that is as old as that (s), and due in so many."""
    now = time.time()
    path, made = box.spool.path("acme", "deferred", name), box.spool.path("acme", "tmp", name)
    made.write_bytes(MESSAGE + b"x" * age + b"\n")
    os.utime(made, (now - age, now - age))
    status = path.with_name(name + ".status")
    status.touch()
    os.utime(status, (now + wait, now + wait))
    made.rename(path)  # with its times, and behind its status: an agent that looks at it in between would find it due


def fill(box, due):
    for number in range(LATER):
        defer(box, f"later{number}", 100 + number, 3600)
    for number in range(due):
        defer(box, f"due{number}", 1000 + number, -5)


def check(box):
    """Counts are those of the directory."""
    shown = json.loads((box.config.state / "status.json").read_text(encoding="utf-8"))["tenants"]["acme"]["deferred"]
    paths = [box.spool.path("acme", "deferred", name) for name in box.spool.names("acme", "deferred")]
    assert shown["count"] == len(paths)
    assert shown["bytes"] == sum(path.stat().st_size for path in paths)
    age = time.time() - min(path.stat().st_mtime for path in paths)
    assert abs(shown["oldest_s"] - age) < 60
    return len(paths)


def test_sent(served):
    box = served()
    fill(box, 20)
    assert box.run("run", "--once").returncode == 0
    assert len(box.server.accepted) == 20
    assert check(box) == LATER


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_read_once(served, tmp_path):
    """No message that waits is looked at after the last one is sent: the count goes on by itself."""
    box, trace = served(), tmp_path / "trace"
    for _ in range(3):  # on a slow machine a survey may be due in that moment
        fill(box, 3)
        subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=newfstatat,renameat2", binary(), "run", "--once", "--config", box.config.path],
                       env=environment(box.clock, ASAN_OPTIONS="detect_leaks=0"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=120, check=True)
        assert check(box) == LATER
        lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
        last = max(at for at, line in enumerate(lines) if "renameat2" in line and '"due' in line)
        assert any('"later7"' in line for line in lines[:last])
        if not any('"later' in line for line in lines[last:]):
            return
    raise AssertionError("deferred/ was read again at the end, three times")


def test_deferred_again(served):
    box = served("on RCPT: reply 451 4.3.0 later")
    fill(box, 5)
    box.spool.drop("acme", MESSAGE, name="fresh")
    box.clock.advance(10)
    assert box.run("run", "--once").returncode == 1
    assert check(box) == LATER + 6


@pytest.mark.parametrize("change", ["remove", "hold", "add", "touch"])
def test_changed_by_others_meanwhile(served, change):
    """While the last message is on the wire, long after deferred/ was read."""
    box = served("on BDAT: pause")
    fill(box, 1)
    agent = subprocess.Popen([binary(), "run", "--once", "--config", box.config.path], env=environment(box.clock),
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with agent:
        wait_until(lambda: box.server.seen("BDAT"), 20, "the message is on the wire")
        path = box.spool.path("acme", "deferred", "later59")  # the oldest
        if change == "remove":
            path.unlink()
        elif change == "hold":
            path.rename(box.spool.path("acme", "hold", "later59"))
        elif change == "add":
            defer(box, "added", 500, 3600)
        else:
            os.utime(path, (time.time(), time.time() + 3600))  # a time in the future is no touch yet
            os.utime(box.spool.path("acme", "deferred", "later0"), (time.time(), time.time() - 700))
        box.server.release()
        assert agent.wait(60) == 0
    assert check(box) == LATER + {"remove": -1, "hold": -1, "add": 1, "touch": 0}[change]


def test_more_than_a_backlog_holds_and_none_can_be_claimed(served):
    """It ends, with 1; what was tried and could not be claimed is not tried without end."""
    box = served()
    directory = box.spool.path("acme", "deferred", "x").parent
    mine = directory.parent / "cur" / "main"
    mine.mkdir(exist_ok=True)
    now = time.time()
    for number in range(16384 + 50):
        path = directory / f"m{number}"
        path.write_bytes(MESSAGE)
        os.utime(path, (now - 1000, now - 1000))
        (directory / f"m{number}.status").touch()
        os.utime(directory / f"m{number}.status", (now - 5, now - 5))
    if subprocess.run(["chattr", "+i", mine], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("a directory cannot be made immutable here")
    try:
        assert box.run("run", "--once", timeout=60).returncode == 1
    finally:
        subprocess.run(["chattr", "-i", mine], check=True)
    assert not box.server.accepted and len(box.spool.names("acme", "deferred")) == 16384 + 50
