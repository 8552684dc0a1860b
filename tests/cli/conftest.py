"""What the tests of the verbs can ask for."""

import contextlib

import pytest

from support.agent import Agent
from support.box import BAD, LATER, MESSAGE, Box, say, to
from support.desk import Desk
from support.provider import Provider


@pytest.fixture
def box(program, config, clock, server):
    return Box(config, clock, server)


@pytest.fixture
def mixed(box):
    """Messages in sent/, deferred/, failed/ and new/ of acme; one in new/ of other, on another account."""
    box.config.account("second", email="second@example.com", server="127.0.0.1", port=box.server.port, encryption="none")
    box.config.tenant("other", account="second")
    say(box, LATER, BAD)
    box.ready()
    for name in ("good", "later", "bad"):
        box.spool.drop("acme", to(name, "x"), name=name)
    box.deliver(code=1)
    box.server.accepted.clear()
    say(box)
    box.spool.drop("acme", MESSAGE, name="fresh")
    box.spool.drop("other", MESSAGE, name="foreign")
    return box


@pytest.fixture
def alive(box):
    """An agent that runs, with two accounts and a tenant on each; box is its Box."""
    box.config.data["retry"]["first"] = "1h"
    box.config.account("second", email="second@example.com", server="127.0.0.1", port=box.server.port, encryption="none")
    box.config.tenant("other", account="second")
    with Agent(box.config, clock=box.clock) as agent:
        agent.box = box
        yield agent.wait_ready()


@contextlib.contextmanager
def desk_with(profile, config, clock):
    provider = Provider(profile=profile).start()
    desk = Desk(config, clock, provider)
    yield desk
    desk.close()
    provider.stop()


@pytest.fixture(params=["google", "microsoft"])
def desk(request, program, config, clock):
    with desk_with(request.param, config, clock) as desk:
        yield desk


@pytest.fixture
def google(program, config, clock):
    with desk_with("google", config, clock) as desk:
        yield desk


@pytest.fixture
def microsoft(program, config, clock):
    with desk_with("microsoft", config, clock) as desk:
        yield desk
