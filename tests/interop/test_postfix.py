"""Postfix 3.7: CHUNKING and PIPELINING, SASL through dovecot, STARTTLS on one port and implicit TLS on the other."""

import re

import pytest
import interop_run as run
import servers
from fixtures import server  # noqa: F401
from support import mail
from support.agent import wait_until

SERVER = servers.Postfix
pytestmark = pytest.mark.xdist_group("postfix")


def simple(subject):
    return f"From: x@local.example\nTo: someone@interop.example\nSubject: {subject}\n{mail.SERIAL}: 1\n\ntext\n"


def test_thousand_messages(agent, server):
    messages = mail.corpus(run.SENDERS, seed=20261123)
    run.configure(agent.config, server.endpoints())
    run.deliver(agent, messages, 150)
    run.check(agent, server, messages)
    # The server's account of our sessions: all by BDAT, and many messages on one login.
    lines = [line for line in (server.shared / "postfix.log").read_text().splitlines()
             if "disconnect from" in line and " mail=" in line]
    used = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in lines]
    assert sum(int(session["mail"]) for session in used) == len(messages), lines
    assert all("bdat" in session and "data" not in session for session in used), lines
    assert len(used) <= 16, f"{len(used)} sessions for {len(messages)} messages"
    assert all(session.get("auth") == "1" for session in used), lines


def test_wrong_password_pauses_only_its_account(agent, server):
    one, two = server.endpoints()
    one["password"] = "not it"
    run.configure(agent.config, [one, two])
    before = server.count()
    with agent:
        held = agent.spool.drop("acme", simple("held"))
        served = agent.spool.drop("koeln", simple("served"))
        agent.spool.wait("koeln", served, "sent", 30)
        agent.wait_event("account_paused", 30, account="one")
        agent.spool.wait("acme", held, "new", 30)
        assert not agent.spool.path("acme", "deferred", held + ".status").exists()
        # The right password in the file is all it takes.
        agent.config.secret("one.password", servers.USERS[one["email"]])
        agent.spool.wait("acme", held, "sent", 60)
    assert len(agent.events("sent", name=held)) == 1
    wait_until(lambda: server.count() == before + 2, 30, "two more deliveries")


def test_unknown_authority_sends_nothing(agent, server):
    one, two = server.endpoints()
    for keys in (one, two):
        keys["tls"] = {}
    run.configure(agent.config, [one, two])
    before = server.count()
    with agent:
        names = {tenant: agent.spool.drop(tenant, simple(tenant)) for tenant in ("acme", "koeln")}
        for account in ("one", "two"):
            agent.wait_event("account_paused", 60, account=account)
        for tenant, name in names.items():
            assert agent.spool.where(tenant, name) in (["new"], ["cur"])
    for tenant, name in names.items():
        assert agent.spool.where(tenant, name) == ["new"]
    assert server.count() == before
