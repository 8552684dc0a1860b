"""Scenes with mounts, each played in a mount namespace of its own: test_environment.py calls

    unshare --mount … python3 scenes.py SCENE DIRECTORY

and whatever is mounted here is gone with that process. A scene that cannot be had on this machine ends with 77 and the
reason on its standard error.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "cases")]

from smtpserver import Server  # noqa: E402
from support.agent import Agent, Config  # noqa: E402
from support.wait import wait_until  # noqa: E402

RESCAN = 61  # seconds after which whatever happened must have been noticed
TEXT = "To: {}@example.net\nSubject: {}\n\ntext of {}\n"


class Skip(Exception):
    pass


class Scene:
    """A server, a configuration of two tenants, an agent that is not started yet."""

    made = []

    def __init__(self, directory, script=()):
        self.made.append(self)
        self.server = Server(script)
        self.server.start()
        self.config = Config(directory)
        self.config.account("relay", server="127.0.0.1", port=self.server.port, encryption="none", limits={"connections": 1})
        self.config.tenant("acme", account="relay").tenant("other", account="relay")
        self.agent = Agent(self.config)
        self.agent.prepare()
        self.spool = self.agent.spool

    def drop(self, name, tenant="acme"):
        self.spool.drop(tenant, TEXT.format(name, name, name), name=name)

    def sent(self, name, tenant="acme"):
        self.until(lambda: self.spool.where(tenant, name) == ["sent"], f"{tenant}/{name} in sent")

    def until(self, condition, what):
        """Waits, and lets the agent's clock go on meanwhile: rescans come."""
        def step():
            if condition():
                return True
            assert self.agent.running(), f"the agent ended\n{self.agent.log_text()[-3000:]}"
            self.agent.clock.advance(7)
            return False
        wait_until(step, 30, lambda: f"{what}; {self.spool.states('acme')}\n{self.agent.log_text()[-3000:]}", interval=0.05)

    def event(self, event, **keys):
        self.until(lambda: self.agent.events(event, **keys), f"event={event} {keys}")

    def accepted(self):
        return sorted(address.split("@")[0] for one in self.server.accepted for address in one.rcpts)

    def stop(self, code=0):
        ended = self.agent.stop()
        assert ended == code, f"the agent ended with {ended}, not {code}\n{self.agent.log_text()[-3000:]}"

    def says(self, spool):
        self.until(lambda: (self.agent.status() or {}).get("spool") == spool, f"spool: {spool} in status.json")


def mount(*words):
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"mount {' '.join(map(str, words))}: {done.stderr.strip()}")


def umount(place):
    """The agent's descriptors keep the file system alive, as they would anywhere: away from the tree all the same."""
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def unmounted(directory):
    """The tenant's file system is unmounted and comes back: what lies on it waits untouched, then goes out."""
    scene = Scene(directory)
    place, disk = scene.spool.path("acme"), directory / "disk"
    disk.mkdir()
    mount("--bind", disk, place)
    scene.agent.start()
    scene.until(lambda: (disk / "new").is_dir(), "the tenant's directories on the disk")
    scene.drop("one")
    scene.sent("one")
    umount(place)
    scene.event("directory_replaced", tenant="acme")
    assert not scene.agent.events("directory_made")  # the place below has what init made
    scene.drop("meanwhile", tenant="other")
    scene.sent("meanwhile", tenant="other")
    (disk / "new" / "two").write_text(TEXT.format("two", "two", "two"))
    scene.agent.clock.advance(RESCAN)
    scene.drop("later", tenant="other")
    scene.sent("later", tenant="other")
    assert (disk / "new" / "two").exists()
    mount("--bind", disk, place)
    scene.sent("two")
    assert (disk / "sent" / "one").exists() and (disk / "sent" / "two").exists()
    assert scene.accepted() == ["later", "meanwhile", "one", "two"]
    scene.stop()


def unmounted_for_good(directory):
    """What is below the tenant's file system is empty and cannot be written: said as what it is, and it is mended."""
    scene = Scene(directory)
    place, disk = scene.spool.path("acme"), directory / "disk"
    disk.mkdir()
    shutil.rmtree(place)
    place.mkdir()
    mount("--bind", place, place)
    mount("-o", "remount,ro,bind", place)
    mount("--bind", disk, place)
    scene.agent.start()
    scene.until(lambda: (disk / "new").is_dir(), "the tenant's directories on the disk")
    scene.drop("one")
    scene.sent("one")
    umount(place)
    scene.event("tenant_unavailable", tenant="acme", directory="tmp", reason="Read-only file system")
    assert "missing and cannot be made" in scene.agent.events("tenant_unavailable")[0]["msg"]
    mount("-o", "remount,rw,bind", place)
    scene.event("directory_made", tenant="acme", level="warning", directory="tmp,new,cur,deferred,sent,failed,hold")
    scene.drop("two")
    scene.sent("two")
    scene.stop()


def overmounted(directory):
    """Another file system over the tenant's directory: what is below waits, what is on top is served, and back."""
    scene = Scene(directory)
    place = scene.spool.path("acme")
    scene.agent.start()
    scene.drop("one")
    scene.sent("one")
    mount("-t", "tmpfs", "over", place)
    scene.event("directory_replaced", tenant="acme")
    scene.until(lambda: (place / "new").is_dir() and (place / "tmp").is_dir(), "directories on the new file system")
    scene.drop("two")
    scene.sent("two")
    umount(place)
    scene.until(lambda: len(scene.agent.events("directory_replaced")) >= 2, "the second directory_replaced")
    scene.drop("three")
    scene.sent("three")
    assert sorted(scene.spool.names("acme", "sent")) == ["one", "three"]
    assert scene.accepted() == ["one", "three", "two"]
    scene.stop()


def overmounted_new(directory):
    """Another file system over new/ alone: refused with the reason, since no message could leave it by rename."""
    scene = Scene(directory)
    scene.agent.start()
    scene.drop("one")
    scene.sent("one")
    place = scene.spool.path("acme", "new")
    mount("-t", "tmpfs", "over", place)
    scene.event("tenant_unavailable", tenant="acme", directory="new")
    (place / "two").write_text(TEXT.format("two", "two", "two"))
    scene.drop("meanwhile", tenant="other")
    scene.sent("meanwhile", tenant="other")
    scene.agent.clock.advance(RESCAN)
    assert (place / "two").exists()
    umount(place)
    scene.drop("three")
    scene.sent("three")
    assert scene.accepted() == ["meanwhile", "one", "three"]
    scene.stop()


def sent_elsewhere(directory):
    """sent/ on another file system (EXDEV): the tenant is refused with the reason, nothing is claimed, others go on."""
    scene = Scene(directory)
    mount("-t", "tmpfs", "over", scene.spool.path("acme", "sent"))
    scene.drop("one")
    scene.agent.start()
    scene.event("tenant_unavailable", tenant="acme", directory="sent")
    assert "another file system" in scene.agent.events("tenant_unavailable")[0]["msg"]
    scene.drop("meanwhile", tenant="other")
    scene.sent("meanwhile", tenant="other")
    assert scene.spool.where("acme", "one") == ["new"]
    umount(scene.spool.path("acme", "sent"))
    scene.sent("one")
    scene.stop()


def read_only(directory):
    """Remounted read-only with a message in flight: broken, said everywhere, not logged as sent; sent after a restart."""
    scene = Scene(directory, ["on BODY: once pause & default"])
    place = scene.spool.path("acme")
    mount("-t", "tmpfs", "disk", place)
    scene.agent.start()
    scene.until(lambda: (place / "new").is_dir() and (place / "tmp").is_dir(), "the tenant's directories")
    scene.drop("one")
    wait_until(lambda: scene.server.seen("BODY"), 20, "the message at the server")
    scene.spool.drop("acme", TEXT.format("two", "two", "two"), name="two.tmp")
    mount("-o", "remount,ro", place)
    scene.server.release()
    scene.event("spool_broken")
    scene.says("broken")
    scene.agent.clock.advance(RESCAN)
    scene.stop(74)
    assert scene.spool.where("acme", "one") in (["new"], ["cur"]) and len(scene.spool.where("acme", "two.tmp")) == 1
    assert not scene.agent.events("sent")
    mount("-o", "remount,rw", place)
    scene.agent.start()
    scene.sent("one")
    scene.sent("two.tmp")
    # What was in flight came twice, with one Message-ID.
    assert scene.accepted() in (["one", "one", "two"], ["one", "one", "two", "two"]), scene.accepted()
    ids = {line for one in scene.server.accepted if "one" in one.rcpts[0] for line in one.data.split(b"\r\n")
           if line.lower().startswith(b"message-id:")}
    assert len(ids) == 1, ids
    scene.stop()


def _full(directory, script, prepare, said, stop=False):
    """A disk without space: outcomes are held, claiming stops, nothing is said that is not written; then all goes on."""
    scene = Scene(directory, ["on RCPT refused: once pause & 550 5.1.1 no such user", *script])
    place = scene.spool.path("acme")
    prepare(place)
    scene.agent.start()
    scene.until(lambda: (place / "new").is_dir() and (place / "tmp").is_dir(), "the tenant's directories")
    scene.drop("refused")
    wait_until(lambda: scene.server.seen("RCPT"), 20, "the recipient at the server")
    scene.spool.path("acme", "new", "two").write_text(TEXT.format("two", "two", "two"))
    filler = fill(place / "tmp" / "filler")
    scene.server.release()
    scene.event("spool_full")
    assert said in scene.agent.events("spool_full")[0]["reason"]
    scene.says("full")
    scene.drop("meanwhile", tenant="other")  # claiming stops for all: one agent, one disk
    scene.agent.clock.advance(RESCAN)
    wait_until(lambda: (scene.agent.status() or {}).get("spool") == "full", 20, "a fresh status.json")
    assert scene.spool.where("other", "meanwhile") == ["new"] and not scene.agent.events("failed")
    assert not scene.agent.events("spool_broken")
    if stop:  # nobody waits for space at the end: what is on the wire has its ten seconds, and no more
        scene.agent.process.send_signal(signal.SIGTERM)
        scene.agent.wait_event("stopping")
        scene.agent.clock.advance(11)
        scene.stop(0)
        filler.unlink()
        scene.agent.start()
        scene.until(lambda: scene.spool.where("acme", "refused") == ["failed"], "refused in failed")
        scene.sent("two")
        scene.stop()
        return
    filler.unlink()
    scene.event("spool_ok")
    scene.until(lambda: scene.spool.where("acme", "refused") == ["failed"], "refused in failed")
    assert scene.spool.status("acme", "failed", "refused")["recipients"][0]["state"] == "refused"
    scene.sent("two")
    scene.sent("meanwhile", tenant="other")
    assert scene.accepted() == ["meanwhile", "two"]
    scene.says("ok")
    scene.stop()


def fill(path):
    """A file that takes what is left, down to single octets."""
    with open(path, "wb", buffering=0) as out:
        for size in (1 << 16, 1 << 12, 1 << 9, 1):
            try:
                while True:
                    out.write(bytes(size))
                    os.fsync(out.fileno())
            except OSError:
                continue
    return path


def full_disk(directory):
    _full(directory, [], lambda place: mount("-t", "tmpfs", "-o", "size=256k", "disk", place), "No space left")


def stop_without_space(directory):
    _full(directory, ["on RCPT refused: 550 5.1.1 no such user"],
          lambda place: mount("-t", "tmpfs", "-o", "size=256k", "disk", place), "No space left", stop=True)


def full_state(directory):
    """A state directory without space: status says so at once, a pause and its end need none, and mail goes on."""
    scene = Scene(directory)
    state = scene.config.state
    scene.config.write()
    mount("-t", "tmpfs", "-o", "size=256k", "state", state)
    scene.agent.start()
    scene.says("ok")
    fillers = [fill(state / "filler"), fill(state / "another")]
    scene.event("state_unwritable", reason="No space left on device", level="error")
    scene.agent.clock.advance(7)
    shown = scene.agent.verb("status").stdout
    assert "it has not written status.json for" in shown and "the disk of the state directory is full" in shown, shown
    assert "ok when it last wrote" in shown
    done = scene.agent.verb("status", "--nagios")
    assert done.returncode == 2 and "the disk of the state directory is full" in done.stdout, done.stdout
    paused = scene.agent.verb("pause", "relay", "--reason", "full", check=True)
    assert "is full; who paused the account and why is not noted" in paused.stderr
    scene.event("account_paused", account="relay")
    scene.drop("one")
    scene.agent.verb("resume", "relay", check=True)
    scene.event("account_resumed", account="relay")
    scene.sent("one")
    assert not scene.agent.verb("resume", "relay").returncode == 0  # nothing to remove, and no room for what it asks
    for filler in fillers:
        filler.unlink()
    scene.event("state_ok", level="notice")
    scene.says("ok")
    assert len(scene.agent.events("state_unwritable")) == 1
    assert "when it last wrote" not in scene.agent.verb("status").stdout
    scene.agent.verb("resume", "relay", check=True)
    scene.stop()


def quota(directory):
    """EDQUOT, from a quota group of btrfs: unlike user quotas it binds root too, and needs no tool of its own."""
    def prepare(place):
        for tool in ("mkfs.btrfs", "btrfs"):
            if shutil.which(tool) is None:
                raise Skip(f"{tool} is missing (Debian: btrfs-progs)")
        image, disk = directory / "image", directory / "disk"
        with open(image, "wb") as out:
            out.truncate(192 << 20)
        disk.mkdir()
        for command in (["mkfs.btrfs", "-q", "-f", str(image)], ["mount", "-o", "loop", str(image), str(disk)],
                        ["btrfs", "subvolume", "create", str(disk / "acme")], ["btrfs", "quota", "enable", str(disk)],
                        ["btrfs", "quota", "rescan", "-w", str(disk)], ["btrfs", "qgroup", "limit", "4M", str(disk / "acme")]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Skip(f"{' '.join(command)}: {done.stderr.strip()}")
        mount("--bind", disk / "acme", place)
    _full(directory, [], prepare, "quota exceeded")


def failing_disk(directory):
    """A disk that fails at an fsync, for real: ext4 on a loop device whose backing file cannot grow any more.

    Its journal lies in holes of that file, and the memory file system below is full: the journal's write fails, ext4
    gives EIO to the fsync that waits for it, and 0 to the next one. The scene is played with OUTTRAY_FAULT_REPORT where
    the program is tests/fault's, and then no fsync may follow on the filing desk.
    """
    below, disk = directory / "below", directory / "disk"
    below.mkdir()
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=40m", "below", below)
    for command in (["truncate", "-s", "32M", "image"], ["mkfs.ext4", "-q", "-F", "-J", "size=4", "-E",
                    "lazy_itable_init=0,lazy_journal_init=1", "image"], ["fallocate", "-d", "image"]):
        if shutil.which(command[0]) is None:
            raise Skip(f"{command[0]} is missing")
        subprocess.run(command, cwd=below, check=True, capture_output=True)
    mount("-o", "loop", below / "image", disk)
    scene = Scene(directory, ["on BODY: once pause & default"])
    told = directory / "told"
    hook = directory / "hook"
    hook.write_text(f"#!/bin/sh\ncat >{told}.new && mv {told}.new {told}\n")
    hook.chmod(0o755)
    scene.config.set(hooks={"spool_broken": [str(hook)]})
    scene.config.write()
    place = scene.spool.path("acme")
    mount("--bind", disk, place)
    scene.agent.env["OUTTRAY_FAULT_REPORT"] = str(directory / "report")
    scene.agent.env["OUTTRAY_FAULT"] = "own:fsync:0:1000000"  # counts, and tells of every fsync after an EIO
    scene.agent.start()
    scene.until(lambda: (place / "new").is_dir() and (place / "tmp").is_dir(), "the tenant's directories")
    for name in ("one", "two", "three"):
        scene.drop(name)
    os.sync()
    wait_until(lambda: scene.server.seen("BODY"), 20, "a message at the server")
    fill(below / "filler")
    scene.server.release()
    scene.event("spool_broken")
    assert "Input/output error" in scene.agent.events("spool_broken")[0]["reason"]
    scene.says("broken")
    scene.until(told.exists, "the hook is told")
    event = json.loads(told.read_text())
    assert (event["version"], event["event"], event["agent"]) == (1, "spool_broken", "main"), event
    assert event["reason"] == "Input/output error" and event["time"] and "name" not in event, event
    scene.event("hook", hook="spool_broken", status="0")
    scene.drop("meanwhile", tenant="other")
    scene.agent.clock.advance(RESCAN)
    scene.stop(74)
    assert len(scene.agent.events("hook")) == 1  # once, however often the disk fails
    assert not scene.agent.events("sent"), scene.agent.events("sent")
    assert scene.spool.where("other", "meanwhile") == ["new"]  # nothing is claimed any more
    report = (directory / "report").read_text().splitlines() if (directory / "report").exists() else None
    if report is not None:
        failed = [line for line in report if line.startswith("failed filing ")]
        assert len(failed) == 1 and " 5 " in failed[0], report
        assert not [line for line in report if line.startswith("sync filing ")], report


SCENES = {f.__name__: f for f in (unmounted, unmounted_for_good, overmounted, overmounted_new, sent_elsewhere, read_only, full_disk,
                                  stop_without_space, full_state, quota, failing_disk)}


def main():
    try:
        mount("-t", "proc", "proc", "/proc")  # of this namespace's processes, which the search for leaks reads
        SCENES[sys.argv[1]](pathlib.Path(sys.argv[2]))
    except Skip as reason:
        print(reason, file=sys.stderr)
        return 77
    finally:
        for scene in Scene.made:
            if scene.agent.running():
                scene.agent.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
