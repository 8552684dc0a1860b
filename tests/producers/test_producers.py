"""The writers of SPOOL.md's producer's guide, extracted from the page and run as they stand there.

/usr/bin/python3 -m pytest tests/producers
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "spool-format" / "SPOOL.md"
MESSAGE = b"From: a@example.com\nTo: b@example.net\nSubject: test\n\ntext\n"
LANGUAGES = {"sh": ["sh"], "python": [sys.executable], "php": ["php"], "c": []}
ODD_NAMES = [
    b"-rf", b"--help", b"a b", b" ", b":2,S", b"%s%n", b"$(touch x)", b"`touch x`", b"a;b", b"a&b", b"*", b"?", b"[a]", b"~",
    b"quote'\"", b"back\\slash", "ümlaut.eml".encode(), b"\xff\xfe", b"x" * 200, b"a~2", b"#", b"!", b"status",
]


def block(language):
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == 1, f"{len(blocks)} blocks of {language}"
    return blocks[0]


@contextlib.contextmanager
def open_directory():
    """A directory that other users may enter, too; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="outtray-producers-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="session")
def sources():
    with open_directory() as directory:
        yield directory


@pytest.fixture(scope="session", params=LANGUAGES)
def writer(request, sources):
    """The command that runs one of the writers."""
    language, directory = request.param, sources
    source = directory / f"spool-write.{language}"
    source.write_text(block(language))
    command = LANGUAGES[language]
    if language == "c":
        program = directory / "spool-write"
        subprocess.run(["gcc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, source], check=True)
        return [str(program)]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return [*command, str(source)]


@pytest.fixture
def tenant():
    with open_directory() as directory:
        for place in ("tmp", "new"):
            (directory / "acme" / place).mkdir(parents=True)
        yield directory / "acme"


def write(writer, tenant, name=b"m", message=MESSAGE, before=(), **options):
    return subprocess.run([*before, *writer, str(tenant), name], input=message, capture_output=True, timeout=60, check=False, **options)


def names(directory):
    return sorted(os.listdir(os.fsencode(directory)))


def refused(result, tenant):
    """Not accepted: an exit status that says so, nothing in new/ and nothing left in tmp/."""
    assert result.returncode != 0
    assert names(tenant / "new") == []
    assert names(tenant / "tmp") == []


def test_accepted(writer, tenant):
    result = write(writer, tenant)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert names(tenant / "new") == [b"m"]
    assert names(tenant / "tmp") == []
    file = tenant / "new" / "m"
    assert file.read_bytes() == MESSAGE
    assert file.stat().st_nlink == 1
    assert file.stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("message", [b"", b"\0\r\n\xff" * 1000000, b"x"], ids=["empty", "binary", "no line end"])
def test_any_bytes(writer, tenant, message):
    assert write(writer, tenant, message=message).returncode == 0
    assert (tenant / "new" / "m").read_bytes() == message


def test_odd_names(writer, tenant):
    for name in ODD_NAMES:
        result = write(writer, tenant, name)
        assert result.returncode == 0, (name, result.stderr)
    assert names(tenant / "new") == sorted(ODD_NAMES)
    assert names(tenant / "tmp") == []


def test_relative_directory(writer, tenant):
    assert write(writer, "acme", cwd=tenant.parent).returncode == 0
    assert names(tenant / "new") == [b"m"]


def test_name_taken_in_new(writer, tenant):
    (tenant / "new" / "m").write_bytes(b"another message")
    result = write(writer, tenant)
    assert result.returncode != 0
    assert result.stderr
    assert (tenant / "new" / "m").read_bytes() == b"another message"
    assert names(tenant / "tmp") == []


def test_name_taken_in_tmp(writer, tenant):
    (tenant / "tmp" / "m").write_bytes(b"another producer is writing this")
    assert write(writer, tenant).returncode != 0
    assert names(tenant / "new") == []
    assert (tenant / "tmp" / "m").read_bytes() == b"another producer is writing this"


def test_a_directory_of_that_name(writer, tenant):
    (tenant / "new" / "m").mkdir()
    assert write(writer, tenant).returncode != 0
    assert names(tenant / "new" / "m") == []
    assert names(tenant / "tmp") == []


def test_file_size_limit(writer, tenant):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that write(2) fails with EFBIG
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    refused(write(writer, tenant, message=b"x" * 200000, preexec_fn=limit, restore_signals=False), tenant)


def test_disk_full(writer, tenant):
    """A real one: a file system of 128 kB in a mount namespace of its own."""
    inside = (
        'mount -t tmpfs -o size=128k none "$0" && mkdir "$0/tmp" "$0/new" || exit 77\n'
        'head -c 1000000 /dev/zero | "$@"; echo "status=$?"; ls "$0/tmp" "$0/new"'
    )
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", inside, str(tenant), *writer, str(tenant), "m"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    if "status=" not in result.stdout:
        pytest.skip(f"no mount namespace here: {result.stderr.strip()}")
    status, _, listing = result.stdout.partition("\n")
    assert status != "status=0"
    assert result.stderr
    assert listing.split() == [f"{tenant}/new:", f"{tenant}/tmp:"] or listing.split() == [f"{tenant}/tmp:", f"{tenant}/new:"]


@pytest.mark.parametrize("missing", ["tmp", "new"])
def test_missing_directory(writer, tenant, missing):
    (tenant / missing).rmdir()
    result = write(writer, tenant)
    assert result.returncode != 0
    assert result.stderr
    assert names(tenant) == [b"tmp" if missing == "new" else b"new"]
    assert names(tenant / ("tmp" if missing == "new" else "new")) == []


@pytest.mark.parametrize("unwritable", ["tmp", "new"])
def test_unwritable_directory(writer, tenant, unwritable):
    def become_nobody():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    if os.getuid() != 0:
        (tenant / unwritable).chmod(0o555)
        refused(write(writer, tenant), tenant)
        return
    for place in ("tmp", "new"):
        (tenant / place).chmod(0o755 if place == unwritable else 0o777)
    refused(write(writer, tenant, preexec_fn=become_nobody), tenant)


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
def test_order(writer, tenant, tmp_path):
    """write, fsync of the file, link or rename into new/, fsync of new/; in this order, and exit status 0 only then."""
    trace = tmp_path / "trace"
    calls = "write,pwrite64,writev,copy_file_range,splice,sendfile,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,unlinkat"
    assert write(writer, tenant, before=["strace", "-f", "-y", "-s", "512", "-o", trace, "-e", f"trace={calls}"]).returncode == 0
    lines = trace.read_text().splitlines()
    tmp, new = re.escape(f"{tenant}/tmp/m"), re.escape(f"{tenant}/new")

    def positions(pattern):
        return [i for i, line in enumerate(lines) if re.search(pattern, line)]

    writes = positions(rf"(write|copy_file_range|splice|sendfile)\w*\(.*<{tmp}>")
    synced = positions(rf"fsync\(\d+<{tmp}>\) += 0")
    moved = positions(r"(link|rename)\w*\(.*\bm\".*\bm\".* = 0$")
    accepted = positions(rf"fsync\(\d+<{new}>\) += 0")
    assert writes and synced and moved and accepted, "\n".join(lines)
    assert max(writes) < min(synced) <= max(synced) < min(moved) <= max(moved) < min(accepted), "\n".join(lines)


@needs_strace
@pytest.mark.parametrize("fault", ["write:error=ENOSPC", "write:error=EIO", "fsync:error=EIO", "close:error=EIO", "link,linkat:error=EDQUOT"])
def test_every_error_is_seen(writer, tenant, fault):
    """Each step fails once: the exit status says so, and nothing is in new/."""
    calls = fault.partition(":")[0]
    if calls == "close" and "php" in writer[0]:
        pytest.skip("PHP does not tell whether close(2) failed")
    path = [] if calls.startswith("link") else ["-P", f"{tenant}/tmp/m"]
    before = ["strace", "-f", "-o", "/dev/null", *path, "-e", f"trace={calls}", "-e", f"inject={fault}"]
    refused(write(writer, tenant, before=before), tenant)


@needs_strace
def test_failed_sync_of_new_is_seen(writer, tenant):
    before = ["strace", "-f", "-o", "/dev/null", "-P", f"{tenant}/new", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO"]
    assert write(writer, tenant, before=before).returncode != 0
    assert names(tenant / "tmp") == []
