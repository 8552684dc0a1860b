"""What the tests of notices share: messages, what a server says to them, and what somebody was told."""

import email
import email.policy

from support.wait import wait_until

MESSAGE = b"From: Jane <jane@inside.example>\nTo: b@example.net\nSubject: hello\nMessage-ID: <one@inside.example>\n\nOne line.\n"
REFUSE = "on RCPT b@: 550 5.1.1 nobody of that name"
LATER = "on RCPT b@: 451 4.3.0 come back later"


def notices(agent):
    """What the server accepted with an X-Outtray-Notice in it, parsed; the field itself never goes out."""
    return [(accepted, email.message_from_bytes(accepted.data, policy=email.policy.SMTP))
            for accepted in agent.server.accepted if b"Auto-Submitted: auto-replied" in accepted.data]


def wait_counted(agent, **totals):
    """Waits until the agent knows of so many outcomes (and has noted whom to tell): the directories show them before that."""
    def what():
        agent.clock.advance(2)  # status.json is written
        tenant = agent.status()["tenants"]["acme"]
        return all(tenant[f"{outcome}_total"] == total for outcome, total in totals.items())
    wait_until(what, 20, totals, interval=0.1)


def once(agent, code=None):
    agent.clock.advance(10)
    got = agent.once()
    assert code is None or got == code, agent.log_text()[-3000:]
    return notices(agent)


def report(parsed):
    """The fields of a message/delivery-status: of the message, and of each recipient."""
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert not parsed.defects
    text, status, head = parsed.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    assert head.get_content_type() == "text/rfc822-headers"
    whole, *recipients = status.get_payload()
    return text.get_content(), whole, recipients, head.get_payload(decode=True).decode()


def left_behind(agent):
    """What lies where notices are before they come to new/."""
    return [path for path in (agent.spool.path("acme") / ".notices").rglob("*") if not path.is_dir()]


def status_of(agent, name, state="failed"):
    return agent.spool.status("acme", state, name)
