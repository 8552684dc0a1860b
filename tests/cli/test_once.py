"""How `run --once` ends: 0 when all that was due is gone, 1 when something is left, and always some time."""

import os
import shutil
import subprocess
import sys

import pytest
from smtpserver import Server
from support.agent import binary, environment
from support.box import MESSAGE, Box
from support.wait import wait_until

# Holds so many files of a directory open for writing, until its input ends.
WRITERS = """
import resource, sys
directory, count = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 50, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
files = [open(f"{directory}/w{number:04}", "w") for number in range(count)]
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def box(program, config, clock, server):
    return Box(config, clock, server).ready()


@pytest.mark.parametrize("files", [64, 200])
def test_few_descriptors(box, files):
    """Where files cannot be kept open, claims are moves. What cannot be claimed at all is left, and said to be."""
    for number in range(150):
        box.spool.drop("acme", MESSAGE, name=f"m{number:03}")
    box.clock.advance(10)
    for _ in range(20):
        done = subprocess.run(["prlimit", f"--nofile={files}", binary(), "run", "--once", "--config", box.config.path],
                              env=environment(box.clock), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
        left = box.spool.names("acme", "new")
        assert done.returncode == bool(left), done.stdout.decode()
        if not left:
            break
    assert len(box.spool.names("acme", "sent")) == len(box.server.accepted) == 150
    assert os.listdir(box.spool.path("acme", "new")) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("state, when, left", [("new", "1", 0), ("deferred", "1", 0), ("new", "1+", 1), ("deferred", "1+", 1)])
def test_a_directory_that_cannot_be_read(box, state, when, left):
    """It is tried a few times more."""
    if state == "new":  # else its claim might be the first to read deferred/
        box.spool.drop("acme", MESSAGE, name="fresh")
    box.spool.path("acme", "deferred", "due").write_bytes(MESSAGE)
    box.clock.advance(10)
    directory = box.spool.path("acme", state, "x").parent
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-P", directory, "-e", "trace=getdents64",
                           "-e", f"inject=getdents64:error=EIO:when={when}", binary(), "run", "--once", "--config", box.config.path],
                          env=environment(box.clock, ASAN_OPTIONS="detect_leaks=0"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=120, check=False)
    assert b"event=scan_failed" in done.stdout
    assert len(box.server.accepted) == (2 if state == "new" else 1) - left
    assert done.returncode == left, done.stdout.decode()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_directory_that_cannot_be_read_while_messages_are_under_way(box):
    """They may hold the descriptors it takes: however often it fails until they are gone, it is read after that."""
    server = Server(["on RCPT: pause & default"])
    server.start()
    box.config.data["accounts"]["relay"]["port"] = server.port
    box.ready()
    box.spool.drop("acme", MESSAGE, name="fresh")
    box.clock.advance(10)
    deferred = box.spool.path("acme", "deferred", "x").parent
    trace = box.spool.root.parent / "trace"
    agent = subprocess.Popen(["strace", "-f", "-o", trace, "-P", deferred, "-e", "trace=getdents64",
                              "-e", "inject=getdents64:error=EMFILE:when=1..4", binary(), "run", "--once", "--config", box.config.path],
                             env=environment(box.clock, ASAN_OPTIONS="detect_leaks=0"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: server.seen("RCPT"))
        for count in range(2, 5):
            box.clock.advance(2)
            wait_until(lambda: trace.read_text().count("INJECTED") >= count, what=trace.read_text)
    finally:
        server.release()
        try:
            said = agent.communicate(timeout=30)[0].decode()
        finally:
            agent.kill()
            server.stop()
    assert agent.returncode == 0, said
    assert len(server.accepted) == 1


def test_more_unfinished_files_than_are_read_ahead(box):
    """Files that are still being written are not due, but those behind them may be: it ends, and does not say that all is done."""
    count = 1100
    directory = box.spool.path("acme", "new", "x").parent
    with subprocess.Popen([sys.executable, "-c", WRITERS, directory, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writers:
        assert writers.stdout.readline() == b"ready\n"
        done = box.run("run", "--once", timeout=60)
        writers.stdin.close()
    assert done.returncode == 1, done.stderr
    assert len(os.listdir(directory)) == count


def test_unfinished_files_in_front_of_others(box):
    """Those behind them go out, as long as the read-ahead has room for both."""
    directory = box.spool.path("acme", "new", "x").parent
    with subprocess.Popen([sys.executable, "-c", WRITERS, directory, "300"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writers:
        assert writers.stdout.readline() == b"ready\n"
        for number in range(1500):
            box.spool.drop("acme", MESSAGE, name=f"x{number:04}")
        done = box.run("run", "--once", timeout=60)
        writers.stdin.close()
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(box.server.accepted) == 1500 and len(os.listdir(directory)) == 300


def test_what_a_dead_agent_left_where_nothing_can_be_opened(box, config):
    """Claims and a notice of another agent, put back where this one cannot open the tenant: it ends all the same."""
    config.tenant("other", account="relay")
    box.ready()
    root = box.spool.path("acme", "new", "x").parents[1]
    notice = "notice.1.0123456789abcdef"
    for path, text in ((root / "cur/dead/m", MESSAGE), (root / ".notices/dead" / notice, MESSAGE),
                       (root / ".notices/dead" / f"{notice}.list", b"failed 1 gone\n"), (config.spool / ".agents/dead.lock", b"")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    shutil.rmtree(root / "cur" / "main", ignore_errors=True)
    (root / "cur" / "main").touch()
    box.spool.drop("other", MESSAGE, name="fresh")
    box.clock.advance(10)
    done = box.run("run", "--once", timeout=60)
    assert done.returncode == 1, done.stderr
    assert len(box.server.accepted) == 1 and not os.listdir(root / "cur" / "dead")
    assert sorted(os.listdir(root / "new")) == ["m", notice]


def test_a_tenant_whose_directory_cannot_be_used(box):
    """Nobody knows what lies there: not all is done."""
    directory = box.spool.path("acme", "deferred", "x").parent
    directory.rename(directory.with_name("elsewhere"))
    directory.touch()
    done = box.run("run", "--once")
    assert done.returncode == 1 and not box.server.accepted, done.stderr
