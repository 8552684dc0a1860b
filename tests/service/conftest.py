"""What the tests of the service around the agent share: a server that takes everything, and a service manager to talk to."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))

from smtpserver import Server  # noqa: E402
from support.manager import Manager  # noqa: E402

@pytest.fixture
def server():
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@pytest.fixture
def config(config, server):
    """One tenant `acme` on one account `relay` at the server."""
    config.account("relay", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none")
    config.tenant("acme", account="relay", from_="Acme Voicemail <voicemail@acme.example>")
    return config
