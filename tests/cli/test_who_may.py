"""Who may use the operators' verbs, and whose the files are that they make as root."""

import os
import pathlib
import subprocess
import tempfile

import pytest

from support.agent import Config, binary, environment
from support.box import LATER, MESSAGE, Box, say, to, where


@pytest.fixture
def public(program, clock, server):
    """A mixed Box in a directory that anybody may look into."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        box = Box(Config(pathlib.Path(directory, "box")), clock, server)
        say(box, LATER)
        box.ready()
        box.spool.drop("acme", to("later"), name="later")
        box.deliver(code=1)
        box.spool.drop("acme", MESSAGE, name="fresh")
        os.chmod(box.config.path, 0o644)
        yield box


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("arguments", [["pause", "relay"], ["resume", "relay"], ["flush"], ["retry", "later"], ["retry", "--all"],
                                       ["hold", "fresh"], ["drop", "--yes", "fresh"], ["release", "--all"], ["show", "later"]])
def test_without_permission(public, arguments):
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary(), arguments[0], "--config",
                           str(public.config.path), *arguments[1:]], capture_output=True, text=True, timeout=60,
                          env=environment(public.clock))
    if done.returncode in (126, 127):
        pytest.skip("the program cannot be run by another user here")
    assert done.returncode == 77, done.stdout + done.stderr
    assert "run as root" in done.stderr
    assert where(public, "fresh") == ["new"] and where(public, "later") == ["deferred"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to hand the files to another user")
def test_as_root_for_the_service_user(public):
    """What root asks for belongs to the agent's user."""
    for path in [public.config.state, public.config.spool, *public.config.state.rglob("*"), *public.config.spool.rglob("*")]:
        os.lchown(path, 65534, 65534)
    for arguments in (["pause", "relay"], ["drop", "--yes", "fresh"], ["hold", "later"]):
        public.run(*arguments, check=True)
    made = [public.config.state / "paused" / "relay", public.spool.path("acme", "failed", "fresh.status")]
    assert {path.stat().st_uid for path in made} == {65534}
