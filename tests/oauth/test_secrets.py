"""No secret that was used anywhere may be seen anywhere: logs, status files, status.json, metrics, what verbs print."""

import base64
import json
import pathlib
import urllib.parse

import pytest

from office import ACCOUNT, MAILBOX, Office
from support.answers import Answer, aadsts, error
from support.provider import FAULTS

PASSWORD = "hunter2 with = and % and \"quotes\" 9c41f0"
PART = 24  # a quarter of a secret is as bad as the whole


def shapes(secret):
    """A secret as it stands, and as it travels."""
    yield secret
    yield urllib.parse.quote(secret, safe="")
    yield urllib.parse.quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
    if len(secret) > 4 * PART:
        for at in range(0, len(secret) - PART, PART):
            yield secret[at:at + PART]


class Witness:
    """Everything that was said where people read it."""

    def __init__(self, office):
        self.office, self.texts = office, {}

    def say(self, name, done):
        self.texts.setdefault(name, []).append(done.stdout + done.stderr)
        return done

    def collect(self):
        config = self.office.config
        found = {"log": self.office.agent.log_text(), **{name: "\n".join(texts) for name, texts in self.texts.items()}}
        for path in [*config.state.iterdir(), *config.spool.rglob("*.status")]:
            if path.is_file():
                found[str(path.relative_to(config.directory))] = path.read_text(errors="replace")
        return found

    def check(self, secrets):
        texts = self.collect()
        assert {"log", "state/status.json", "state/metrics.prom"} <= set(texts)
        for secret in secrets:
            assert len(secret) >= 8, "too short to be looked for"
            for shape in shapes(secret):
                for name, text in texts.items():
                    at = text.find(shape)
                    assert at < 0, f"{name} holds (a part of) the secret {secret[:12]}…: …{text[max(0, at - 200):at + 60]}…"


def echo(request):
    """A server that repeats what it was sent, as some do in their errors."""
    sent = " ".join(f"{key}={value}" for key, value in request.form.items())
    return Answer(400, {"error": "invalid_request", "error_description": f"cannot read: {sent}"})


def echo_html(request):
    return Answer(502, f"<html>{urllib.parse.urlencode(request.form)}</html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("profile", ("google", "microsoft"))
def test_no_secret_is_seen(program, tmp_path, profile):
    with Office(tmp_path, profile, client_secret="GOCSPX-" + "s3cr3tOfTheClient" * 2) as office:
        config, witness = office.config, Witness(office)
        config.account("basic", auth="basic", email="basic@example.com", server="127.0.0.1", port=office.server.port, encryption="none",
                       password=PASSWORD)
        config.tenant("other", account="basic")
        config.write()
        office.agent.verb("init", check=True)
        told = set()

        # Verbs, at their best and at their worst.
        url = office.verb("get-code", check=True).stdout.strip()
        pending = json.loads((config.state / "tokens" / f"{ACCOUNT}.pending").read_text()) \
            if (config.state / "tokens" / f"{ACCOUNT}.pending").exists() else {}
        told.update(value for key, value in pending.items() if key == "verifier")
        for answer in (echo, "html_502", "truncated", "other_user", "reduced_scope", error("invalid_grant", "no")):
            office.provider.answer("token", answer) if callable(answer) else office.provider.fail(answer)
            address = office.provider.consent(url)
            witness.say("get-token", office.verb("get-token", address))
        witness.say("get-token", office.verb("get-token", "https://127.0.0.1/?state=wrong&code=" + "anotherSecretCode" * 3))
        told.add("anotherSecretCode" * 3)
        office.provider.heal()
        assert witness.say("get-token", office.verb("get-token", office.provider.consent(url))).returncode == 0
        for answer in (echo, echo_html, *(fault for fault in FAULTS if fault not in ("hang", "huge"))):
            office.provider.answer("token", answer) if callable(answer) else office.provider.fail(answer)
            witness.say("refresh", office.verb("refresh"))
        witness.say("status", office.verb("status"))
        witness.say("status --json", office.verb("status", "--json"))
        witness.say("check", office.agent.verb("check"))

        # The agent, likewise. Its mail server repeats the tokens too.
        office.authorize()
        office.agent.start()
        office.send(2)
        office.wait_sent()
        office.agent.spool.drop("other", "To: x@example.net\n\ntext\n")
        for answer in (echo, echo_html, "truncated", "odd_token", "drop"):
            office.provider.heal()
            office.provider.fail(answer, None)
            before = office.provider.count()
            for _ in range(20):
                office.clock.advance(600)
                office.wait_seen()
                if office.provider.count() > before:
                    break
            assert office.provider.count() > before, "no refresh"
        office.provider.heal()
        office.authorize()
        office.provider.revoke_access()
        office.server.refuse("334", -1)
        office.send(2)
        office.wait_breaker("open_credentials")
        witness.say("doctor", office.agent.verb("doctor", ACCOUNT))
        office.server.accept_again()
        office.provider.fail(aadsts(700082) if profile == "microsoft" else error("invalid_grant"))
        office.authorize()
        office.provider.heal()
        office.authorize()
        office.wait_sent()
        witness.say("doctor", office.agent.verb("doctor", ACCOUNT))
        witness.say("doctor basic", office.agent.verb("doctor", "basic"))
        witness.say("queue", office.agent.verb("queue", "--json"))
        witness.say("revoke", office.verb("revoke", "--yes"))
        office.wait_seen()
        told.update(office.provider.secrets)
        told.update({PASSWORD, office.provider.client_secret})
        told.update(login.token for login in office.server.logins)
        assert len(told) > 30
        witness.check(told)
        assert MAILBOX in witness.collect()["status"] or "office" in witness.collect()["status"]


def test_others_see_no_secret_of_the_process(program, tmp_path):
    """Nothing secret is in the agent's arguments or environment."""
    with Office(tmp_path, "microsoft") as office:
        office.store()
        office.agent.start().wait_ready()
        office.send()
        office.wait_sent()
        proc = pathlib.Path(f"/proc/{office.agent.pid}")
        said = (proc / "environ").read_bytes().decode() + (proc / "cmdline").read_bytes().decode()
        assert not [secret[:8] for secret in office.provider.secrets if secret in said]


@pytest.mark.parametrize("profile", ("google",))  # a longer token does not fit into a reply
def test_mail_server_that_repeats_the_token(program, tmp_path, profile):
    with Office(tmp_path, profile) as office:
        witness = Witness(office)
        office.store()
        office.server.refuse("535 5.7.3 not with {token} {initial}", -1)
        office.agent.start()
        office.send()
        office.wait_breaker("open_credentials")
        witness.say("doctor", office.agent.verb("doctor", ACCOUNT))
        witness.check({login.token for login in office.server.logins})
