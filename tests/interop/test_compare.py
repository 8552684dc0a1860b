"""The comparison that the interop runs rest on turns red where it has to: each kind of damage is noticed."""

import random

import pytest
from support import mail

SENDER = mail.Sender("acme", "voicemail@acme.example", "Acme")


def messages():
    rng = random.Random(1)
    return [mail.make(rng, serial, SENDER, 500) for serial in range(40)]


def delivered(message):
    """What a perfect agent and server would have stored."""
    block, body = mail.split(message.data)
    kept = [(name, value) for name, value in mail.headers(block)
            if name.lower() not in mail.FORBIDDEN + ("from", "subject", "date", "message-id")]
    fields = [("From", '"Acme" <voicemail@acme.example>'), ("Subject", "=?utf-8?b?" + encoded(message.subject) + "?="),
              ("Date", "Mon, 23 Nov 2026 10:00:00 +0000"), ("Message-ID", "<1@x>")] + kept
    return "".join(f"{name}: {value}\n" for name, value in fields).encode() + b"\n" + mail.normalize(body)


def encoded(text):
    return mail.base64.b64encode(text.encode()).decode()


def stored(corpus):
    return [(recipient, delivered(message)) for message in corpus for recipient in message.recipients]


def change(old, new):
    return lambda found: [(found[0][0], found[0][1].replace(old, new, 1))] + found[1:]


DAMAGE = {
    "lost": lambda found: found[1:],
    "doubled": lambda found: found + found[:1],
    "for somebody else": lambda found: [("else@interop.example", found[0][1])] + found,
    "body changed": lambda found: [(found[0][0], found[0][1] + b"x\n")] + found[1:],
    "body cut": lambda found: [(found[0][0], found[0][1].split(b"\n\n", 1)[0] + b"\n\n")] + found[1:],
    "wrong From": change(b"voicemail@acme.example", b"pbx@contoso.example"),
    "wrong display name": change(b'"Acme"', b'"PBX"'),
    "two Froms": change(b"From: ", b"From: other@x\nFrom: "),
    "Bcc left": change(b"From: ", b"Bcc: secret@x\nFrom: "),
    "X-Receiver left": change(b"From: ", b"X-Receiver: <secret@x>\nFrom: "),
    "no Message-ID": change(b"Message-ID: <1@x>\n", b""),
    "no Date": change(b"Date: ", b"X-Date: "),
    "header lost": lambda found: [(recipient, data.replace(b"X-Folded: one\n two\n\tthree\n", b"")) for recipient, data in found],
}


def test_nothing_is_wrong_with_what_is_right():
    corpus = messages()
    mail.compare_all(corpus, stored(corpus))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed(damage):
    corpus = messages()
    with pytest.raises(AssertionError):
        mail.compare_all(corpus, DAMAGE[damage](stored(corpus)))


def test_the_corpus_is_the_same_every_time():
    first, second = (mail.corpus([SENDER], seed=5, small=50, medium=2, large=0) for _ in range(2))
    assert [message.data for message in first] == [message.data for message in second]


def test_the_corpus_has_what_it_promises():
    corpus = mail.corpus([SENDER], seed=5, small=400, medium=5, large=0)
    files = [message.data for message in corpus]
    assert any(b"\r\n" in data for data in files) and any(b"\r\n" not in data for data in files)
    assert any(b"\n.\n" in data for data in files) and any(b"\n..\n" in data for data in files)
    assert any(any(octet > 127 for octet in mail.split(data)[1]) for data in files)
    assert any(b"multipart/mixed" in data for data in files)
    assert any(not data.endswith(b"\n") for data in files)
    assert max(len(line) for data in files for line in data.replace(b"\r", b"").split(b"\n")) == 998
    assert any(b"\nBcc:" in data for data in files) and any(b"X-Receiver:" in data for data in files)
