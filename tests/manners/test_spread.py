"""Without CHUNKING each message of a session costs a round trip: how messages spread over sessions that all wait for one."""

import pytest
from smtpserver import Server
from support.agent import Agent, wait_until
from support.box import MESSAGE, Box

WARM = 100


@pytest.fixture
def box(program, config, clock):
    server = Server(["ehlo PIPELINING", "on RCPT first@: pause & default", "on RCPT second@: silence"])
    server.start()
    box = Box(config, clock, server)
    config.data["accounts"]["relay"]["limits"] = {"connections": 2, "window": 8}
    yield box
    server.stop()


def put(box, name):
    box.spool.drop("acme", MESSAGE.replace(b"a@example.net", f"{name}@example.net".encode()), name=name)


def sent(box, *names):
    return [name for name in names if name in box.spool.names("acme", "sent")]


def test_two_each_before_a_third(box):
    """Two sessions wait, one of them in vain. Of two more messages each gets one, so that one of them goes out."""
    agent = Agent(box.config, clock=box.clock)
    agent.prepare()
    for number in range(WARM):
        put(box, f"warm{number}")
    box.clock.advance(10)
    with agent:
        wait_until(lambda: len(box.spool.names("acme", "sent")) == WARM and box.server.seen("EHLO") == 2, 20, agent.log_text)
        for number, name in enumerate(("first", "second"), start=WARM + 1):
            put(box, name)
            wait_until(lambda: box.server.seen("RCPT") == number, 20, agent.log_text)
        put(box, "third")
        put(box, "fourth")
        wait_until(lambda: len(box.spool.names("acme", "cur")) == 4, 20, agent.log_text)  # all are in somebody's hands
        box.server.release()
        box.spool.wait("acme", "first", "sent")
        put(box, "last")  # goes to the session that is free again, behind all that it was given
        box.spool.wait("acme", "last", "sent")
        assert len(sent(box, "third", "fourth")) == 1, agent.log_text()
        agent.kill()
