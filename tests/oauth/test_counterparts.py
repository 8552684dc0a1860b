"""Every flow against npm's oidc-provider, and the mail through npm's smtp-server, which asks that provider for each token."""

import base64
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from counterparts import MAILBOX, PUBLIC, Counterpart
from support.agent import binary, environment, outtray, sanitizer_report
from support.wait import wait_until

pytestmark = pytest.mark.xdist_group("oidc")


@pytest.fixture(scope="module")
def counterpart(tmp_path_factory, authority):
    """With the clients of every flow."""
    home = tmp_path_factory.mktemp("counterpart")
    certificate, key = home / "client.pem", home / "client.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=outtray", "-keyout", str(key),
                    "-out", str(certificate)], check=True, capture_output=True)
    key.chmod(0o600)
    modulus = subprocess.run(["openssl", "rsa", "-in", str(key), "-noout", "-modulus"], check=True, capture_output=True, text=True).stdout
    number = bytes.fromhex(modulus.strip().partition("=")[2])
    jwk = {"kty": "RSA", "use": "sig", "alg": "PS256", "e": "AQAB", "n": base64.urlsafe_b64encode(number).rstrip(b"=").decode()}
    app = {"grant_types": ["client_credentials"], "response_types": [], "redirect_uris": [], "scope": "mail"}
    clients = [PUBLIC,
               {**app, "client_id": "app-secret", "client_secret": "s3cret/with+odd&signs=" * 2,
                "token_endpoint_auth_method": "client_secret_post"},
               {**app, "client_id": "app-key", "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "PS256",
                "jwks": {"keys": [jwk]}}]
    with Counterpart(home / "server", authority, clients) as counterpart:
        counterpart.certificate, counterpart.key = certificate, key
        yield counterpart


def configure(config, counterpart, **account):
    config.account("office", **counterpart.account(**account))
    config.tenant("master", account="office", from_=f"PBX <{MAILBOX}>")
    return config


def deliver(agent, counterpart, count=20):
    before = len(counterpart.received())
    names = [agent.spool.drop("master", f"To: a{n}@interop.example\nSubject: {n}\n\ntext\n") for n in range(count)]
    wait_until(lambda: set(names) <= set(agent.spool.names("master", "sent")), 30,
               lambda: f"{count} in sent/: {agent.spool.counts('master')}\n{agent.log_text()[-4000:]}")
    received = counterpart.received()[before:]
    assert len(received) == count and all(mail["tls"] and mail["user"] == MAILBOX == mail["from"] for mail in received)


def verb(config, *arguments, **options):
    return outtray("oauth", *arguments, config=config, **options)


@pytest.mark.parametrize("auth", ("google", "microsoft"))
@pytest.mark.parametrize("paste", ("url", "code", "stdin"))
def test_code_by_paste(program, config, counterpart, auth, paste):
    configure(config, counterpart, auth=auth).write()
    url = verb(config, "get-code", "office", check=True).stdout.strip()
    address = counterpart.consent(url)
    assert re.match(r"http://(127\.0\.0\.1|localhost):\d+/\?code=", address)
    code = re.search(r"code=([^&]+)", address)[1]
    given = {"url": [address], "code": [code], "stdin": ["-"]}[paste]
    done = verb(config, "get-token", "office", *given, input=address + "\n" if paste == "stdin" else None)
    assert done.returncode == 0 and MAILBOX in done.stdout, done
    again = verb(config, "get-token", "office", *given, input=address + "\n" if paste == "stdin" else None)
    assert again.returncode != 0, "a code was taken twice"
    status = json.loads(verb(config, "status", "office", "--json", check=True).stdout)["accounts"][0]
    assert status["mailbox"] == MAILBOX and status["state"] == "ready"


def test_another_user_is_refused(program, config, counterpart):
    configure(config, counterpart).write()
    url = verb(config, "get-code", "office", check=True).stdout.strip()
    done = verb(config, "get-token", "office", counterpart.consent(url, user="boss@contoso.example"))
    assert done.returncode != 0 and "boss@contoso.example" in done.stderr and MAILBOX in done.stderr, done
    assert not (config.state / "tokens" / "office.json").exists(), "the wrong user's token was stored"


def login(config, clock, *arguments):
    """`oauth login` as a running process."""
    return subprocess.Popen([binary(), "oauth", "--config", str(config.path), "login", "office", *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(clock), text=True)


def finish(process):
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert not sanitizer_report(err), err
    return process.returncode, out, err


def test_login_in_chromium(program, config, counterpart, clock, agent, tmp_path):
    """A real browser signs in, consents, and comes back to the listener; then mail goes out, a refresh, and mail again."""
    configure(config, counterpart).write()
    process = login(config, clock)
    try:
        url = process.stdout.readline().strip()
        address, text = counterpart.consent_in_chromium(url, tmp_path / "profile")
    except BaseException:
        process.kill()
        process.communicate()
        raise
    code, out, err = finish(process)
    assert code == 0 and MAILBOX in out, (code, out, err)
    assert address.startswith("http://localhost:") and "outtray" in text.lower(), f"the page that the person sees: {text!r}"
    with agent:
        deliver(agent, counterpart)
        assert counterpart.events("login", right=False) == []


def test_login_by_loopback_and_refresh(program, config, counterpart, clock, agent):
    configure(config, counterpart, auth="google").write()
    process = login(config, clock)
    address = counterpart.consent(process.stdout.readline().strip())
    import urllib.request
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=20) as page:
        assert page.status == 200
    code, out, err = finish(process)
    assert code == 0, (code, out, err)
    with agent:
        deliver(agent, counterpart)
        refreshes = len(counterpart.events("grant.success", grant="refresh_token"))
        clock.advance(3300)  # by the agent's clock it is time; each refresh replaces the refresh token
        wait_until(lambda: len(counterpart.events("grant.success", grant="refresh_token")) == refreshes + 1, 20, "a refresh")
        deliver(agent, counterpart)
        clock.advance(3300)
        wait_until(lambda: len(counterpart.events("grant.success", grant="refresh_token")) == refreshes + 2, 20, "another refresh")
        deliver(agent, counterpart)
    assert verb(config, "refresh", "office").returncode == 0
    assert counterpart.events("grant.revoked") == [], "a used refresh token was used again"


def test_stolen_refresh_token(program, config, counterpart, agent):
    """oidc-provider ends a grant whose old refresh token comes back: that opens the breaker, and a new login closes it."""
    configure(config, counterpart).write()
    url = verb(config, "get-code", "office", check=True).stdout.strip()
    verb(config, "get-token", "office", counterpart.consent(url), check=True)
    path = config.state / "tokens" / "office.json"
    old = path.read_text()
    verb(config, "refresh", "office", check=True)
    path.write_text(old)  # somebody restored a backup
    with agent:
        agent.wait_ready()
        agent.clock.advance(3300)
        name = agent.spool.drop("master", "To: a@interop.example\n\ntext\n")
        agent.wait_event("account_paused", seconds=20)
        assert "outtray oauth login office" in json.dumps(agent.events("account_paused"))
        agent.spool.wait("master", name, "new")
        assert counterpart.events("grant.revoked")
        url = verb(config, "get-code", "office", check=True, clock=agent.clock).stdout.strip()
        verb(config, "get-token", "office", counterpart.consent(url), check=True, clock=agent.clock)
        agent.spool.wait("master", name, "sent", 20)
    counterpart.events_file.write_text("")


def test_device_flow(program, config, counterpart, clock, agent):
    configure(config, counterpart, oauth={"flow": "device_code"}).write()
    process = login(config, clock)
    shown = process.stdout.readline()
    uri, user_code = re.search(r"(http://\S+?),? .*?\b([A-Z]{4}-[A-Z]{4})\b", shown).groups()
    counterpart.approve(uri, user_code)
    clock.advance(6)  # the interval of RFC 8628
    code, out, err = finish(process)
    assert code == 0 and MAILBOX in out, (code, out, err)
    with agent:
        deliver(agent, counterpart)


@pytest.mark.parametrize("proof", ("secret", "certificate"))
def test_client_credentials(program, config, counterpart, agent, proof, tmp_path):
    oauth = {"flow": "client_credentials", "scope": "mail", "client_id": "app-secret"}
    if proof == "secret":
        oauth["client_secret_file"] = str(config.secret("client.secret", "s3cret/with+odd&signs=" * 2))
    else:
        key = tmp_path / "app.key"
        shutil.copy(counterpart.key, key)
        key.chmod(0o600)
        oauth.update(client_id="app-key", certificate_file=str(counterpart.certificate), key_file=str(key))
    configure(config, counterpart, oauth=oauth).write()
    with agent:  # needs nobody: not even a verb
        deliver(agent, counterpart)
    assert pathlib.Path(config.state, "tokens", "office.json").exists()
    assert counterpart.events("grant.success", grant="client_credentials", client=oauth["client_id"])


def test_revoke(program, config, counterpart):
    configure(config, counterpart, auth="google").write()
    url = verb(config, "get-code", "office", check=True).stdout.strip()
    verb(config, "get-token", "office", counterpart.consent(url), check=True)
    stored = (config.state / "tokens" / "office.json").read_text()
    assert verb(config, "revoke", "office", input="no\n").returncode != 0
    assert verb(config, "revoke", "office", "--yes").returncode == 0
    assert not (config.state / "tokens" / "office.json").exists()
    path = config.state / "tokens" / "office.json"
    path.touch(mode=0o600)
    path.write_text(stored)
    done = verb(config, "refresh", "office")
    assert done.returncode == 77 and "invalid_grant" in done.stderr, done
    counterpart.events_file.write_text("")
