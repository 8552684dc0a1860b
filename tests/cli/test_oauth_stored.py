"""outtray oauth status, refresh and revoke: looking after what is stored, and whose the files are."""

import fcntl
import json
import os
import re
import shutil
import struct
import tempfile

import pytest

from support.agent import Config, outtray
from support.answers import Answer, error
from support.desk import step_until
from support.provider import MAIL_SCOPE, Provider


# status


def test_status_before_anything(desk):
    status = desk.status(code=1)
    assert status["state"] == "none" and status["needs_person"] is True
    assert status["fix"] == "outtray oauth login office"
    done = desk.run("status")
    assert done.returncode == 1 and "outtray oauth login office" in done.stdout


def test_status_of_a_good_account(desk):
    desk.authorize()
    status = desk.status()
    assert status["state"] == "ready" and status["needs_person"] is False
    assert status["mailbox"] == "pbx@contoso.example"
    assert MAIL_SCOPE[desk.provider.profile] in status["scopes"]
    assert 3500 < status["expires_s"] <= 3600
    assert status["idle_days_left"] == (180 if desk.provider.profile == "google" else 90)
    for key in ("valid_until", "last_refresh", "authorized"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", status[key])
    done = desk.run("status", "office")
    assert done.returncode == 0 and status["valid_until"] in done.stdout and "pbx@contoso.example" in done.stdout


def test_status_counts_idle_days(desk):
    desk.authorize()
    desk.clock.advance(60 * 86400)
    status = desk.status()
    assert status["state"] == "expired"  # of the access token; the agent would have refreshed it
    assert status["idle_days_left"] == (120 if desk.provider.profile == "google" else 30)
    desk.clock.advance(130 * 86400)
    status = desk.status(code=1)
    assert status["idle_days_left"] == 0 and status["fix"] == "outtray oauth login office"


def test_status_after_the_configuration_changed(desk):
    desk.authorize()
    desk.config.data["accounts"]["office"]["email"] = "other@contoso.example"
    desk.config.write()
    status = desk.status(code=1)
    assert "pbx@contoso.example" in status["words"] and "other@contoso.example" in status["words"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "x" * 200000], ids=["empty", "torn", "list", "bare", "huge"])
def test_status_of_a_broken_file(desk, text):
    desk.authorize()
    (desk.tokens / "office.json").write_text(text)
    status = desk.status(code=1)
    assert status["state"] == "unreadable" and status["needs_person"]


def test_status_of_a_file_that_others_can_read(desk):
    desk.authorize()
    (desk.tokens / "office.json").chmod(0o644)
    assert desk.status(code=1)["state"] == "unreadable"


def test_status_tells_of_the_certificate(microsoft, authority):
    soon, _ = authority.issue("app-soon", end="20200202000000Z")
    key = microsoft.config.secret("app.key", "key")
    microsoft.account(oauth={"flow": "client_credentials", "certificate_file": str(soon), "key_file": str(key),
                             "tenant": "contoso.example"})
    status = microsoft.status(code=1)
    assert status["certificate_expires"] == "2020-02-02T00:00:00Z" and "expired" in status["words"]
    good, _ = authority.issue("app-good")
    microsoft.account(oauth={"flow": "client_credentials", "certificate_file": str(good), "key_file": str(key),
                             "tenant": "contoso.example"})
    assert microsoft.status()["certificate_expires"] > "2026"


# refresh


def test_refresh(desk):
    desk.authorize()
    before = desk.stored()
    done = desk.run("refresh", "office")
    assert done.returncode == 0 and "valid until" in done.stdout
    after = desk.stored()
    assert after["access_token"] != before["access_token"]
    assert (after["refresh_token"] == before["refresh_token"]) == (desk.provider.profile == "google")
    assert after["refresh_token"] in desk.provider.refresh
    assert after["authorized_ns"] == before["authorized_ns"]
    assert after["mailbox"] == "pbx@contoso.example"


def test_refresh_of_nothing(desk):
    done = desk.run("refresh", "office")
    assert done.returncode == 77 and "login office" in done.stderr
    assert desk.provider.requests == []


def test_refresh_refused_for_good(desk):
    desk.authorize()
    before = desk.stored()
    desk.provider.answer("token", error("invalid_grant", "Token has been expired or revoked.", error_subtype="invalid_rapt"))
    done = desk.run("refresh", "office")
    assert done.returncode == 77
    for words in ("invalid_grant", "invalid_rapt", "Token has been expired or revoked.", "outtray oauth login office"):
        assert words in done.stderr
    assert desk.stored()["refresh_token"] == before["refresh_token"]  # kept
    status = desk.status(code=1)
    assert status["state"] == "needs_authorization" and "invalid_grant" in status["words"]
    assert status["fix"] == "outtray oauth login office"
    desk.authorize()  # and that is what helps
    assert desk.status()["state"] == "ready"


def test_refresh_in_bad_times(desk):
    desk.authorize()
    before = desk.stored()
    desk.provider.answer("token", Answer(502, "<html>bad gateway</html>", {"Content-Type": "text/html"}))
    assert desk.run("refresh", "office").returncode == 75
    assert desk.stored() == before and desk.status()["state"] == "ready"


def test_the_provider_repeats_the_secret(desk):
    desk.authorize()
    secret = desk.stored()["refresh_token"]
    desk.provider.answer("token", error("invalid_grant", f"the token {secret} is unknown"))
    assert desk.run("refresh", "office").returncode == 77  # run() looks for secrets
    desk.status(code=1)
    assert secret not in json.dumps(desk.stored()["needs"])


def test_the_lock_is_waited_for(desk):
    desk.authorize()
    with open(desk.tokens / "office.lock", "r+b") as held:
        fcntl.fcntl(held, 37, struct.pack("hhlli4x", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK, as the agent
        before = len(desk.provider.requests)
        process = desk.start("refresh", "office")
        step_until(desk, lambda: process.poll() is not None)
        code, said = desk.end(process)
        assert code == 75 and "another process" in said
        assert len(desk.provider.requests) == before
    assert desk.run("refresh", "office").returncode == 0


# revoke


def test_revoke_asks_first(desk):
    desk.authorize()
    for text in ("", "n\n", "\n", "yesterday\n"):
        done = desk.run("revoke", "office", input=text)
        assert done.returncode == 64 and "office" in done.stderr
    assert desk.stored() and desk.provider.revoked == []
    assert desk.run("revoke", "office", input="yes\n").returncode == 0
    assert desk.stored() is None


def test_revoke_at_google(google):
    google.authorize()
    token = google.stored()["refresh_token"]
    done = google.run("revoke", "office", "--yes")
    assert done.returncode == 0 and "whole grant" in done.stderr
    assert google.provider.revoked == [token]
    assert google.stored() is None
    assert google.status(code=1)["state"] == "none"
    assert google.run("revoke", "office", "--yes").returncode == 66


def test_revoke_where_there_is_no_way(microsoft):
    microsoft.authorize()
    done = microsoft.run("revoke", "office", "--yes")
    assert done.returncode == 0 and "no way to revoke" in done.stderr
    assert microsoft.stored() is None and microsoft.provider.revoked == []


def test_revoke_of_what_is_revoked(google):
    google.authorize()
    google.provider.refresh.clear()
    assert google.run("revoke", "office", "--yes").returncode == 0
    assert google.stored() is None


def test_revoke_in_bad_times(google):
    google.authorize()
    google.provider.answer("revoke", Answer(503, "<html>"))
    assert google.run("revoke", "office", "--yes").returncode == 75
    assert google.stored()
    google.provider.stop()
    assert google.run("revoke", "office", "--yes").returncode == 69
    assert google.stored()


def test_no_other_provider_learns_the_token(google):
    """With a token_url of its own and no revoke_url, Google's must not be asked."""
    google.account()
    del google.config.data["accounts"]["office"]["oauth"]["revoke_url"]
    google.config.write()
    google.authorize()
    done = google.run("revoke", "office", "--yes")
    assert done.returncode == 0 and "no way to revoke" in done.stderr


# Users


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_leaves_files_of_the_service_user(program, clock):
    """What root's verbs make belongs to the owner of the state directory, and nothing is read that he could not."""
    directory = tempfile.mkdtemp(prefix="outtray-oauth.")
    try:
        os.chmod(directory, 0o755)
        config = Config(directory)
        with Provider("microsoft", client_secret="app-secret-of-the-test") as provider:
            secret = config.secret("client.secret", "app-secret-of-the-test")
            config.account("office", **provider.account(oauth={"client_secret_file": str(secret)}))
            config.tenant("acme", account="office")
            config.write()
            outtray("init", "--user", "nobody", config=config, check=True)
            owner = config.state.stat()
            assert owner.st_uid != 0
            env = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "ASAN_OPTIONS": "detect_leaks=0"}  # no ptrace for nobody

            def run(*arguments):
                return outtray("oauth", *arguments, config=config, env=env)

            back = provider.consent(run("get-code", "office").stdout.strip())
            done = run("get-token", "office", back)
            assert done.returncode == 77 and str(secret) in done.stderr  # root's own, so the agent could not either
            assert provider.requests == []
            shutil.chown(secret, owner.st_uid)
            done = run("get-token", "office", back)
            assert done.returncode == 0, done.stderr
            assert run("refresh", "office").returncode == 0
            run("get-code", "office")
            entries = [config.state / "tokens", *(config.state / "tokens").iterdir()]
            assert {entry.name for entry in entries} >= {"tokens", "office.json", "office.lock", "office.pending"}
            for entry in entries:
                assert entry.lstat().st_uid == owner.st_uid, entry
    finally:
        shutil.rmtree(directory)
