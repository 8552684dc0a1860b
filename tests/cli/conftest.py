"""What the tests of the verbs can ask for."""

import pytest

from support.box import Box
from support.desk import Desk
from support.provider import Provider


@pytest.fixture
def box(program, config, clock, server):
    return Box(config, clock, server)


def make_desk(program, config, clock, **options):
    provider = Provider(**options).start()
    return Desk(config, clock, provider)


@pytest.fixture(params=["google", "microsoft"])
def desk(request, program, config, clock):
    desk = make_desk(program, config, clock, profile=request.param)
    yield desk
    desk.close()
    desk.provider.stop()


@pytest.fixture
def google(program, config, clock):
    desk = make_desk(program, config, clock, profile="google")
    yield desk
    desk.close()
    desk.provider.stop()


@pytest.fixture
def microsoft(program, config, clock):
    desk = make_desk(program, config, clock, profile="microsoft")
    yield desk
    desk.close()
    desk.provider.stop()
