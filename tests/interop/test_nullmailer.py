"""Mail that nullmailer's own programs queued, moved over by `outtray import nullmailer --queue` and delivered.

nullmailer-inject and nullmailer-queue as Debian ships them write below $NULLMAILER_TEST_PREFIX, so nobody needs to be root.
"""

import os
import shutil
import subprocess

import pytest

from support import mail
from support.debs import Unavailable, unpack
from support.wait import wait_until

SENDER = mail.Sender("main", "host@host.example", None)
ENVELOPE = "jane@host.example"


class Nullmailer:
    """A private installation: its queue lies in DIRECTORY/queue, as /var/spool/nullmailer otherwise."""

    def __init__(self, directory, package):
        self.queue, self.package = directory / "queue", package
        for place in ("sbin", "conf", "queue/queue", "queue/tmp", "queue/failed"):
            (directory / place).mkdir(parents=True)
        # A copy loses the set-user-ID bit, with which it would refuse a prefix.
        shutil.copyfile(package / "usr/sbin/nullmailer-queue", directory / "sbin/nullmailer-queue")
        (directory / "sbin/nullmailer-queue").chmod(0o755)
        (directory / "mailname").write_text("host.example\n")
        os.mkfifo(self.queue / "trigger")
        libraries = package / "usr/lib" / f"{os.uname().machine}-linux-gnu"
        self.environment = dict(os.environ, NULLMAILER_TEST_PREFIX=str(directory), LD_LIBRARY_PATH=str(libraries), LC_ALL="C")

    def run(self, program, *arguments, data):
        done = subprocess.run([program, *arguments], env=self.environment, input=data, capture_output=True, check=False)
        assert done.returncode == 0, (program, done.stdout, done.stderr)

    def inject(self, message):
        """As sendmail: recipients out of the header, which it makes anew."""
        self.run(self.package / "usr/bin/nullmailer-inject", "-h", "-f", ENVELOPE, data=message)

    def enqueue(self, sender, recipients, message):
        """As any other program that has an envelope: the message goes in as it is."""
        envelope = "".join(line + "\n" for line in (sender, *recipients, ""))
        self.run(self.queue.parent / "sbin/nullmailer-queue", data=envelope.encode() + message)

    def waiting(self):
        return sorted(os.listdir(self.queue / "queue"))


@pytest.fixture
def nullmailer(tmp_path):
    try:
        return Nullmailer(tmp_path / "nullmailer", unpack("nullmailer"))
    except Unavailable as problem:
        pytest.skip(str(problem))


@pytest.fixture
def spooled(config, agent, server):
    config.account("relay", server="127.0.0.1", port=server.port, encryption="none", envelope_from="message")
    config.tenant("main", account="relay", from_="host@host.example")
    agent.prepare()
    return agent


def moved(agent, nullmailer, count):
    done = agent.verb("import", "nullmailer", f"--queue={nullmailer.queue}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} messages were moved into the spool of main, 0 were there already, 0 could not be read" in done.stdout
    assert nullmailer.waiting() == []


def stored(server):
    return [(recipient, one.data) for one in server.accepted for recipient in one.rcpts]


def test_what_nullmailer_queued_arrives_once(spooled, nullmailer, server):
    """Messages of every kind, half through either program, while the agent runs: each once for each recipient, bodies equal."""
    messages = mail.corpus([SENDER], seed=6, small=56, medium=3, large=1)
    for serial, message in enumerate(messages):
        data = message.data.replace(b"\r\n", b"\n")  # nullmailer's own line ends
        if serial % 2:
            nullmailer.enqueue(ENVELOPE, message.recipients, data)
        else:
            nullmailer.inject(data)
    assert len(nullmailer.waiting()) == len(messages)
    with spooled as agent:
        moved(agent, nullmailer, len(messages))
        wait_until(lambda: len(agent.spool.names("main", "sent")) == len(messages), 60, lambda: agent.log_text()[-3000:])
        moved(agent, nullmailer, 0)
    mail.compare_all(messages, stored(server))
    assert {one.mail for one in server.accepted} == {f"<{ENVELOPE}>"}
    assert all(b"X-Outtray" not in one.data for one in server.accepted)


def test_the_null_sender_and_envelopes_unlike_the_header(spooled, nullmailer, server):
    """The envelope is nullmailer's, whatever the header says, lines of ours in it included."""
    forged = b"X-Sender: <forged@host.example>\nX-Receiver: <nobody@example.net>\nX-Outtray-Key: theirs\n"
    nullmailer.enqueue("", ["a@example.net"], b"From: mailer-daemon@host.example\nTo: z@example.net\nSubject: one\n\none\n")
    nullmailer.enqueue(ENVELOPE, ["b@example.net", "c@example.net"], forged + b"From: jane@host.example\nTo: y@example.net\nSubject: two\n\ntwo\n")
    moved(spooled, nullmailer, 2)
    spooled.clock.advance(10)
    assert spooled.once() == 0, spooled.log_text()
    assert sorted((one.mail, sorted(one.rcpts)) for one in server.accepted) == [
        ("<>", ["a@example.net"]), (f"<{ENVELOPE}>", ["b@example.net", "c@example.net"])]


def test_a_restored_queue_is_not_sent_again(spooled, nullmailer, server, tmp_path):
    """The queue's files come back with their inodes, as after a crash between the two steps: nothing goes out twice."""
    for serial in range(5):
        nullmailer.enqueue(ENVELOPE, [f"a{serial}@example.net"], f"To: a{serial}@example.net\nSubject: {serial}\n\ntext\n".encode())
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in nullmailer.waiting():
        os.link(nullmailer.queue / "queue" / name, kept / name)
    moved(spooled, nullmailer, 5)
    spooled.clock.advance(10)
    assert spooled.once() == 0
    for name in os.listdir(kept):
        os.link(kept / name, nullmailer.queue / "queue" / name)
    done = spooled.verb("import", "nullmailer", f"--queue={nullmailer.queue}")
    assert "0 messages were moved into the spool of main, 5 were there already" in done.stdout
    assert nullmailer.waiting() == []
    spooled.once()
    assert sorted(recipient for recipient, _ in stored(server)) == [f"a{serial}@example.net" for serial in range(5)]
