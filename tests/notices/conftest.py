"""The house of the tests of notices: a server, an agent, and who is to be told."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from smtpserver import Server  # noqa: E402
from support.agent import Agent  # noqa: E402


@pytest.fixture
def house(program, config, clock):
    """house(SCRIPT…, notify=…) makes a server, a configuration and an agent that is not started yet."""
    started = []

    def make(*script, envelope_from="message", tenant=None, **on_failure):
        server = Server(list(script))
        server.start()
        config.account("relay", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none",
                       envelope_from=envelope_from)
        config.tenant("acme", account="relay", from_="Acme <acme@acme.example>", on_failure=on_failure, **(tenant or {}))
        agent = Agent(config, clock=clock)
        agent.server = server
        started.extend([server, agent])
        agent.prepare()
        return agent

    yield make
    for thing in reversed(started):
        assert thing.stop() in (0, None)
