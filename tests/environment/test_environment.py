"""What happens around the agent: disks that go away or fill up, descriptors, inotify, the clock.

Those with mounts are in scenes.py, each in a mount namespace of its own. What needs nothing but files and signals is a
scenario of tests/cases (spool-new-renamed and the like); docs/BAD-INPUT.md has all of them by name.
"""

import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from scenes import RESCAN, Scene  # noqa: E402
from support.agent import Agent, binary, environment  # noqa: E402
from support.private_root import propagation  # noqa: E402
from support.wait import wait_until  # noqa: E402

YEAR = 365 * 86400


def play(scene, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root for a mount namespace")
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing (Debian: util-linux)")
    # With process ids of its own: whatever ends the scene ends its agent.
    apart = ["unshare", "--mount", "--propagation", propagation(), "--pid", "--fork", "--kill-child"]
    probe = subprocess.run([*apart, "mount", "-t", "tmpfs", "probe", str(tmp_path)], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no mount namespace here: {probe.stderr.strip()}")
    done = subprocess.run([*apart, sys.executable, HERE / "scenes.py", scene, tmp_path], capture_output=True, text=True, timeout=150)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]


def test_unmounted(tmp_path):
    play("unmounted", tmp_path)


def test_unmounted_for_good(tmp_path):
    play("unmounted_for_good", tmp_path)


def test_a_tenant_that_was_removed_is_made_again_and_said_so(program, config, clock, server):
    config.account("relay", server="127.0.0.1", port=server.port, encryption="none")
    config.tenant("acme", account="relay")
    with Agent(config, clock=clock) as agent:
        agent.wait_ready()
        name = agent.spool.drop("acme", b"To: a@example.net\n\nOne.\n")
        agent.spool.wait("acme", name, "sent")
        assert not agent.events("directory_made")  # what was made at the start was missing for nobody
        shutil.rmtree(agent.spool.path("acme"))
        wait_until(lambda: clock.advance(10) or agent.events("directory_made"), 30, agent.log_text)
        assert agent.events("directory_made", tenant="acme", level="warning", directory=".")
        assert len(agent.events("directory_replaced")) == 1
        name = agent.spool.drop("acme", b"To: b@example.net\n\nTwo.\n")
        agent.spool.wait("acme", name, "sent")
        shutil.rmtree(agent.spool.path("acme", "new"))
        wait_until(lambda: clock.advance(10) or agent.events("directory_made", directory="new"), 30, agent.log_text)


def test_overmounted(tmp_path):
    play("overmounted", tmp_path)


def test_new_overmounted(tmp_path):
    play("overmounted_new", tmp_path)


def test_sent_on_another_file_system(tmp_path):
    play("sent_elsewhere", tmp_path)


def test_remounted_read_only(tmp_path):
    play("read_only", tmp_path)


def test_no_space(tmp_path):
    play("full_disk", tmp_path)


def test_stop_without_space(tmp_path):
    play("stop_without_space", tmp_path)


def test_no_space_for_the_state(tmp_path):
    play("full_state", tmp_path)


def test_quota_exceeded(tmp_path):
    play("quota", tmp_path)


def test_disk_fails_at_fsync(tmp_path):
    """A real EIO: latched and reported, 74, nothing logged as sent, nothing claimed any more."""
    play("failing_disk", tmp_path)


def test_disk_fails_and_no_second_fsync(tmp_path, monkeypatch):
    """The same with the program of tests/fault, which tells of every fsync after the one that failed."""
    made = subprocess.run(["make", "fault-build"], cwd=HERE.parents[1], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    monkeypatch.setenv("OUTTRAY", "build-asan/fault/outtray")
    play("failing_disk", tmp_path)
    assert "failed filing 5" in (tmp_path / "report").read_text()


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    if scene.agent.running():
        assert scene.agent.stop() == 0
    scene.server.stop()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_table_of_files_is_wide_from_the_start(scene):
    """All that may be held open has its place before there are threads: making room later holds all of them up."""
    scene.agent.start().wait_ready()
    pid = scene.agent.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    size = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("FDSize:"))
    assert size >= min(hard // 8, 1024) + min(hard // 4, 4096)


def test_no_descriptor_left(scene):
    """EMFILE: nothing is lost or failed, idle sessions give theirs back, and all goes on once there are some."""
    scene.agent.start().wait_ready()
    scene.drop("one")
    scene.sent("one")
    pid = scene.agent.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        open_now = descriptors(pid)
    except PermissionError:
        pytest.skip("the agent's descriptors may not be counted by this user")
    # Nothing above 2 can be opened anew.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    assert open_now > 3
    for name in ("two", "three"):
        scene.drop(name)
    scene.until(lambda: scene.agent.events("claim_failed") or scene.agent.events("scan_failed"), "a complaint")
    for _ in range(5):
        scene.agent.clock.advance(RESCAN)
        time.sleep(0.05)
    assert scene.spool.where("acme", "two") == ["new"] and not scene.agent.events("failed")
    assert not scene.agent.events("spool_broken")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    scene.sent("two")
    scene.sent("three")
    assert scene.accepted() == ["one", "three", "two"]


def test_inotify_overflow(scene):
    """50,000 files at once: the queue of events overflows, and a message whose event was lost with them is found."""
    scene.config.account("nobody", server="127.0.0.1", port=9, encryption="none")
    scene.config.tenant("crowd", account="nobody")
    scene.agent.init = True
    scene.agent.start().wait_ready()
    new, tmp = scene.spool.path("crowd", "new"), scene.spool.path("crowd", "tmp")
    for i in range(50000):
        fd = os.open(tmp / f"{i}", os.O_WRONLY | os.O_CREAT, 0o640)
        os.write(fd, b"To: a@example.net\n\nx\n")
        os.close(fd)
    scene.agent.process.send_signal(signal.SIGSTOP)
    for i in range(50000):
        os.rename(tmp / f"{i}", new / f"{i}")
    scene.drop("one")  # its event comes when the queue is full
    scene.agent.process.send_signal(signal.SIGCONT)
    # The clock stands still: only the overflow can have told the agent to look.
    wait_until(lambda: scene.spool.where("acme", "one") == ["sent"], 60, lambda: scene.agent.log_text()[-2000:])
    scene.until(lambda: scene.agent.status()["tenants"]["crowd"]["new"]["count"] == 50000, "all of the crowd is counted")
    assert len(os.listdir(new)) + len(scene.spool.names("crowd", "cur")) == 50000
    assert not scene.agent.events("spool_broken")


def without_inotify(scene, limit):
    """The agent in a user namespace that allows no inotify instance (or no watch)."""
    script = f'echo 0 >/proc/sys/user/{limit} || exit 77; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip(f"no user namespace with its own {limit} here")
    with open(scene.agent.output, "ab") as out:
        scene.agent.process = subprocess.Popen(
            [*command, binary(), "run", "--config", str(scene.config.path)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env=environment(scene.agent.clock), cwd=scene.config.directory)
    scene.event("watch_missing")
    for name in ("one", "two"):
        scene.drop(name)
        scene.sent(name)
    assert "fs.inotify.max_user" in scene.agent.events("watch_missing")[0]["msg"]
    assert scene.agent.stop() == 0


def test_no_inotify_instance(scene):
    without_inotify(scene, "max_inotify_instances")


def test_no_inotify_watch(scene):
    without_inotify(scene, "max_inotify_watches")


@pytest.mark.parametrize("step", [YEAR, -YEAR], ids=["forward", "back"])
def test_clock_step(scene, step):
    """The wall clock is set by a year while a message waits for its retry: it goes out, and so does what is new."""
    scene.server.rules[:] = Server_rules(["on RCPT later: once 451 4.2.0 try later"])
    scene.config.data["retry"] = {"first": "1m", "max": "4h", "give_up_after": "5d", "jitter": 0}
    scene.config.data["retention"] = {"sent": "never", "failed": "never", "tmp": "never"}  # a year on, sent/ is old
    scene.agent.start().wait_ready()
    scene.drop("later")
    scene.until(lambda: scene.spool.where("acme", "later") == ["deferred"], "later in deferred")
    clock = scene.agent.clock
    base = clock.offset
    fresh = clock.path.with_name("clock.new")

    def set_clock(seconds):
        fresh.write_text(f"{seconds} {step}\n")
        os.rename(fresh, clock.path)
        clock.offset = seconds
    clock.set = set_clock
    set_clock(base)
    scene.event("clock_step")
    scene.drop("new")
    scene.sent("new")
    # At most retry.max, by the boot clock, which nobody sets.
    begin = clock.offset
    wait_until(lambda: (clock.advance(60), scene.spool.where("acme", "later") == ["sent"])[1], 60,
               lambda: scene.agent.log_text()[-2000:], interval=0.02)
    assert clock.offset - begin <= 4 * 3600 + 600
    assert scene.accepted() == ["later", "new"]


def Server_rules(lines):
    from smtpserver import Rule
    return [Rule(line) for line in lines]


# What the kernel lets only root make, or keeps only from others than root.


def test_device(scene):
    """A device in new/ is never opened: ignored, named once, left where it is."""
    try:
        os.mknod(scene.spool.path("acme", "new", "device"), 0o666 | 0o020000, os.makedev(1, 7))  # /dev/full
    except PermissionError:
        pytest.skip("only root can make a device")
    scene.agent.start().wait_ready()
    scene.drop("one")
    scene.sent("one")
    scene.event("ignored", name="device")
    scene.agent.clock.advance(RESCAN)
    assert len(scene.agent.events("ignored")) == 1
    assert scene.spool.path("acme", "new", "device").exists()


class Unprivileged(Agent):
    """The agent as a user who is not root, with everything below its directory as its own."""

    def start(self):
        self.prepare()
        if os.geteuid() == 0:
            for path in [self.config.directory, *self.config.directory.rglob("*")]:
                os.chown(path, 65534, 65534, follow_symlinks=False)
        who = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(
                [binary(), "run", "--config", str(self.config.path)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=environment(self.clock), cwd=self.config.directory, **who)
        return self


@pytest.fixture
def unprivileged(tmp_path_factory):
    import tempfile
    directory = pathlib.Path(tempfile.mkdtemp(prefix="outtray-unprivileged-"))  # where anybody may go
    directory.chmod(0o755)
    scene = Scene(directory)
    scene.agent = Unprivileged(scene.config, init=False)
    probe = subprocess.run([binary(), "--version"], capture_output=True,
                           **({"user": 65534, "group": 65534} if os.geteuid() == 0 else {}))
    if probe.returncode:
        pytest.skip("the program cannot be run by another user from where it lies")
    yield scene
    code = scene.agent.stop() if scene.agent.running() else 0
    scene.server.stop()
    shutil.rmtree(directory, ignore_errors=True)
    assert code == 0


def unreadable(scene, name):
    scene.until(lambda: scene.spool.where("acme", name) == ["failed"], f"{name} in failed")
    status = scene.spool.status("acme", "failed", name)
    assert status["reason"] == "malformed" and "may not read" in status["detail"]
    scene.drop("good")
    scene.sent("good")
    assert scene.accepted() == ["good"]


def test_mode_0000(unprivileged):
    """A file of mode 0000 is failed with the reason, and the next one goes on."""
    scene = unprivileged
    scene.agent.start().wait_ready()
    path = scene.spool.path("acme", "tmp", "closed")
    path.write_text("To: a@example.net\n\ntext\n")
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    path.chmod(0)
    os.rename(path, scene.spool.path("acme", "new", "closed"))
    unreadable(scene, "closed")


def test_wrong_owner(unprivileged):
    """A file of somebody else that the agent may not read: the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    scene = unprivileged
    scene.agent.start().wait_ready()
    path = scene.spool.path("acme", "tmp", "theirs")
    path.write_text("To: a@example.net\n\ntext\n")
    path.chmod(0o600)
    os.rename(path, scene.spool.path("acme", "new", "theirs"))
    unreadable(scene, "theirs")
