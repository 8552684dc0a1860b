"""Unpacks Debian packages into a cache without installing them.

Debian's mail servers conflict with one another and start as services; the tests want several of them, as plain files.
unpack("postfix") downloads the package and those of its dependencies that this machine lacks, and returns a directory
with their files laid out as below "/". Later runs find it there. Run as a program, it fills the cache:

    /usr/bin/python3 tests/support/debs.py postfix dovecot-core
"""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys

MERGED = ("bin", "sbin", "lib", "lib64")


class Unavailable(Exception):
    """The packages cannot be had, with the reason."""


def cache_directory():
    """$OUTTRAY_TEST_CACHE, or outtray-tests below $XDG_CACHE_HOME, /var/cache or ~/.cache."""
    if "OUTTRAY_TEST_CACHE" in os.environ:
        return pathlib.Path(os.environ["OUTTRAY_TEST_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if os.geteuid() == 0 else os.path.expanduser("~/.cache"))
    return pathlib.Path(base, "outtray-tests")


def _run(*command, cwd=None):
    environment = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive")
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command[:4])}: {done.stderr.strip()[-400:]}")
    return done.stdout


def _wanted(package):
    """[(name, version)] of the package and what else apt would install for it here."""
    plan = _run("apt-get", "-s", "install", "--no-install-recommends", package)
    found = re.findall(r"^Inst (\S+)(?: \[\S+\])? \((\S+)", plan, re.MULTILINE)
    if not any(name == package for name, _ in found):
        # Already installed as a whole: take the very package again, so that the private root is complete by itself.
        policy = _run("apt-cache", "policy", package)
        version = re.search(r"Candidate: (\S+)", policy)
        if version is None or version.group(1) == "(none)":
            raise Unavailable(f"no Debian package {package}: run apt-get update")
        found.append((package, version.group(1)))
    return found


def _merge(source, target):
    for entry in source.iterdir():
        goal = target / entry.name
        if entry.is_dir() and not entry.is_symlink():
            goal.mkdir(exist_ok=True)
            _merge(entry, goal)
        else:
            goal.unlink(missing_ok=True)
            entry.rename(goal)


def _follow_merged_usr(root):
    """Packages still ship files in /lib; where /lib is a symbolic link here, they belong below /usr."""
    for name in MERGED:
        if (root / name).is_dir() and pathlib.Path("/", name).is_symlink():
            goal = root / "usr" / name
            goal.mkdir(parents=True, exist_ok=True)
            _merge(root / name, goal)
            shutil.rmtree(root / name)


def unpack(package):
    """The directory with the package's files. Raises Unavailable."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is missing: this needs a Debian machine")
    cache = cache_directory()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = open(cache / f".{package}.lock", "w", encoding="ascii")
    except OSError as error:
        raise Unavailable(f"{cache}: {error.strerror}; name another directory in $OUTTRAY_TEST_CACHE") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # What was unpacked stays in use as long as it fits this machine, whatever apt would choose today.
        kept = cache / package
        if (kept / ".complete").exists() and not _lacking(kept):
            return kept
        wanted = _wanted(package)
        fresh = cache / f".{package}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        downloads = cache / f".{package}.debs"
        shutil.rmtree(downloads, ignore_errors=True)
        downloads.mkdir()
        _run("apt-get", "download", *(f"{name}={version}" for name, version in wanted), cwd=downloads)
        for archive in sorted(downloads.glob("*.deb")):
            _run("dpkg-deb", "-x", str(archive), str(fresh))
        shutil.rmtree(downloads)
        _follow_merged_usr(fresh)
        (fresh / ".complete").write_text("".join(f"{name} {version}\n" for name, version in wanted))
        shutil.rmtree(kept, ignore_errors=True)
        fresh.rename(kept)
        return kept


def library_path(root):
    """$LD_LIBRARY_PATH for a program of an unpacked package."""
    return ":".join(str(path) for path in (root / "usr" / "lib").glob("*-linux-gnu"))


def _lacking(root):
    """Whether a program in root misses a library here (the machine was set up anew below the same cache)."""
    libraries = [str(path) for path in (root / "usr" / "lib").rglob("*") if path.is_dir()] if root.is_dir() else []
    environment = dict(os.environ, LD_LIBRARY_PATH=":".join(libraries), LC_ALL="C")
    for program in (path for part in ("usr/sbin", "usr/bin") for path in (root / part).glob("*")):
        if program.is_symlink() or not program.is_file() or program.read_bytes()[:4] != b"\x7fELF":
            continue
        done = subprocess.run(["ldd", str(program)], env=environment, capture_output=True, text=True, check=False)
        if "not found" in done.stdout + done.stderr:
            return True
    return False


if __name__ == "__main__":
    for wanted_package in sys.argv[1:]:
        try:
            print(f"{wanted_package}: {unpack(wanted_package)}")
        except Unavailable as problem:
            sys.exit(f"{wanted_package}: {problem}")
