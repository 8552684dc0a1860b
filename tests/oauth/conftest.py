"""What the tests of accounts with OAuth can ask for."""

import pytest

from office import PROFILES, Office


@pytest.fixture(params=PROFILES)
def office(request, program, tmp_path):
    with Office(tmp_path, request.param) as office:
        yield office
