"""What the tests of the verbs can ask for."""

import pytest

from support.box import Box


@pytest.fixture
def box(program, config, clock, server):
    return Box(config, clock, server)
