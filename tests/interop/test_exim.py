"""Exim 4.96: CHUNKING and PIPELINING through GnuTLS, and recipients it rejects in the middle of the pipeline."""

import random

import pytest
import interop_run as run
import servers
from fixtures import server  # noqa: F401
from support import mail
from support.wait import wait_until

SERVER = servers.Exim
pytestmark = pytest.mark.xdist_group("exim")


def test_thousand_messages_and_rejected_recipients(agent, server):
    messages = mail.corpus(run.SENDERS, seed=496, refused=30)
    run.configure(agent.config, server.endpoints())
    run.deliver(agent, messages, 150)
    run.check(agent, server, messages)
    text = (server.shared / "exim-main.log").read_text()
    arrivals = [line for line in text.splitlines() if " <= " in line]
    assert len(arrivals) == len(messages)
    assert all(" K " in line or " K" == line[-2:] for line in arrivals), "a message came without CHUNKING"


def test_only_recipient_rejected(agent, server):
    """503 for the BDAT behind it, and its neighbours on the connection are not touched."""
    rng = random.Random(7)
    messages = [mail.make(rng, 200000 + serial, run.SENDERS[0], 2000) for serial in range(20)]
    run.configure(agent.config, server.endpoints())
    agent.prepare()
    before = server.count()
    refused = []
    for message in messages:
        message.name = agent.spool.drop("master", message.data)
        refused.append(agent.spool.drop("master", "From: x@local.example\nTo: refused.all@interop.example\nSubject: no\n\nx\n"))
    with agent:
        for name in refused:
            agent.spool.wait("master", name, "failed", 60)
        for message in messages:
            agent.spool.wait("master", message.name, "sent", 60)
    wanted = before + sum(len(message.recipients) for message in messages)
    wait_until(lambda: server.count() == wanted, 30, lambda: f"{wanted} deliveries, {server.count()} so far")
    for name in refused:
        status = agent.spool.status("master", "failed", name)
        assert [recipient["state"] for recipient in status["recipients"]] == ["refused"]
        assert status["reason"] == "recipient"
