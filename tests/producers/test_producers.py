"""The writers of spool-format/producers, each run by the program in its own usage comment, as it stands there.

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

from support.wait import wait_until

WRITERS = Path(__file__).resolve().parents[2] / "spool-format" / "producers"
MESSAGE = b"From: a@example.com\nTo: b@example.net\nSubject: test\n\ntext\n"
# language: the file, the name of a program that uses it, how that is run
LANGUAGES = {
    "sh": ("outtray.sh", "use.sh", ["sh"]),
    "bash": ("outtray.sh", "use.sh", ["bash", "--posix"]),
    "python": ("outtray.py", "use.py", [sys.executable]),
    "php": ("Outtray.php", "use.php", ["php"]),
    "node": ("outtray.js", "use.js", ["node"]),
    "c": ("outtray.h", "use.c", []),
}
ODD_NAMES = [
    b"-rf", b"--help", b"a b", b" ", b":2,S", b"%s%n", b"$(touch x)", b"`touch x`", b"a;b", b"a&b", b"*", b"?", b"[a]", b"~",
    b"quote'\"", b"back\\slash", "ümlaut.eml".encode(), b"\xff\xfe", b"x" * 200, "ü".encode() * 100, b"a~2", b"#", b"!", b"status",
    b"m.status.eml", b"-n",
]
BAD_NAMES = [b".hidden", b".", b"..", b"a/b", b"../new/m", b"x" * 201, "ü".encode() * 101, b"a\nb", b"a\rb", b"\x01", b"\x7f", b"a\tb",
             b"m.status", b".status"]


def usage(source):
    """The program behind "Usage:" in the file's comment."""
    text = source.read_text()
    found = re.search(r"^(?P<start>[ *#]*)Usage:\n(?P<program>(?:(?P=start) .*\n)+)", text, re.M)
    assert found, f"{source.name} shows no usage"
    program = "".join(line[len(found["start"]) + 2:] for line in found["program"].splitlines(True))
    return "<?php\n" + program if source.suffix == ".php" else program


@contextlib.contextmanager
def open_directory():
    """A directory that other users may enter, too; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="outtray-producers-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="session")
def sources():
    """Copies of all of them, and the programs that use them."""
    with open_directory() as directory:
        for library, program, _ in LANGUAGES.values():
            shutil.copy(WRITERS / library, directory)
            (directory / program).write_text(usage(WRITERS / library))
        yield directory


@pytest.fixture(scope="session", params=LANGUAGES)
def writer(request, sources):
    """The command that runs one of the writers; it takes DIRECTORY and NAME."""
    _, program, command = LANGUAGES[request.param]
    if request.param == "c":
        warnings = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic"]
        subprocess.run(["gcc", "-std=c99", *warnings, "-O2", "-o", sources / "use", sources / program], check=True)
        return [str(sources / "use")]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if request.param in ("sh", "bash"):
        # Sourced by its own path, from whatever directory.
        script = (sources / program).read_text().replace("./outtray.sh", f"{sources}/outtray.sh")
        return [*command, "-c", script, "use"]
    return [*command, str(sources / program)]


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


def is_text(name):
    with contextlib.suppress(UnicodeDecodeError):
        return bool(name.decode())
    return False


def test_odd_names(writer, tenant):
    # Node.js reads its arguments as UTF-8; test_node_takes_any_octets gives it the others.
    odd = [name for name in ODD_NAMES if is_text(name) or "node" not in writer[0]]
    for name in odd:
        result = write(writer, tenant, name)
        assert result.returncode == 0, (name, result.stderr)
    assert names(tenant / "new") == sorted(odd)
    assert names(tenant / "tmp") == []


def test_node_takes_any_octets(sources, tenant):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    script = "require(process.argv[1]).submit(process.argv[2], 'text\\n', Buffer.from('fffe', 'hex'))"
    subprocess.run(["node", "-e", script, sources / "outtray.js", tenant], check=True)
    assert names(tenant / "new") == [b"\xff\xfe"]


def test_names_that_cannot_be(writer, tenant):
    """The agent would ignore them: refused, with words, and nothing is written anywhere."""
    for name in BAD_NAMES:
        result = write(writer, tenant, name)
        assert result.returncode != 0, name
        assert result.stderr
        assert names(tenant) == [b"new", b"tmp"]
        assert names(tenant / "new") == names(tenant / "tmp") == []


def test_makes_names(sources, tenant):
    """Without a name one is made, which is returned and is never the same."""
    made = []
    header = "#include \"outtray.h\"\nint main(int c, char **v) { char n[OUTTRAY_NAME_SIZE] = \"\"; (void)c;" \
             "if (outtray_submit(v[1], n, \"text\\n\", 5) < 0) return 1; puts(n); return 0; }\n"
    (sources / "named.c").write_text("#define _POSIX_C_SOURCE 200809L\n" + header)
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", sources / "named", sources / "named.c"], check=True)
    commands = {
        "sh": ["sh", "-c", f". {sources}/outtray.sh; echo text | outtray_submit \"$1\"", "use"],
        "python": [sys.executable, "-c", "import sys, outtray; print(outtray.submit(sys.argv[1], b'text\\n'))"],
        "php": ["php", "-r", "require 'Outtray.php'; echo Outtray::submit($argv[1], \"text\\n\"), \"\\n\";", "--"],
        "node": ["node", "-e", "console.log(require('./outtray.js').submit(process.argv[1], 'text\\n'))"],
        "c": [str(sources / "named")],
    }
    for command in commands.values():
        for _ in range(2):
            if shutil.which(command[0]) is None:
                continue
            done = subprocess.run([*command, str(tenant)], cwd=sources, capture_output=True, text=True, check=True)
            made.append(done.stdout.strip())
    assert len(set(made)) == len(made)
    assert names(tenant / "new") == sorted(name.encode() for name in made)
    assert all((tenant / "new" / name).read_bytes() == b"text\n" for name in made)
    assert names(tenant / "tmp") == []


def test_node_module_can_be_imported(sources, tenant):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    (sources / "use.mjs").write_text("import { submit } from './outtray.js';\nsubmit(process.argv[2], 'text\\n', 'm');\n")
    subprocess.run(["node", sources / "use.mjs", tenant], check=True)
    assert names(tenant / "new") == [b"m"]


def test_shell_function_leaves_the_caller_alone(sources, tenant):
    """Directory, mask, options and traps of a script that calls it, also where it fails."""
    script = f"""
        trap 'echo leaving' EXIT
        . {sources}/outtray.sh
        before=$(pwd; umask; echo "$-")
        echo text | outtray_submit "$1" one
        echo text | outtray_submit "$1" .bad 2>/dev/null || echo refused
        if echo text | outtray_submit "$1" one 2>/dev/null; then echo twice; fi
        [ "$before" = "$(pwd; umask; echo "$-")" ] && echo same
    """
    done = subprocess.run(["sh", "-c", script, "use", tenant], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "same", "leaving"]
    assert names(tenant / "new") == [b"one"]
    assert names(tenant / "tmp") == []


def test_interrupted_shell_leaves_nothing(sources, tenant):
    script = f". {sources}/outtray.sh; outtray_submit \"$1\" m"
    process = subprocess.Popen(["sh", "-c", script, "use", tenant], stdin=subprocess.PIPE, start_new_session=True)
    wait_until(lambda: names(tenant / "tmp") == [b"m"], what="the file in tmp/")
    os.killpg(process.pid, signal.SIGTERM)
    process.stdin.close()
    assert process.wait(30) != 0
    wait_until(lambda: names(tenant / "tmp") == [], what="tmp/ to be empty")
    assert names(tenant / "new") == []


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
