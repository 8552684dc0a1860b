"""One interop run: five tenants, their messages, and what must hold when the agent is through with them."""

import collections
import hashlib

from support import mail
from support.wait import wait_until

# Two masters, each with an account of its own; slaves with a From and without; nothing at all; a name beyond ASCII.
SENDERS = [
    mail.Sender("master", "pbx@contoso.example", "Contoso PBX"),
    mail.Sender("acme", "voicemail@acme.example", None),
    mail.Sender("plain", "pbx@contoso.example", "Contoso PBX"),
    mail.Sender("solo", "root@pbx.example.com", None),
    mail.Sender("koeln", "buero@koeln.example", "Büro Köln"),
]
ACCOUNT_OF = {"master": "one", "acme": "one", "plain": "one", "solo": "two", "koeln": "two"}


def configure(config, endpoints, **limits):
    """Writes the five tenants and two accounts into config."""
    for name, keys in zip(("one", "two"), endpoints):
        keys = dict(keys)
        if limits:
            keys["limits"] = limits
        config.account(name, **keys)
    config.tenant("master", account="one", from_="Contoso PBX <pbx@contoso.example>")
    config.tenant("acme", parent="master", from_="voicemail@acme.example")
    config.tenant("plain", parent="master")
    config.tenant("solo", account="two")
    config.tenant("koeln", parent="solo", from_="Büro Köln <buero@koeln.example>")
    return config


def deliver(agent, messages, seconds):
    """Drops half of the messages before the agent starts and half while it runs; returns when nothing is left to do."""
    agent.prepare()
    half = len(messages) // 2
    for message in messages[:half]:
        message.name = agent.spool.drop(message.sender.tenant, message.data)
    with agent:
        for message in messages[half:]:
            message.name = agent.spool.drop(message.sender.tenant, message.data)

        def through():
            assert agent.running(), f"the agent ended early\n{agent.log_text()[-4000:]}"
            done = sum(len(agent.spool.names(sender.tenant, state)) for sender in SENDERS for state in ("sent", "failed"))
            return done == len(messages)
        wait_until(through, seconds, lambda: describe(agent), interval=0.1)


def describe(agent):
    counts = {sender.tenant: agent.spool.counts(sender.tenant) for sender in SENDERS}
    unlike = [line for line in agent.log() if line["event"] != "sent"]
    return f"every message in sent/ or failed/: {counts}\nlast lines of the log that are not sent:\n" + \
        "\n".join(map(str, unlike[-20:]))


def check(agent, server, messages, seconds=60):
    """Holds spool, log and what the server stored against the messages."""
    check_spool(agent, messages)
    check_log(agent, messages)
    wanted = sum(len(message.recipients) for message in messages)
    wait_until(lambda: server.count() >= wanted, seconds, lambda: f"{wanted} deliveries by the server, {server.count()} so far\n"
               f"{server.log_text()[-3000:]}", interval=0.1)
    stored = list(server.stored())
    mail.compare_all(messages, stored)
    check_reverse_path(agent, messages, stored)


def check_spool(agent, messages):
    for sender in SENDERS:
        mine = [message for message in messages if message.sender is sender]
        states = agent.spool.states(sender.tenant)
        assert states["sent"] == sorted(message.name for message in mine if not message.refused)
        assert states["failed"] == sorted(message.name for message in mine if message.refused)
        assert not any(states[state] for state in ("new", "cur", "deferred")), states
        leftovers = [path.name for path in agent.spool.path(sender.tenant, "deferred").iterdir()]
        assert not leftovers, f"left in {sender.tenant}/deferred: {leftovers}"
        for message in mine:
            state = "failed" if message.refused else "sent"
            assert digest(agent.spool.read(sender.tenant, state, message.name)) == digest(message.data), \
                f"the agent changed {sender.tenant}/{state}/{message.name}"
            if message.refused:
                check_status(agent.spool.status(sender.tenant, "failed", message.name), message)


def check_status(status, message):
    """A failed message: who refused it, and that everybody else got it."""
    assert status["state"] == "failed" and status["reason"] == "recipient", status
    results = {recipient["address"]: recipient for recipient in status["recipients"]}
    assert {address for address, result in results.items() if result["state"] == "sent"} == set(message.recipients), status
    assert {address for address, result in results.items() if result["state"] == "refused"} == set(message.refused), status
    for address in message.refused:
        assert results[address]["reply"].startswith("550"), status
    assert len(status["attempts"]) == 1, status


def check_log(agent, messages):
    events = {event: collections.Counter(line["name"] for line in agent.events(event)) for event in ("sent", "failed")}
    wanted = {"sent": {message.name for message in messages if not message.refused},
              "failed": {message.name for message in messages if message.refused}}
    for event, names in wanted.items():
        assert set(events[event]) >= names, f"{len(names - set(events[event]))} messages without event={event}"
        assert all(events[event][name] == 1 for name in names), f"more than one event={event} for a message"
    tenants = {message.name: message.sender.tenant for message in messages}
    for line in agent.events("sent"):
        assert line["tenant"] == tenants[line["name"]]
        assert line["account"] == ACCOUNT_OF[line["tenant"]]
        assert line["reply"].startswith("250"), line


def check_reverse_path(agent, messages, stored):
    emails = {name: account["email"] for name, account in agent.config.data["accounts"].items()}
    wanted = {message.serial: emails[ACCOUNT_OF[message.sender.tenant]] for message in messages}
    for recipient, data in stored:
        fields = dict((name.lower(), value) for name, value in reversed(mail.headers(mail.split(data)[0])))
        assert fields["return-path"] == f"<{wanted[mail.serial_of(data)]}>", f"{recipient}: {fields['return-path']}"


def digest(data):
    return hashlib.sha256(data).hexdigest()
