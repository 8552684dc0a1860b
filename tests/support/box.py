"""What the tests of the verbs share: a configuration with one tenant, and what it takes to fill and look at its spool."""

from smtpserver import Rule
from support.agent import outtray
from support.spool import Spool

MESSAGE = b"From: Jane <jane@inside.example>\nTo: a@example.net\nSubject: hello\n\nOne line.\n"
LATER = "on RCPT later@example.net: 451 4.3.0 try later"
BAD = "on RCPT bad@example.net: 550 5.1.1 no such user"


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


def to(*people):
    return MESSAGE.replace(b"a@example.net", ", ".join(f"{one}@example.net" for one in people).encode())


def say(box, *rules):
    box.server.rules[:] = [Rule(rule) for rule in rules]


def where(box, name, tenant="acme"):
    return box.spool.where(tenant, name)
