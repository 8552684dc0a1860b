"""One account `office` with one tenant `master`: the scripted provider, its mail server, and an agent between them.

    with Office(tmp_path, profile="google") as office:
        office.provider.store(office.config.state, "office")
        with office.agent:
            office.send()
            office.wait_sent(1)
"""

import datetime
import json

from support.agent import Agent, Clock, Config
from support.provider import Provider
from support.wait import wait_until

import xoauth2

ACCOUNT = "office"
MAILBOX = "pbx@contoso.example"
PROFILES = ("google", "microsoft")
STATUS_SECONDS = 2  # between two writes of status.json
FIX = f"outtray oauth login {ACCOUNT}"


class Office:
    def __init__(self, directory, profile="microsoft", tls=None, limits=None, oauth=None, account=None, **provider):
        """tls: an Authority, for STARTTLS; else the mail server speaks plainly. Other keys are the Provider's."""
        self.config = Config(directory)
        self.clock = Clock(self.config.directory / "clock")
        self.provider = Provider(profile, user=MAILBOX, clock=self.clock, **provider)
        self.certificate = tls.issue("smtp-" + self.config.directory.name) if tls else (None, None)
        self.server = xoauth2.Server(self.provider, *map(str, self.certificate)) if tls else xoauth2.Server(self.provider)
        self.keys = {"server": "127.0.0.1", "encryption": "starttls" if tls else "none",
                     "limits": {"connections": 2, "messages_per_minute": 0, "messages_per_day": 0, "recipients_per_day": 0,
                                **(limits or {})}, **(account or {})}
        if tls:
            self.keys["tls"] = {"ca_file": str(tls.ca)}
        self.oauth = oauth or {}
        self.agent = Agent(self.config, clock=self.clock)
        self.sent = 0

    def __enter__(self):
        self.provider.start()
        self.server.start()
        oauth = dict(self.oauth)
        if self.provider.client_secret:
            oauth.setdefault("client_secret_file", str(self.config.secret("client.secret", self.provider.client_secret)))
        self.config.account(ACCOUNT, **self.provider.account(MAILBOX, oauth=oauth, port=self.server.port, **self.keys))
        self.config.tenant("master", account=ACCOUNT, from_=f"PBX <{MAILBOX}>")
        self.agent.prepare()
        return self

    def __exit__(self, kind, value, trace):
        try:
            code = self.agent.stop()
        finally:
            self.server.stop()
            self.provider.stop()
        if kind is None:
            assert code in (None, 0), f"the agent ended with {code}\n{self.agent.log_text()[-4000:]}"
            assert not self.server.problems, self.server.problems

    # Tokens

    @property
    def path(self):
        return self.config.state / "tokens" / f"{ACCOUNT}.json"

    def token(self):
        """The stored token, or None."""
        try:
            return json.loads(self.path.read_text())
        except FileNotFoundError:
            return None

    def store(self, age=0, **keys):
        return self.provider.store(self.config.state, ACCOUNT, age, **keys)

    def verb(self, name, *arguments, **options):
        return self.agent.verb("oauth", name, ACCOUNT, *arguments, **options)

    def authorize(self, **consent):
        """get-code, the person's consent, get-token."""
        url = self.verb("get-code", check=True).stdout.strip()
        return self.verb("get-token", self.provider.consent(url, **consent))

    # Mail

    def send(self, count=1, text="text"):
        """Drops messages into new/ and returns their names."""
        self.sent += count
        return [self.agent.spool.drop("master", f"To: a{number}@example.net\nSubject: {number}\n\n{text}\n")
                for number in range(count)]

    def wait_sent(self, count=None, seconds=20.0):
        """Waits until that many messages (default: all) are in sent/, and that the server got each of them once."""
        count = self.sent if count is None else count

        def what():
            return f"{count} in sent/: {self.agent.spool.counts('master')}, breaker {self.breaker()}\n" \
                f"{[(login.problem, login.reply) for login in self.server.logins[-5:]]}\n{self.agent.log_text()[-5000:]}"
        wait_until(lambda: len(self.agent.spool.names("master", "sent")) >= count, seconds, what)
        assert len(self.server.messages) == len({message.message_id for message in self.server.messages}) == count

    def wait_new(self, names):
        """Waits until these messages, and no others, lie in new/, untouched."""
        wait_until(lambda: self.agent.spool.names("master", "new") == sorted(names), 10,
                   lambda: f"{len(names)} in new/: {self.agent.spool.counts('master')}\n{self.agent.log_text()[-5000:]}")

    def account_status(self):
        status = self.agent.status()
        return (status or {}).get("accounts", {}).get(ACCOUNT, {})

    def breaker(self):
        return self.account_status().get("breaker")

    def wait_status(self, condition, seconds, what):
        """Waits for what status.json says. It is written every few seconds: those are passed by the clock."""
        def looks_so():
            if condition(self.agent.status() or {}):
                return True
            self.clock.advance(STATUS_SECONDS)
            return False
        wait_until(looks_so, seconds, what, interval=0.1)

    def wait_breaker(self, state, seconds=15.0):
        self.wait_status(lambda _: self.breaker() == state, seconds,
                         lambda: f"breaker {state}: {self.account_status()}\n{self.agent.log_text()[-5000:]}")
        return self.account_status()

    def wait_refreshes(self, count, seconds=15.0):
        wait_until(lambda: self.provider.count("refresh_token") >= count, seconds,
                   lambda: f"{count} refreshes, {self.provider.count('refresh_token')} so far\n{self.agent.log_text()[-5000:]}")

    def wait_seen(self):
        """Waits until the agent has noticed what the clock says."""
        at = self.provider.now() - 1
        self.wait_status(lambda status: status_time(status) >= at, 15, lambda: f"a status.json after {at}")


def status_time(status):
    if not status:
        return 0
    return datetime.datetime.fromisoformat(status["time"].replace("Z", "+00:00")).timestamp()
