"""What the tests of the service around the agent share: a tenant on a server that takes everything, and a service manager to talk to."""

import pytest

from support.manager import Manager


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
