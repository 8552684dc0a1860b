"""What the tests of this directory ask for. Not a conftest.py: the tests of one run share that module name.

Servers live as long as the tests of one file, which run in one process.
"""

import pytest
import servers


@pytest.fixture(scope="module")
def server(request, tmp_path_factory, authority):
    """The server of the class that the module names as SERVER; a skip with its reason where it cannot run here."""
    try:
        server = request.module.SERVER(tmp_path_factory.mktemp("server"), authority)
    except servers.Missing as reason:
        pytest.skip(str(reason))
    server.start()
    yield server
    server.stop()
