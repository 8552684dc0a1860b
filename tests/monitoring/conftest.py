"""What the tests of monitoring can ask for."""

import pytest

from support.watched import Watched


@pytest.fixture
def watched(agent, server):
    return Watched(agent, server)
