"""What the agent makes of a provider's answers: the account waits for a person, an administrator or better times, or goes on."""

import json

import pytest

from office import FIX, Office
from support.answers import aadsts, error

HOUR = 3600


def test_refresh_by_verb_resumes(program, tmp_path):
    """A transient outage ends, and the operator does not want to wait."""
    with Office(tmp_path, "google") as office:
        office.store(age=4000)
        office.provider.fail("html_502", None)
        office.agent.start()
        office.send()
        office.wait_refreshes(1)
        office.provider.heal()
        assert office.verb("refresh").returncode == 0
        office.wait_sent()


REAUTHORIZE = [error("invalid_grant", "Token has been expired or revoked."),
               error("invalid_grant", "reauth related error (invalid_rapt)", error_subtype="invalid_rapt"),
               error("interaction_required"),
               *(aadsts(code) for code in (50173, 700082, 70043, 50076, 50078, 50079, 65001))]


@pytest.mark.parametrize("answer", REAUTHORIZE, ids=lambda answer: str(answer.json().get("error_codes", answer.json()["error"])))
def test_needs_reauthorization(program, tmp_path, answer):
    with Office(tmp_path, "microsoft" if "error_codes" in answer.json() else "google") as office:
        office.store(age=7200)
        before = office.token()
        office.provider.fail(answer, None)
        office.agent.start()
        names = office.send(2)
        status = office.wait_breaker("open_credentials")
        assert FIX in status["fix"], status
        assert answer.json()["error"] in status["reason"], f"the provider's words are missing: {status}"
        assert FIX in json.dumps(office.agent.wait_event("account_paused")[0])
        office.wait_new(names)
        assert office.token()["refresh_token"] == before["refresh_token"], "the stored token is gone"
        for _ in range(6):
            office.clock.advance(HOUR)
            office.wait_seen()
        assert office.provider.count() == 1, "asked again, though only a person can help"
        assert office.server.connections == 0
        assert "login" in office.verb("status").stdout
        office.provider.heal()
        assert office.authorize().returncode == 0
        office.wait_sent()
        office.wait_breaker("closed")


@pytest.mark.parametrize("code", (53003, 7000215, 7000222, 700016, 90002))
def test_needs_an_administrator(program, tmp_path, code):
    with Office(tmp_path, "microsoft") as office:
        office.store(age=7200)
        office.provider.fail(aadsts(code), None)
        office.agent.start()
        office.send(2)
        status = office.wait_breaker("open_credentials")
        assert f"AADSTS{code}" in status["reason"] and status["fix"] and FIX not in status["fix"], status
        assert office.provider.count() <= 2
        office.provider.heal()  # the administrator has done it; nobody tells the agent
        for _ in range(12):
            office.clock.advance(600)
            office.wait_seen()
        office.wait_sent()
        office.wait_breaker("closed")
        assert office.provider.count() <= 14


@pytest.mark.parametrize("fault", ("html_502", "html_200", "rate_429", "rate_429_html", "huge", "hang", "drop", "array", "no_access",
                                   "odd_token", "expires_zero", "truncated", "short", "temporarily_unavailable", "90006", "50033"))
def test_transient_trouble(program, tmp_path, fault):
    """Nothing usable is there and the provider is in trouble: the mail waits, the provider is left in peace, then all goes."""
    with Office(tmp_path, "microsoft") as office:
        office.store(age=7200)
        what = error(fault, status=503) if fault.startswith("temp") else aadsts(int(fault)) if fault.isdigit() else fault
        office.provider.fail(what, None)
        office.agent.start()
        names = office.send(3)
        office.wait_refreshes(1)
        for _ in range(10):
            office.clock.advance(60)
            office.wait_seen()
        requests = office.provider.count()
        assert requests <= 10, f"{requests} requests in ten minutes"
        if fault.startswith("rate_429"):
            assert requests <= 6, f"{requests} requests in ten minutes against Retry-After: 120"
        assert office.server.connections == 0, "it logged in without a token"
        assert office.breaker() != "open_credentials", office.account_status()
        if fault != "hang":  # then the request is still under way, and its mail may be in hand
            office.wait_new(names)
        office.provider.heal()
        office.provider.hung.set()
        for _ in range(40):
            if len(office.agent.spool.names("master", "sent")) == 3:
                break
            office.clock.advance(60)
            office.wait_seen()
        office.wait_sent()
        assert {login.problem for login in office.server.logins} == {""}
        assert not office.agent.events("deferred") and not office.agent.events("failed")


@pytest.mark.parametrize("fault", ("expires_string", "expires_missing", "no_refresh", "no_id_token"))
def test_harmless_answers(office, fault):
    office.store(age=7200)
    refresh = office.token()["refresh_token"]
    office.provider.fail(fault, None)
    office.agent.start()
    office.send(3)
    office.wait_sent()
    token = office.token()
    if fault == "no_refresh" or office.provider.profile == "google":
        assert token["refresh_token"] == refresh
    else:
        assert token["refresh_token"] != refresh
    assert 3000 < (token["expires_ns"] - token["obtained_ns"]) / 1e9 <= 3600
    office.clock.advance(3200)
    office.wait_refreshes(2)


def test_reduced_scope_on_refresh(office):
    """The user took the mail permission away: a token that cannot send is not taken."""
    office.store(age=7200)
    office.provider.fail("reduced_scope", None)
    office.agent.start()
    office.send()
    status = office.wait_breaker("open_credentials")
    assert "scope" in status["reason"] and status["fix"], status
    assert office.server.connections == 0
