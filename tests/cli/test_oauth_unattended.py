"""outtray oauth where no person signs in: client credentials at Microsoft, service accounts at Google."""

import json
import subprocess

import pytest

from support.answers import error
from support.jwt import jwt_claims


@pytest.mark.parametrize("command", ["get-token", "login"])
def test_client_credentials(microsoft, command):
    microsoft.provider.client_secret = "app-secret-of-the-test"
    secret = microsoft.config.secret("client.secret", "app-secret-of-the-test")
    microsoft.account(oauth={"flow": "client_credentials", "client_secret_file": str(secret), "tenant": "contoso.example"})
    done = microsoft.run(command, "office")
    assert done.returncode == 0, done.stderr
    assert "token stored for pbx@contoso.example" in done.stdout
    request = microsoft.provider.seen("token", "client_credentials")[0]
    assert request.form["scope"] == "https://outlook.office365.com/.default"
    assert request.form["client_secret"] == "app-secret-of-the-test"
    assert microsoft.status()["state"] == "ready"
    assert microsoft.status()["idle_days_left"] is None
    assert microsoft.run("get-code", "office").returncode == 64


def test_client_credentials_refused(microsoft):
    microsoft.provider.client_secret = "another"
    secret = microsoft.config.secret("client.secret", "app-secret-of-the-test")
    microsoft.account(oauth={"flow": "client_credentials", "client_secret_file": str(secret), "tenant": "contoso.example"})
    done = microsoft.run("get-token", "office")
    assert done.returncode == 77 and "AADSTS7000215" in done.stderr
    assert microsoft.stored() is None


def test_client_secret_that_others_can_read(microsoft):
    secret = microsoft.config.secret("client.secret", "app-secret-of-the-test")
    secret.chmod(0o644)
    microsoft.account(oauth={"client_secret_file": str(secret)})
    done = microsoft.run("get-token", "office", microsoft.provider.consent(microsoft.get_code()))
    assert done.returncode == 77 and "0600" in done.stderr and str(secret) in done.stderr
    assert microsoft.provider.requests == []


@pytest.fixture(scope="session")
def rsa_key():
    return subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], check=True,
                          capture_output=True, text=True).stdout


def test_service_account(google, rsa_key):
    key = google.config.secret("service.json", json.dumps(
        {"type": "service_account", "client_email": "robot@project.iam.example", "private_key": rsa_key, "private_key_id": "k1"}))
    google.account(oauth={"flow": "service_account", "key_file": str(key)})
    done = google.run("get-token", "office")
    assert done.returncode == 0, done.stderr
    claims = jwt_claims(google.provider.seen("token", "jwt-bearer")[0].form["assertion"])
    assert claims["iss"] == "robot@project.iam.example"
    assert claims["sub"] == "pbx@contoso.example"
    assert claims["aud"] == google.provider.url + "/token"
    assert claims["scope"] == "https://mail.google.com/"
    assert claims["exp"] <= claims["iat"] + 3600


def test_service_account_without_delegation(google, rsa_key):
    key = google.config.secret("service.json", json.dumps(
        {"type": "service_account", "client_email": "robot@project.iam.example", "private_key": rsa_key}))
    google.account(oauth={"flow": "service_account", "key_file": str(key)})
    google.provider.answer("token", error("unauthorized_client", "Client is unauthorized", 401))
    assert google.run("get-token", "office").returncode in (77, 78)
    google.provider.answer("token", error("invalid_grant", "Invalid email or User ID"))
    done = google.run("get-token", "office")
    assert done.returncode == 77 and "delegation" in done.stderr
