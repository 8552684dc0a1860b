"""Notices about mail that fails or is late: who gets which, never twice, never about themselves, never more than the cap.

/usr/bin/python3 -m pytest tests/notices
"""

import os

import pytest
from support.wait import wait_until
from told import LATER, MESSAGE, REFUSE, left_behind, notices, once, report, status_of, wait_counted


def test_none_by_default(house):
    agent = house(REFUSE)
    agent.spool.drop("acme", MESSAGE)
    assert once(agent, 1) == []
    assert agent.spool.counts("acme")["failed"] == 1


def test_to_the_sender(house):
    agent = house(REFUSE, notify="sender")
    name = agent.spool.drop("acme", b"X-Secret: yes\nBcc: c@example.net\n" + MESSAGE)
    [(accepted, parsed)] = once(agent, 1)
    assert accepted.mail == "<>"
    assert accepted.rcpts == ["jane@inside.example"]
    assert parsed["From"].addresses[0].addr_spec == "acme@acme.example"
    assert parsed["To"] == "<jane@inside.example>" or parsed["To"].addresses[0].addr_spec == "jane@inside.example"
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed["References"] == "<one@inside.example>"
    assert parsed["Date"] and parsed["Message-ID"]
    assert "X-Outtray-Notice" not in parsed and "Return-Path" not in parsed
    text, whole, [recipient], head = report(parsed)
    assert "b@example.net" in text and "550 5.1.1 nobody of that name" in text
    assert whole["Reporting-MTA"] == "dns; pbx.example.com"
    assert whole["Arrival-Date"]
    assert recipient["Final-Recipient"] == "rfc822; b@example.net"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 nobody of that name"
    assert recipient["Remote-MTA"] == "dns; 127.0.0.1"
    assert recipient["Last-Attempt-Date"]
    assert "Subject: hello" in head and "X-Secret: yes" in head
    assert "c@example.net" not in accepted.data.decode()
    assert status_of(agent, name)["notified"]
    assert agent.spool.counts("acme") == {"new": 0, "cur": 0, "deferred": 0, "sent": 1, "failed": 1, "hold": 0}


def test_to_an_address(house):
    agent = house(REFUSE, notify="ops@acme.example")
    agent.spool.drop("acme", MESSAGE)
    [(accepted, parsed)] = once(agent, 1)
    assert accepted.rcpts == ["ops@acme.example"]
    report(parsed)


def test_account_envelope(house):
    """Providers that refuse the null sender: the account's own address goes out, as for all its mail."""
    agent = house(REFUSE, envelope_from="account", notify="ops@acme.example")
    agent.spool.drop("acme", MESSAGE)
    [(accepted, _)] = once(agent, 1)
    assert accepted.mail == "<noreply@example.com>"


def test_tenant_without_envelope_headers(house):
    agent = house(REFUSE, notify="sender", tenant={"envelope_headers": False})
    agent.spool.drop("acme", MESSAGE)
    [(accepted, _)] = once(agent, 1)
    assert (accepted.mail, accepted.rcpts) == ("<>", ["jane@inside.example"])


def test_parents_lend_it(house, config):
    agent = house(REFUSE, notify="ops@acme.example")
    config.tenant("child", parent="acme")
    agent.init = True
    agent.prepare()
    agent.spool.drop("child", MESSAGE)
    [(accepted, _)] = once(agent, 1)
    assert accepted.rcpts == ["ops@acme.example"]


def test_several_recipients_and_dsn(house):
    """Only who did not get it is named; NOTIFY, ORCPT and ENVID of the submission count."""
    agent = house("on RCPT b@: 550 5.1.1 no b", "on RCPT c@: 550 5.1.1 no c", "on RCPT d@: 550 5.1.1 no d", notify="ops@acme.example")
    agent.spool.drop("acme", b"X-Sender: <jane@inside.example> ENVID=Q+2B1 RET=HDRS\nX-Receiver: <a@example.net>\n"
                             b"X-Receiver: <b@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;B+2Bx@example.net\n"
                             b"X-Receiver: <c@example.net> NOTIFY=NEVER\nX-Receiver: <d@example.net> NOTIFY=SUCCESS\n" + MESSAGE)
    [(_, parsed)] = once(agent, 1)
    text, whole, [recipient], _ = report(parsed)
    assert whole["Original-Envelope-Id"] == "Q+1"
    assert recipient["Original-Recipient"] == "rfc822; B+x@example.net"
    assert recipient["Final-Recipient"] == "rfc822; b@example.net"
    assert "no c" not in text and "no d" not in text


def test_notify_never_for_all(house):
    agent = house(REFUSE, notify="sender")
    agent.spool.drop("acme", b"X-Sender: <jane@inside.example>\nX-Receiver: <b@example.net> NOTIFY=NEVER\n" + MESSAGE)
    assert once(agent, 1) == []


@pytest.mark.parametrize("head", [b"X-Sender: <>\nX-Receiver: <b@example.net>\n", b"Return-Path: <>\n",
                                  b"Auto-Submitted: auto-generated\n", b"Auto-submitted: Auto-Replied (vacation)\n",
                                  b"X-Outtray-Notice: failed\n"])
def test_never_about_these(house, head):
    agent = house(REFUSE, notify="ops@acme.example")
    agent.spool.drop("acme", head + MESSAGE)
    assert once(agent, 1) == []
    assert agent.spool.counts("acme")["failed"] == 1


def test_auto_submitted_no_is_a_person(house):
    agent = house(REFUSE, notify="sender")
    agent.spool.drop("acme", b"Auto-Submitted: no\n" + MESSAGE)
    assert len(once(agent, 1)) == 1


@pytest.mark.parametrize("target", ["sender", "ops@acme.example"])
@pytest.mark.parametrize("envelope_from", ["message", "account"])
def test_no_loop(house, target, envelope_from):
    """Nothing is accepted by the server, not the notices either: each failure makes one file, and then there is quiet."""
    agent = house("on RCPT: 550 5.1.1 nobody here at all", notify=target, envelope_from=envelope_from)
    for i in range(5):
        agent.spool.drop("acme", MESSAGE.replace(b"b@", b"b%d@" % i).replace(b"jane@", b"b%d@" % i))
    for _ in range(4):
        once(agent)
        agent.clock.advance(3600)
    assert agent.spool.counts("acme") == {"new": 0, "cur": 0, "deferred": 0, "sent": 0, "failed": 10, "hold": 0}
    assert agent.server.accepted == []


def test_malformed_message(house):
    """There is nothing to quote: the address is told in words; a sender is not known."""
    agent = house(notify="ops@acme.example")
    agent.spool.drop("acme", b"Subject: for nobody\n\ntext\n", "odd")
    [(_, parsed)] = once(agent, 1)
    assert parsed.get_content_type() == "text/plain"
    assert "odd" in parsed.get_content() and "no recipients" in parsed.get_content()


def whole(parsed):
    """The returned message of a notice with RET=FULL."""
    *_, last = parsed.iter_parts()
    assert last.get_content_type() == "message/rfc822"
    return last.get_content()


FULL = b"X-Sender: <jane@inside.example> RET=FULL\nX-Receiver: <b@example.net>\n"


def test_whole_message_comes_back(house):
    """RET=FULL: header and body, without what the envelope was or hides; and the notice is still a report."""
    agent = house(REFUSE, notify="sender")
    agent.spool.drop("acme", FULL + b"Bcc: c@example.net\nX-Outtray-Priority: high\n" + MESSAGE + b"..\n.dot\nbare\rcr\r\r\nend\n")
    [(accepted, parsed)] = once(agent, 1)
    original = whole(parsed)
    assert original["Subject"] == "hello" and original["Message-ID"] == "<one@inside.example>"
    assert not {"bcc", "x-sender", "x-receiver", "x-outtray-priority"} & {name.lower() for name in original.keys()}
    assert b"..\r\n.dot\r\nbare\r\ncr\r\nend\r\n" in accepted.data
    assert "c@example.net" not in accepted.data.decode()
    text, status, _ = parsed.iter_parts()
    assert "Your message is attached." in text.get_content() and status.get_content_type() == "message/delivery-status"


@pytest.mark.parametrize("body", ["Grüße\n".encode(), b"x" * 999 + b"\n", b"x\n" * 140000],
                         ids=["8bit", "long line", "large"])
def test_what_a_notice_cannot_carry_whole(house, body):
    """Then the header comes back, as without RET=FULL: a notice needs nothing that a server may lack."""
    agent = house(REFUSE, notify="sender")
    agent.spool.drop("acme", FULL + MESSAGE + body)
    [(accepted, parsed)] = once(agent, 1)
    _, _, _, head = report(parsed)
    assert "Subject: hello" in head and accepted.data.isascii()


@pytest.mark.parametrize("keys", [{"notify": "ops@acme.example"}, {"notify": "sender", "delay_warning": "10m"}])
def test_whole_only_to_the_sender_and_of_failures(house, keys):
    """The operator did not ask for it, and RFC 3461 section 4.3 wants it of failures alone."""
    agent = house(REFUSE if "delay_warning" not in keys else LATER, **keys)
    agent.spool.drop("acme", FULL + MESSAGE)
    first = once(agent, 1)
    agent.clock.advance(700)
    [(_, parsed)] = first or once(agent)
    assert "Subject: hello" in report(parsed)[3]


# Notices of success that were asked for where the server gives none, RFC 3461 section 5.2.2.

NO_DSN = "ehlo PIPELINING 8BITMIME ENHANCEDSTATUSCODES"
ASKED = b"X-Sender: <jane@inside.example> ENVID=Q1 RET=FULL\nX-Receiver: <a@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;A@example.net\n"


def test_relayed(house):
    agent = house(NO_DSN, notify="sender")
    agent.spool.drop("acme", ASKED + b"X-Receiver: <n@example.net>\nX-Receiver: <o@example.net> NOTIFY=FAILURE\n" + MESSAGE)
    [(accepted, parsed)] = once(agent, 0)
    assert (accepted.mail, accepted.rcpts) == ("<>", ["jane@inside.example"])
    text, whole_fields, [recipient], head = report(parsed)
    assert whole_fields["Original-Envelope-Id"] == "Q1"
    assert recipient["Original-Recipient"] == "rfc822; A@example.net"
    assert recipient["Final-Recipient"] == "rfc822; a@example.net"
    assert (recipient["Action"], recipient["Status"]) == ("relayed", "2.0.0")
    assert "handed on" in text and "n@example.net" not in text and "o@example.net" not in text
    assert "Subject: hello" in head and parsed["References"] == "<one@inside.example>"
    for _ in range(3):
        agent.clock.advance(3600)
        assert len(once(agent, 0)) == 1
    assert agent.spool.counts("acme")["failed"] == 0 and left_behind(agent) == []


@pytest.mark.parametrize("script, keys, head", [
    ("ehlo PIPELINING DSN", {"notify": "sender"}, ASKED),  # the server tells
    (NO_DSN, {}, ASKED), (NO_DSN, {"notify": "ops@acme.example"}, ASKED),  # nobody is to be told, or not the sender
    (NO_DSN, {"notify": "sender"}, b"X-Sender: <>\nX-Receiver: <a@example.net> NOTIFY=SUCCESS\n"),
    (NO_DSN, {"notify": "sender"}, b"X-Receiver: <a@example.net> NOTIFY=SUCCESS\nAuto-Submitted: auto-replied\n"),
    (NO_DSN, {"notify": "sender"}, b"X-Receiver: <a@example.net> NOTIFY=NEVER\n"), (NO_DSN, {"notify": "sender"}, b""),
], ids=["server has DSN", "none", "operator", "null sender", "automatic", "never", "nobody asked"])
def test_not_relayed(house, script, keys, head):
    agent = house(script, **keys)
    agent.spool.drop("acme", head + MESSAGE)
    assert once(agent, 0) == [] or head.endswith(b"auto-replied\n")
    assert len(agent.server.accepted) == 1


def test_relayed_where_another_recipient_fails(house):
    """Two reports: of who has it by a server that tells no more, and of who does not get it."""
    agent = house(NO_DSN, REFUSE, notify="sender")
    agent.spool.drop("acme", ASKED.replace(b" RET=FULL", b"") + b"X-Receiver: <b@example.net>\n" + MESSAGE)
    found = sorted(report(parsed)[2][0]["Action"] for _, parsed in once(agent, 1))
    assert found == ["failed", "relayed"]


def test_relayed_after_a_retry(house):
    """Who had it at once is told of when the last has it, by the same server."""
    agent = house(NO_DSN, "on RCPT n@: once 451 4.3.0 later", notify="sender")
    agent.spool.drop("acme", ASKED + b"X-Receiver: <n@example.net>\n" + MESSAGE)
    assert once(agent, 1) == []
    agent.clock.advance(120)
    [(_, parsed)] = once(agent, 0)
    assert [recipient["Final-Recipient"] for recipient in report(parsed)[2]] == ["rfc822; a@example.net"]


def test_relayed_beside_a_digest_and_above_the_cap(house):
    """Not summed up: each is its sender's, and what is over the hour's measure is left out."""
    agent = house(NO_DSN, notify="sender", digest="15m")
    agent.start()
    for i in range(70):
        agent.spool.drop("acme", ASKED + MESSAGE, f"m{i}")
    agent.spool.wait_counts("acme", sent=70, seconds=60)
    wait_counted(agent, sent=70)
    agent.clock.advance(16 * 60)
    wait_until(lambda: len(notices(agent)) == 60, 60, lambda: len(notices(agent)))
    wait_until(lambda: agent.spool.quiet("acme"), what="quiet")
    agent.clock.advance(3700)
    agent.spool.drop("acme", ASKED + MESSAGE)
    agent.spool.wait_counts("acme", sent=131)
    wait_counted(agent, sent=131)
    agent.clock.advance(16 * 60)
    wait_until(lambda: len(notices(agent)) == 61, 30, lambda: len(notices(agent)))
    assert {report(parsed)[2][0]["Action"] for _, parsed in notices(agent)} == {"relayed"}


def test_header_that_is_not_ascii(house):
    agent = house(REFUSE, "ehlo PIPELINING", notify="sender")
    agent.spool.drop("acme", "Subject: Grüße an alle\nFrom: Jäne <jane@inside.example>\nTo: b@example.net\n\ntext\n".encode())
    # The original cannot go out without 8BITMIME only where its body needs it; the notice is seven-bit in any case.
    found = once(agent, 1)
    assert len(found) == 1
    assert found[0][0].data.isascii()
    _, _, _, head = report(found[0][1])
    assert "Grüße an alle" in head


def test_expired(house, config):
    config.set(retry={"first": "1s", "max": "1m", "give_up_after": "5m", "jitter": 0})
    agent = house(LATER, notify="sender")
    name = agent.spool.drop("acme", MESSAGE)
    once(agent, 1)
    agent.clock.advance(400)
    [(_, parsed)] = once(agent)
    text, _, [recipient], _ = report(parsed)
    assert recipient["Action"] == "failed" and recipient["Status"] == "4.4.7"
    assert "given up" in text
    assert status_of(agent, name)["reason"] == "expired"


def test_delay_warning_once(house):
    agent = house(LATER, notify="sender", delay_warning="10m")
    name = agent.spool.drop("acme", MESSAGE)
    assert once(agent, 1) == []
    agent.clock.advance(700)
    [(accepted, parsed)] = once(agent)
    assert accepted.mail == "<>"
    text, _, [recipient], _ = report(parsed)
    assert recipient["Action"] == "delayed" and recipient["Status"] == "4.3.0"
    assert recipient["Will-Retry-Until"]
    assert "need not send it again" in text
    assert status_of(agent, name, "deferred")["delay_warned"]
    mtime = agent.spool.path("acme", "deferred", name + ".status").stat().st_mtime
    assert mtime > agent.clock.offset  # the time of the next attempt is kept
    for _ in range(3):
        agent.clock.advance(8000)
        assert len(once(agent)) == 1
    assert agent.spool.where("acme", name) == ["deferred"]


def test_delay_warning_never(house):
    agent = house(LATER, notify="sender", delay_warning="never")
    agent.spool.drop("acme", MESSAGE)
    once(agent, 1)
    agent.clock.advance(8 * 3600)
    assert once(agent) == []


def test_running_agent_tells_at_once(house):
    agent = house(REFUSE, notify="sender")
    agent.start()
    agent.spool.drop("acme", MESSAGE)
    wait_until(lambda: notices(agent), 20, "the notice")
    assert agent.wait_event("notified")


def test_digest(house):
    agent = house("on RCPT b: 550 5.1.1 nobody", notify="ops@acme.example", digest="15m")
    agent.start()
    for i in range(12):
        agent.spool.drop("acme", MESSAGE.replace(b"b@", b"b%d@" % i), f"m{i}")
    agent.spool.wait_counts("acme", failed=12, seconds=30)
    wait_counted(agent, failed=12)
    assert notices(agent) == []
    agent.clock.advance(16 * 60)
    wait_until(lambda: notices(agent), 20, "the summary")
    wait_until(lambda: agent.spool.quiet("acme"), what="quiet")
    [(accepted, parsed)] = notices(agent)
    assert accepted.rcpts == ["ops@acme.example"]
    assert parsed["Subject"] == "Mail trouble: 12 failed, 0 delayed"
    assert all(f"b{i}@example.net" in parsed.get_content() and f"mv failed/m{i} new/" in parsed.get_content() for i in range(12))
    agent.clock.advance(16 * 60)
    agent.spool.drop("acme", MESSAGE)
    agent.spool.wait_counts("acme", failed=13)
    wait_counted(agent, failed=13)
    agent.clock.advance(16 * 60)
    wait_until(lambda: len(notices(agent)) == 2, 20, "the second summary")
    assert notices(agent)[1][1]["Subject"] == "Mail trouble: 1 failed, 0 delayed"


def test_digest_outlives_restarts(house):
    """What has failed is read from the status files: a summary comes in its time, whatever ran when."""
    agent = house(REFUSE, notify="ops@acme.example", digest="15m")
    agent.spool.drop("acme", MESSAGE)
    assert once(agent, 1) == []
    agent.clock.advance(600)
    assert once(agent) == []
    agent.clock.advance(600)
    assert len(once(agent)) == 1
    agent.clock.advance(1200)
    assert len(once(agent)) == 1


def test_cap(house):
    """60 in an hour; the rest in one summary when the hour is over."""
    agent = house("on RCPT b: 550 5.1.1 nobody", notify="ops@acme.example")
    agent.start()
    for i in range(75):
        agent.spool.drop("acme", MESSAGE.replace(b"b@", b"b%d@" % i))
    agent.spool.wait_counts("acme", failed=75, seconds=60)
    wait_until(lambda: len(notices(agent)) == 60, 60, "60 notices")
    wait_until(lambda: agent.spool.quiet("acme"), what="quiet")
    agent.clock.advance(1800)
    assert len(notices(agent)) == 60
    agent.clock.advance(1900)
    wait_until(lambda: len(notices(agent)) == 61, 30, "the summary")
    assert notices(agent)[-1][1]["Subject"] == "Mail trouble: 15 failed, 0 delayed"
    agent.clock.advance(4000)
    agent.spool.drop("acme", MESSAGE)
    wait_until(lambda: len(notices(agent)) == 62, 30, "a notice of its own again")
    report(notices(agent)[-1][1])


def test_failed_again_is_told_again(house):
    agent = house(REFUSE, notify="sender")
    name = agent.spool.drop("acme", MESSAGE)
    assert len(once(agent, 1)) == 1
    os.rename(agent.spool.path("acme", "failed", name), agent.spool.path("acme", "new", name))
    assert len(once(agent, 1)) == 2


def test_old_failures_are_history(house):
    """Switching notices on does not tell of what failed days ago."""
    agent = house(REFUSE)
    agent.spool.drop("acme", MESSAGE)
    once(agent, 1)
    agent.config.data["tenants"]["acme"]["on_failure"] = {"notify": "sender"}
    agent.clock.advance(3 * 86400)
    assert once(agent) == []


def test_full_disk_is_not_the_end(house):
    """Where .notices/ cannot be made nothing is marked; once it can, the notice goes out."""
    agent = house(REFUSE, notify="sender")
    blocker = agent.spool.path("acme") / ".notices"
    blocker.write_text("in the way")
    name = agent.spool.drop("acme", MESSAGE)
    agent.start()
    agent.wait_event("notice_failed", seconds=20)
    agent.spool.wait("acme", name, "failed")
    assert "notified" not in status_of(agent, name)
    blocker.unlink()
    agent.clock.advance(90)
    wait_until(lambda: notices(agent), 20, "the notice")
