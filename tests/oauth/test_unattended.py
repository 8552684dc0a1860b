"""Flows that need no person: client credentials by secret and by certificate (Microsoft), service accounts (Google). The
provider checks each signature with openssl."""

import json
import subprocess

import pytest

from office import ACCOUNT, MAILBOX, Office

APP_SCOPE = "https://outlook.office365.com/.default"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(certificate, key) of a client."""
    home = tmp_path_factory.mktemp("pair")
    certificate, key = home / "client.pem", home / "client.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=outtray", "-keyout", str(key),
                    "-out", str(certificate)], check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


def microsoft(tmp_path, pair, **more):
    certificate, key = pair
    return Office(tmp_path, "microsoft", certificate=certificate,
                  oauth={"flow": "client_credentials", "certificate_file": str(certificate), "key_file": str(key)}, **more)


def google(tmp_path, pair, **more):
    office = Office(tmp_path, "google", service_key=pair[1], **more)
    account = {"type": "service_account", "client_email": "outtray@project.iam.gserviceaccount.example", "private_key_id": "k1",
               "private_key": pair[1].read_text(), "token_uri": "https://oauth2.googleapis.com/token"}
    office.oauth = {"flow": "service_account",
                    "key_file": str(office.config.secret("service.json", json.dumps(account)))}
    return office


MAKERS = {"microsoft": microsoft, "google": google}


@pytest.fixture(params=MAKERS)
def office(request, program, tmp_path, pair):
    office = MAKERS[request.param](tmp_path, pair, expires_in=600)
    with office:
        yield office


def grant(office):
    return "client_credentials" if office.provider.profile == "microsoft" else "jwt-bearer"


def test_mail_without_anybody(office):
    office.agent.start()
    office.send(5)
    office.wait_sent()
    assert office.provider.count() == office.provider.count(grant(office)) == 1
    assert [login.user for login in office.server.logins] == [MAILBOX] * len(office.server.logins)
    asked = office.provider.seen("token")[0].form
    if office.provider.profile == "microsoft":
        assert asked["scope"] == APP_SCOPE and "client_secret" not in asked
    assert "refresh_token" not in office.token()


def test_the_next_token_and_the_one_after(office):
    office.agent.start().wait_ready()
    for number in range(1, 6):
        office.agent.wait_event("token_refreshed", count=number)
        office.send()
        office.wait_sent()
        office.clock.advance(550)
        office.wait_seen()
    seen = office.provider.seen("token", grant(office))
    assertions = [request.form.get("client_assertion") or request.form["assertion"] for request in seen]
    assert len(set(assertions)) == len(assertions) >= 5, "an assertion was used twice"
    assert all(not login.problem for login in office.server.logins)


def test_wrong_key(program, tmp_path, pair, tmp_path_factory):
    """The provider knows another certificate: the account waits for somebody, and goes on when it is put right."""
    other = tmp_path_factory.mktemp("other")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=other", "-keyout",
                    str(other / "key"), "-out", str(other / "pem")], check=True, capture_output=True)
    with microsoft(tmp_path, pair) as office:
        right, office.provider.certificate = office.provider.certificate, other / "pem"
        office.agent.start()
        names = office.send(2)
        status = office.wait_breaker("open_credentials")
        assert "AADSTS700027" in status["reason"] and status["fix"], status
        office.wait_new(names)
        office.provider.certificate = right
        for _ in range(24):  # each step shorter than an assertion lives
            office.clock.advance(300)
            office.wait_seen()
        office.wait_sent()


def test_forced_refresh(office):
    office.agent.start()
    office.send()
    office.wait_sent()
    office.agent.stop()
    office.provider.revoke_access()
    office.agent.start()
    office.send()
    office.wait_sent()
    assert office.provider.count() == 2


def test_verb(office):
    done = office.verb("get-token")
    assert done.returncode == 0 and MAILBOX in done.stdout, done
    assert office.token()["mailbox"] == MAILBOX
    assert json.loads(office.verb("status", "--json").stdout)["accounts"][0]["account"] == ACCOUNT
