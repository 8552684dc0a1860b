"""One test per scenario file of this directory (see casefile.py for how they read).

Scenarios share nothing, so they are played by a few threads at once ($OUTTRAY_TEST_JOBS, default 4) while pytest collects their
results in order. `pytest tests/cases -k NAME` plays those that match.
"""

import concurrent.futures
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from runner import Scenario  # noqa: E402

CASES = sorted(path.name for path in HERE.glob("*.case"))


@pytest.fixture(scope="session")
def certs(authority):
    authority.issue("good")
    authority.issue("wrongname", hosts=("elsewhere.example.net",))
    authority.issue("expired", start="20200101000000Z", end="20200201000000Z")
    authority.issue("client", hosts=("client.example.com",))
    return authority.directory


@pytest.fixture(scope="session")
def outcomes(request, program, certs):
    """Starts every selected scenario in the background, in order; a test waits for its own."""
    chosen = [item.callspec.params["name"] for item in request.session.items if item.fspath == __file__]
    jobs = int(os.environ.get("OUTTRAY_TEST_JOBS", "4"))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        yield {name: pool.submit(Scenario(HERE / name, certs).run) for name in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.removesuffix(".case"))
def test_case(outcomes, name):
    problem = outcomes[name].exception()
    if problem is not None:
        pytest.fail(str(problem) if isinstance(problem, AssertionError) else repr(problem), pytrace=False)
