"""A private copy of this machine in which a mail server can be root, have users of its own and write where it likes.

Namespaces of mounts and of process ids, an overlay over "/", and the unpacked packages in it: nothing of it is seen
outside, and when the one process that holds it is killed, every process inside ends and every mount is gone. The
network is the machine's own, so the server is reached on the loopback interface.
"""

import functools
import os
import pathlib
import shutil
import subprocess

from support.child import LOG_TAIL, Child

HERE = pathlib.Path(__file__).resolve().parent


@functools.lru_cache
def propagation():
    """How unshare keeps our mounts to ourselves. In a chroot whose root is no mount point it cannot make everything
    private; where nothing is shared to begin with, that is not needed."""
    shared = "shared:" in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return "private" if shared else "unchanged"


@functools.lru_cache
def obstacle():
    """Why private roots cannot be had here, or ""."""
    if os.geteuid() != 0:
        return "needs root for a private mount namespace"
    for tool in ("unshare", "setpriv", "chroot"):
        if shutil.which(tool) is None:
            return f"{tool} is missing"
    probe = subprocess.run(
        ["unshare", "--mount", "--propagation", propagation(), "--pid", "--fork", "sh", "-c",
         "d=$(mktemp -d) && mount -t tmpfs probe $d && mkdir $d/u $d/w $d/r && "
         "mount -t overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w overlay $d/r; s=$?; "
         "umount $d/r; umount $d; rmdir $d; exit $s"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if probe.returncode != 0:
        return f"no private mount namespace with an overlay: {probe.stderr.strip()[-200:]}"
    return ""


class PrivateRoot(Child):
    """Runs a shell script inside, as process 1 of its namespace. The real directory `shared` is /shared in there."""

    def __init__(self, directory, packages, script):
        self.directory = pathlib.Path(directory)
        self.shared = self.directory / "shared"
        self.work = self.directory / "private"
        self.shared.mkdir(parents=True)
        self.work.mkdir()
        self.packages = list(packages)
        self.script = script
        self.log = self.directory / "private.log"

    def start(self):
        (self.shared / "start.sh").write_text(self.script)
        self.launch("unshare", "--mount", "--propagation", propagation(), "--pid", "--fork", "--kill-child",
                    HERE / "private_root.sh", self.work, self.shared, *self.packages, cwd="/")
        return self

    def log_text(self):
        texts = [self.log] + sorted(self.shared.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-LOG_TAIL:]}" for path in texts if path.exists())
