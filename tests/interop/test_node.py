"""npm's smtp-server: PIPELINING without CHUNKING, AUTH over STARTTLS and implicit TLS. It stores what it gets unchanged."""

import pytest
import interop_run as run
import servers
from fixtures import server  # noqa: F401
from support import mail

SERVER = servers.NodeServer
pytestmark = pytest.mark.xdist_group("node")


def test_thousand_messages(agent, server):
    messages = mail.corpus(run.SENDERS, seed=3186, refused=20)
    run.configure(agent.config, server.endpoints())
    run.deliver(agent, messages, 150)
    run.check(agent, server, messages)
    for envelope, path in server.envelopes():
        assert envelope["tls"] and envelope["user"] == envelope["from"], envelope
        assert_only_crlf(path.read_bytes())


def assert_only_crlf(data):
    assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r"), "a bare CR or LF went over the wire"
