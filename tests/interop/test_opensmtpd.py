"""OpenSMTPD 6.8: neither PIPELINING nor CHUNKING, one command at a time, and 100 messages a session at most."""

import random

import pytest
import interop_run as run
import servers
from fixtures import server  # noqa: F401
from support import mail
from support.wait import wait_until

SERVER = servers.OpenSMTPD
pytestmark = pytest.mark.xdist_group("opensmtpd")


def test_thousand_messages(agent, server):
    messages = mail.corpus(run.SENDERS, seed=68)
    run.configure(agent.config, server.endpoints(), messages_per_connection=100)
    run.deliver(agent, messages, 150)
    run.check(agent, server, messages)


def test_servers_own_limit_per_session(agent, server):
    """452 to MAIL after 100 messages: an account that was not told of that limit gets everything through all the same."""
    rng = random.Random(100)
    messages = [mail.make(rng, 100000 + serial, run.SENDERS[0], 1000) for serial in range(250)]
    run.configure(agent.config, server.endpoints(), connections=1)
    before = server.count()
    run.deliver(agent, messages, 45)
    run.check_spool(agent, messages)
    wanted = before + sum(len(message.recipients) for message in messages)
    wait_until(lambda: server.count() == wanted, 30, lambda: f"{wanted} deliveries, {server.count()} so far")
