"""`top` over ssh: Debian's dropbear, unpacked, on the loopback interface of a private copy of this machine; its client in tmux."""

import os
import shlex

import pytest

from support import private_root
from support.agent import binary
from support.config import Config
from support.debs import Unavailable, library_path, unpack
from support.net import free_port
from support.private_root import PrivateRoot
from support.terminal import Terminal
from support.wait import wait_until

SERVER = """
dropbearkey -t ed25519 -f /shared/host >/dev/null
dropbearkey -t ed25519 -f /shared/key >/dev/null
mkdir -p /root/.ssh
dropbearkey -y -f /shared/key | grep '^ssh-' >/root/.ssh/authorized_keys
chmod 700 /root /root/.ssh
chmod 600 /root/.ssh/authorized_keys
{program} init --config /shared/outtray.yaml >/dev/null 2>&1
printf 'To: a@example.net\\n\\ntext\\n' >/shared/spool/acme/new/one
touch /shared/ready
exec dropbear -F -E -s -r /shared/host -p 127.0.0.1:{port}
"""


@pytest.fixture
def ssh(program, tmp_path):
    """Words of a command line in front of what shall run over there, with a terminal."""
    try:
        package = unpack("dropbear-bin")
    except Unavailable as reason:
        pytest.skip(f"dropbear-bin: {reason}")
    if private_root.obstacle():
        pytest.skip(private_root.obstacle())
    port = free_port()
    root = PrivateRoot(tmp_path / "root", [package], SERVER.format(program=binary(), port=port))
    config = Config(root.shared)
    config.account("relay", server="127.0.0.1", port=9, encryption="none").tenant("acme", account="relay")
    config.set(spool="/shared/spool", state="/shared/state")
    config.write()
    root.start()
    try:
        wait_until(lambda: (root.shared / "ready").exists(), 60, root.log_text)
        yield root.shared, ["env", f"LD_LIBRARY_PATH={library_path(package)}", package / "usr/bin/dbclient", "-y", "-y", "-t", "-i",
                            root.shared / "key", "-p", port, "root@127.0.0.1"]
    finally:
        root.stop()


def test_top_over_ssh(ssh):
    """It draws, acts on a key, follows the size of the window at the other end, and ends."""
    shared, command = ssh
    remote = shlex.join(["env", "LANG=C.UTF-8", "ASAN_OPTIONS=detect_leaks=0", binary(), "top", "--config", "/shared/outtray.yaml"])
    with Terminal([*command, remote], env=dict(os.environ)) as terminal:
        screen = terminal.wait(r"^acme +1 ")
        assert "agent main is not running" in screen and screen.splitlines()[-1].startswith("? help")
        assert len(screen.splitlines()) == 24
        terminal.type("p")
        terminal.wait(r"^pause relay - why")
        terminal.type("lunch", "Enter")
        terminal.wait(r"^relay +paused .*lunch")
        assert "lunch" in (shared / "state" / "paused" / "relay").read_text()
        terminal.resize(120, 36)
        wait_until(lambda: len(terminal.screen().splitlines()) == 36 and "LAST FAILURES" in terminal.screen(), 20,
                   terminal.screen)
        terminal.type("q")
        assert terminal.wait_end() == 0
