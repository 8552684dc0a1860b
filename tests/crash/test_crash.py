"""Kills at the calls that change the disk, power cuts, replayed disks: a sample of what `make crash` does as a whole."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build-crash"
sys.path.insert(0, str(HERE))
import volume  # noqa: E402


@pytest.fixture(scope="session")
def reason():
    """Why this machine cannot cut the power of a disk; by kind of file system."""
    return {kind: volume.missing(kind) for kind in volume.MAKE}


@pytest.fixture
def crash(reason, tmp_path):
    assert os.access(BUILD / "outtray", os.X_OK), "run `make crash-build` first"

    def run(verb, kinds, *arguments):
        """Runs run.py, which must end well, and returns its figures."""
        why = next(filter(None, (reason[kind] for kind in kinds.split(","))), None)
        if why:
            pytest.skip(why)
        record = tmp_path / "figures.json"
        done = subprocess.run([sys.executable, str(HERE / "run.py"), verb, "--fs", kinds, "--jobs", "1", "--record", str(record),
                               *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=300)
        if done.returncode == 77:
            pytest.skip(done.stdout.strip())
        assert done.returncode == 0, done.stdout[-6000:]
        return json.loads(record.read_text())
    return run


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_killed_and_cut(crash, kind):
    figures = crash("sweep", kind, "--what", "agent", "--shapes", "1x1", "--sample", "14")
    assert figures["kills"] >= 13 and figures["found"] == []


def test_killed_and_cut_with_more_in_flight(crash):
    figures = crash("sweep", "ext4", "--what", "agent", "--shapes", "2x4", "--sample", "8")
    assert figures["kills"] >= 7 and figures["found"] == []


def test_killed_while_it_recovers(crash):
    figures = crash("sweep", "ext4", "--what", "recovery", "--shapes", "1x1", "--sample", "2")
    assert figures["kills"] >= 8 and figures["found"] == []


@pytest.mark.parametrize("what", ["submit", "token"])
def test_producers_and_tokens(crash, what):
    figures = crash("sweep", "ext4", "--what", what, "--sample", "7")
    assert figures["kills"] >= 6 and figures["found"] == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_replayed_disk(crash, kind):
    figures = crash("replay", kind, "--states", "16")
    assert figures["states"] >= 16 and figures["found"] == []


# The controls: without what the promises stand on, the same tests find something.

@pytest.mark.parametrize("what", ["agent", "submit", "token"])
def test_a_missing_directory_sync_is_noticed(crash, what):
    assert crash("sweep", "ext4", "--what", what, "--without", "directory-sync", "--shapes", "1x1", "--sample", "60")["found"]


def test_a_missing_directory_sync_is_noticed_on_a_replayed_disk(crash):
    assert crash("replay", "ext4", "--what", "agent", "--states", "120", "--without", "directory-sync")["found"]


def test_a_missing_recovery_rank_is_noticed(crash):
    assert crash("replay", "btrfs", "--what", "agent", "--states", "240", "--without", "recovery-rank")["found"]


# The tracer, held against strace

READS = {"newfstatat", "fstat", "stat", "lstat", "statx", "lseek", "read", "pread64", "readv", "preadv", "getdents64", "close",
         "access", "faccessat", "faccessat2", "readlink", "readlinkat", "fcntl", "flock", "inotify_add_watch", "mmap", "fadvise64",
         "statfs", "fstatfs", "epoll_ctl", "chdir", "fchdir", "getcwd", "readahead", "execve", "dup", "dup2", "dup3", "ioctl",
         "landlock_add_rule", "name_to_handle_at", "getxattr", "fgetxattr"}
STRING = r'"((?:[^"\\]|\\.)*)"(?:\.\.\.)?'


def strace_calls(text, below):
    """What strace saw change something below a directory, in the tracer's words. Whatever it does not know as a reader counts."""
    found = set()
    for line in text.splitlines():
        match = re.match(r"(?:\[pid +\d+\] +|\d+ +)?([a-z_0-9]+)\((.*)", line)
        if not match or below not in line or "resumed>" in line[:40]:
            continue
        name, rest = match.groups()
        rest = rest.rpartition(") = ")[0] or rest  # not what it returned
        if name in READS or (name.startswith("openat") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", rest)):
            continue
        paths, directory = [], ""
        if name in ("write", "pwrite64", "writev"):
            rest = rest.split(",")[0]
        for fd, string in re.findall(r"(?:\d+|AT_FDCWD)<([^>]*)>|" + STRING, rest):
            if fd:
                if directory:
                    paths.append(directory)
                directory = fd
            else:
                paths.append(string if string.startswith("/") else f"{directory}/{string}")
                directory = ""
        if directory:
            paths.append(directory)
        if not any(path == below or path.startswith(below + "/") for path in paths):
            continue
        short = ["." if path == below else path.removeprefix(below + "/") for path in paths[:2]]
        found.add(f"{name} {' -> '.join(short)}")
    return found


def plain(lines):
    """What depends on the moment is left out: inodes, how often files of the state are written, and whether a message was on its way
    for so long (a tenth of a second) that it was moved to cur/ before it was filed."""
    lines = {re.sub(r"/\.\d+\.(status\.)?tmp", r"/.INODE.\1tmp", line) for line in lines}
    lines = {line for line in lines if not re.match(r"renameat2 spool/\w+/new/\S+ -> spool/\w+/cur/", line)}
    return {re.sub(r"^renameat2 (spool/\w+)/(?:new|cur/\w+)/", r"renameat2 \1/NEW-OR-CUR/", line) for line in lines}


def test_the_tracer_sees_what_strace_sees(tmp_path):
    """Both watch the whole scenario; every call that changes the spool or the state, whoever makes it, is in both lists."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    if os.geteuid() != 0:
        pytest.skip("needs root: an agent lets nobody else look at what it does")
    assert os.access(BUILD / "outtray", os.X_OK), "run `make crash-build` first"
    lists = []
    for watcher in ("tracer", "strace"):
        out = tmp_path / watcher
        done = subprocess.run([sys.executable, str(HERE / "watched.py"), watcher, str(tmp_path / f"{watcher}.stage"), str(out)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        if done.returncode == 77:
            pytest.skip(done.stdout.strip())
        assert done.returncode == 0, done.stdout
        text = out.read_text(encoding="utf-8", errors="backslashreplace")
        lists.append(plain(text.splitlines() if watcher == "tracer" else strace_calls(text, str(tmp_path / f"{watcher}.stage/disk"))))
    traced, straced = lists
    assert len(straced) > 40
    assert straced - traced == set(), "strace saw more"
    assert traced - straced == set(), "the tracer saw more"
