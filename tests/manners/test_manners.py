"""A thousand simulated minutes with servers that enforce a provider's limits: how much of them is used, how often they are hit."""

import os
import pathlib
import random
import tempfile

import pytest

from support.agent import Agent, Clock, Config
from support.wait import Timeout, wait_until

from limited import MINUTE, Google, Limited, Microsoft, SlidingLimit

MINUTES = int(os.environ.get("OUTTRAY_MANNERS_MINUTES", "1000"))
MESSAGE = b"To: a@example.net\n\nx\n"
FEW_MINUTES = 30  # in which an account that forgot a refusal would have grown back to it many times
USED = 0.95  # of what is allowed
STEP = 0.25  # seconds of the agent's clock
EARLY = 0.005
BACKLOG = 60  # messages that wait at any time


@pytest.fixture
def agent(program):
    """An agent in memory, where the machine has a place there: thousands of messages, and no test of the disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="outtray-manners.", dir=memory) as directory:
        config = Config(directory)
        config.set(retention={"sent": "never", "tmp": "never"})
        agent = Agent(config, clock=Clock(pathlib.Path(directory, "clock")))
        yield agent
        if agent.running():
            assert agent.stop() == 0


@pytest.fixture
def serve():
    started = []

    def start(server):
        server.start()
        started.append(server)
        return server
    yield start
    for server in started:
        server.stop()


class Producer:
    def __init__(self, agent, tenant):
        self.directory, self.dropped = agent.spool.path(tenant), 0

    def drop(self, count):
        for number in range(self.dropped, self.dropped + count):
            held = self.directory / "tmp" / f"{number:06}"
            held.write_bytes(MESSAGE)
            held.rename(self.directory / "new" / held.name)
        self.dropped += count


def reached(server, expected, seconds):
    try:
        wait_until(lambda: len(server.times) >= expected, seconds, interval=0.002)
        return True
    except Timeout:
        return False


def next_messages(server, clock, producer, count):
    """Lets time pass until so many more were accepted, or something was refused."""
    expected, refusals = len(server.times) + count, len(server.refusals)
    while not reached(server, expected, 0.02) and len(server.refusals) == refusals:
        producer.drop(BACKLOG + len(server.times) - producer.dropped)
        clock.advance(STEP)


def minutes_of_microsoft(server, clock, producer, minutes):
    """Lets the minutes pass. The steps are coarse where nothing can happen: up to the moment at which the server would take
    the next message, and from there as long as the agent was seen to hold back after it."""
    begin, late = server.times[-30], 0.0
    while server.now() - begin < minutes * MINUTE:
        producer.drop(BACKLOG + len(server.times) - producer.dropped)
        free = server.minute.wait(server.now())
        clock.advance(max(free + late - EARLY, 0.0))
        base, expected = server.now() - late + EARLY, len(server.times) + 30
        missed = False
        while not reached(server, expected, 0.05 if not late else 1.0) and server.now() - begin < minutes * MINUTE:
            clock.advance(STEP)
            missed = True
        seen = server.now() - base
        # A lateness that was taken too small, on a busy machine, would have all that follow waited for in vain.
        late = seen if not late else late + STEP if missed else min(late, seen)
    return begin


def moments(refusals):
    """Refusals that had not yet been answered when the next one came are one."""
    return sum(1 for one, other in zip([(float("-inf"),)] + refusals, refusals) if other[0] - one[0] > 1)


def start_microsoft(agent, serve, connections):
    server = serve(Microsoft(agent.clock))
    agent.config.account("office", server="127.0.0.1", port=server.port, encryption="none",
                         limits={"connections": connections, "messages_per_minute": 30})
    agent.config.tenant("acme", account="office")
    agent.prepare()
    producer = Producer(agent, "acme")
    producer.drop(BACKLOG)
    agent.start()
    return server, producer


def test_microsoft(agent, serve):
    """30 messages a minute and three connections, as the preset has them, with a backlog that never ends."""
    server, producer = start_microsoft(agent, serve, 3)
    assert reached(server, 30, 30)
    begin = minutes_of_microsoft(server, agent.clock, producer, MINUTES)
    inside = sum(1 for at in server.times if at - begin < MINUTES * MINUTE)
    assert not server.refusals, f"{len(server.refusals)}: {server.refusals[:5]}"
    assert inside >= USED * 30 * MINUTES, f"{inside} of {30 * MINUTES}"
    assert server.open_most <= 3
    assert not agent.events("failed") and not agent.events("deferred")


def test_too_many_connections(agent, serve):
    """Ten connections are configured, the server allows three: it has to say so once."""
    server, producer = start_microsoft(agent, serve, 10)
    wait_until(lambda: server.times or server.refusals, 30)
    while not server.refusals:  # the first minute's messages may have gone over three
        next_messages(server, agent.clock, producer, 1)
    next_messages(server, agent.clock, producer, 60)
    begin, accepted = server.now(), len(server.times)
    while server.now() - begin < FEW_MINUTES * MINUTE:
        agent.clock.advance(max(server.minute.wait(server.now()), STEP))
        reached(server, len(server.times) + 1, 0.02)
        producer.drop(BACKLOG + len(server.times) - producer.dropped)
    assert moments(server.refusals) == 1, [refusal[:2] for refusal in server.refusals]
    assert len(server.times) - accepted >= 0.9 * 30 * FEW_MINUTES, f"{len(server.times) - accepted} of {30 * FEW_MINUTES}"
    assert not agent.events("failed") and not agent.events("deferred")


def test_google(agent, serve):
    """Five logins in ten minutes, 2,000 messages a day: two messages a minute, often with gaps that outlast an idle session."""
    server = serve(Google(agent.clock))
    agent.config.account("office", auth="basic", username="user", password="secret", server="127.0.0.1", port=server.port,
                         encryption="none", limits={"messages_per_day": 2000})
    agent.config.tenant("acme", account="office")
    agent.prepare()
    producer, rng, left = Producer(agent, "acme"), random.Random(5), 2 * MINUTES
    agent.start().wait_ready()
    begin = server.now()
    while server.now() - begin < MINUTES * MINUTE:
        # What was not dropped yet, spread over what is left of the time, in lots of one to six.
        lot = min(rng.randint(1, 6), left)
        producer.drop(lot)
        left -= lot
        if server.logins.free(server.now()) > 0 or server.open:
            reached(server, producer.dropped, 0.5)  # on a busy machine no time shall pass in the middle of a login
        rest = begin + MINUTES * MINUTE - server.now()
        agent.clock.advance(max(rest * lot / (left + lot), 1) * rng.uniform(0.5, 1.5) if left else max(rest, 1))
    assert moments(server.refusals) <= 1, server.refusals
    assert len(server.times) >= USED * 2 * MINUTES, f"{len(server.times)} of {2 * MINUTES}"
    assert not agent.events("failed") and not agent.events("deferred")


class Day(Limited):
    """Recipients a message and a day, and messages a day; nothing is ever to be refused."""

    def __init__(self, clock, each, messages, recipients):
        super().__init__(clock)
        self.each = each
        self.messages, self.recipients = SlidingLimit(messages, 24 * 60 * MINUTE), SlidingLimit(recipients, 24 * 60 * MINUTE)

    def refusal(self, connection, event):
        if event == "RCPT":
            if len(connection.rcpts) >= self.each:
                return "452 4.5.3 too many recipients"
            if not self.recipients.take(self.now()):
                return "550 5.4.5 Daily user sending limit exceeded."
        if event == "BODY":
            if not self.messages.take(self.now()):
                return "550 5.4.5 Daily user sending limit exceeded."
            self.times.append(self.now())
        return None


@pytest.mark.parametrize("limit", ("messages", "recipients"))
def test_days_outlast_a_restart(agent, serve, limit):
    """A day's limit that was used up stays used up when the agent starts anew, and the mail goes out when the day is over."""
    limits = {"messages": (4, 1000), "recipients": (1000, 16)}[limit]
    server = serve(Day(agent.clock, 4, *limits))
    agent.config.account("office", server="127.0.0.1", port=server.port, encryption="none", limits={
        "recipients_per_message": 4, "messages_per_day": limits[0], "recipients_per_day": limits[1]})
    agent.config.tenant("acme", account="office")
    agent.prepare()
    for number in range(6):  # two transactions of four and two, six recipients each: 12 of either in all, 36 recipients
        agent.spool.drop("acme", "To: " + ", ".join(f"r{i}@example.net" for i in range(6)) + "\n\nx\n", name=f"m{number}")
    agent.start()
    used = {"messages": 4, "recipients": 16}[limit]

    def counted():
        return len(server.messages.taken if limit == "messages" else server.recipients.taken)
    wait_until(lambda: counted() == used, 30, lambda: f"{counted()} of {used}\n{agent.log_text()[-3000:]}")
    for _ in range(3):
        agent.wait_event("account_paused")
        assert agent.stop() == 0
        agent.clock.advance(3600)
        agent.start().wait_ready()
    assert counted() == used
    assert not server.refusals, server.refusals
    deadline = server.now() + 10 * 86400
    while not agent.spool.quiet("acme"):
        assert server.now() < deadline, agent.spool.counts("acme")
        agent.clock.advance(1800)
        reached(server, len(server.times) + 1, 0.05)
        # Time that passes in the middle of a transaction is a timeout, and the message comes twice.
        wait_until(lambda: server.seen("MAIL") == server.seen("BODY") and not agent.spool.names("acme", "cur"), 30, "nothing is under way")
    assert len(agent.spool.names("acme", "sent")) == 6
    assert not server.refusals, server.refusals
    assert [len(one.rcpts) for one in server.accepted if len(one.rcpts) > 4] == []
    assert sum(len(one.rcpts) for one in server.accepted) == 36
