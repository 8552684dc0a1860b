"""What every black-box test can ask for."""

import os
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS / "cases")]

from smtpserver import Server  # noqa: E402
from support.agent import Agent, Clock, Config, binary  # noqa: E402
from support.tls import Authority  # noqa: E402


def pytest_report_header(config):
    return f"outtray under test: {binary()}"


@pytest.fixture(scope="session")
def program():
    """The path of the program under test; it has to exist, since `make asan` or $OUTTRAY was to provide it."""
    path = binary()
    assert os.access(path, os.X_OK), f"{path} is missing: run `make asan`, or name another program in $OUTTRAY"
    return path


@pytest.fixture
def config(tmp_path):
    """A Config in the test's own directory."""
    return Config(tmp_path)


@pytest.fixture
def clock(tmp_path):
    """The settable clock; give it to an Agent of the same test."""
    return Clock(tmp_path / "clock")


@pytest.fixture
def agent(program, config, clock):
    """An Agent for `config`, not started yet; stopped at the end whatever happens."""
    agent = Agent(config, clock=clock)
    yield agent
    if agent.running():
        assert agent.stop() == 0


@pytest.fixture
def server():
    """A scripted SMTP server that takes everything."""
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority that lives as long as the test run."""
    return Authority(tmp_path_factory.mktemp("authority"))
