"""File systems in image files: made once, copied for each state, mounted through loop devices, cut off from power.

Everything happens in the mount namespace of the calling process (see apart()), and loop devices are attached by mount(8)
with autoclear: when the process ends, however it ends, the kernel unmounts and detaches what is left.
"""

import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile
import time

GOINGDOWN = 0x8004587D   # _IOR('X', 125, uint32_t): FS_IOC_SHUTDOWN of ext4, XFS_IOC_GOINGDOWN of xfs
NO_LOG_FLUSH = 2         # what was not flushed is gone
MAKE = {
    "ext4": (24, ["mkfs.ext4", "-q", "-F", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]),
    "xfs": (304, ["mkfs.xfs", "-q", "-f", "-K"]),
    "btrfs": (128, ["mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single"]),
}
OPTIONS = {"xfs": ["nouuid"]}  # copies of one image are mounted at the same time
CLONE_NEWNS, MS_REC, MS_PRIVATE, PR_SET_PDEATHSIG = 0x20000, 0x4000, 0x40000, 1
_libc = ctypes.CDLL(None, use_errno=True)


def apart():
    """Moves this process into a mount namespace of its own."""
    if _libc.unshare(CLONE_NEWNS) or _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "no mount namespace")


def end_with_parent():
    """For a process that was just made: it is killed where its parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def missing(*kinds):
    """Why these file systems cannot be tested here, or None."""
    if os.geteuid() != 0:
        return "needs root (mounts and loop devices)"
    if not os.path.exists("/dev/loop-control"):
        return "needs loop devices (/dev/loop-control)"
    for kind in kinds:
        if shutil.which(MAKE[kind][1][0]) is None:
            return f"needs {MAKE[kind][1][0]}"
    try:
        with tempfile.TemporaryDirectory() as directory:
            for kind in kinds:
                probe(kind, pathlib.Path(directory))
    except (OSError, subprocess.SubprocessError) as problem:
        return f"cannot mount an image here: {getattr(problem, 'stderr', None) or problem}"
    return None


def probe(kind, directory):
    """Mounts and unmounts one, in a process of its own."""
    image, place = directory / f"{kind}.img", directory / kind
    place.mkdir()
    make(kind, image)
    script = f"mount -o loop '{image}' '{place}' && umount '{place}'"
    subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], check=True, capture_output=True,
                   text=True, timeout=60)


def make(kind, image):
    megabytes, command = MAKE[kind]
    with open(image, "wb") as out:
        out.truncate(megabytes << 20)
    subprocess.run([*command, str(image)], check=True, capture_output=True, text=True, timeout=60)


def copy(image, to):
    subprocess.run(["cp", "--sparse=always", str(image), str(to)], check=True, timeout=60)


def _call(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


class Mounted:
    """An image at a place, until close()."""

    def __init__(self, kind, image, place):
        self.place = pathlib.Path(place)
        self.place.mkdir(exist_ok=True)
        _call("mount", "-t", kind, "-o", ",".join(["loop", "noatime", *OPTIONS.get(kind, [])]), str(image), str(self.place))

    def cut(self):
        """The power goes: what was not flushed never reaches the image."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, GOINGDOWN, struct.pack("=I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def close(self):
        """Unmounts; the loop device detaches itself. What still runs there has a moment to end."""
        deadline = time.monotonic() + 10
        while True:
            done = subprocess.run(["umount", str(self.place)], capture_output=True, text=True, timeout=60)
            if done.returncode == 0:
                return
            if "busy" not in done.stderr or time.monotonic() > deadline:
                raise OSError(f"cannot unmount: {done.stderr.strip()}")
            time.sleep(0.01)


def room():
    """A directory for images: in memory where there is one."""
    shm = pathlib.Path("/dev/shm")
    base = shm if shm.is_dir() and os.access(shm, os.W_OK) else None
    return pathlib.Path(tempfile.mkdtemp(prefix="outtray-crash.", dir=base))
