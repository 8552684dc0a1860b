"""What the tests of the verbs share: a configuration with one tenant, and a server that takes everything."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))

from smtpserver import Server  # noqa: E402
from support.agent import outtray  # noqa: E402
from support.spool import Spool  # noqa: E402

MESSAGE = b"From: Jane <jane@inside.example>\nTo: a@example.net\nSubject: hello\n\nOne line.\n"


class Box:
    """One tenant `acme` on one account `relay`, in a directory of its own."""

    def __init__(self, config, clock, server):
        self.config, self.clock, self.server = config, clock, server
        self.spool = Spool(config.spool)
        config.account("relay", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none")
        config.tenant("acme", account="relay", from_="Acme Voicemail <voicemail@acme.example>")

    def run(self, *arguments, **options):
        return outtray(*arguments, config=self.config, clock=self.clock, **options)

    def ready(self):
        """The configuration is written and the tree made."""
        self.config.write()
        self.run("init", check=True)
        return self

    def new(self, tenant="acme"):
        """The contents of the messages in new/."""
        return [self.spool.read(tenant, "new", name) for name in self.spool.names(tenant, "new")]

    def deliver(self, code=0):
        """Delivers what is there and returns what the server accepted."""
        self.clock.advance(10)  # nobody writes these files any more
        done = self.run("run", "--once")
        assert done.returncode == code, done.stdout + done.stderr
        return self.server.accepted


@pytest.fixture
def server():
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def box(program, config, clock, server):
    return Box(config, clock, server)
