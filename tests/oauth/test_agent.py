"""The agent keeps an OAuth account alive: refreshing, refusals of the mail server, tokens that verbs bring or that are no good."""

import json

import pytest

from office import ACCOUNT, FIX, MAILBOX, PROFILES, Office
from support.wait import wait_until

import xoauth2

DAY = 86400


@pytest.mark.parametrize("profile", PROFILES)
def test_mail_over_starttls(program, tmp_path, authority, profile):
    with Office(tmp_path, profile, tls=authority) as office:
        done = office.authorize()
        assert done.returncode == 0 and MAILBOX in done.stdout, done
        office.agent.start()
        office.send(20)
        office.wait_sent()
        assert [login.user for login in office.server.logins] == [MAILBOX] * office.server.connections
        assert office.provider.count("refresh_token") == 0, "a fresh token was refreshed"
        assert {line["tls"] for line in office.agent.events("sent")} == {"TLSv1.3"}
        office.clock.advance(60)
        wait_until(lambda: 0 < (office.account_status().get("token_expires_s") or 0) <= 3540, 15, "token_expires_s")
        assert office.agent.metrics()[f'outtray_token_expiry_seconds{{account="{ACCOUNT}"}}'] <= 3540


def test_long_tokens(program, tmp_path):
    with Office(tmp_path, "microsoft") as office:
        office.provider.access_size = 8000
        assert office.authorize().returncode == 0
        office.agent.start()
        office.send(3)
        office.wait_sent()
        assert len(office.server.logins[0].token) == 8000


def test_refreshes_ten_minutes_before_the_end(office):
    office.store()
    office.agent.start().wait_ready()
    office.clock.advance(2200)
    office.wait_seen()
    assert office.provider.count() == 0, "refreshed long before it was due"
    office.clock.advance(1000)
    office.wait_refreshes(1)
    office.send()
    office.wait_sent()
    assert office.provider.count() == 1 and office.server.logins[-1].problem == ""


def test_current_token_serves_while_the_provider_fails(office):
    office.store()
    office.provider.fail("html_502", None)
    office.agent.start().wait_ready()
    office.clock.advance(3100)
    office.wait_refreshes(1)
    office.send(3)
    office.wait_sent()
    assert office.breaker() == "closed"
    requests = office.provider.count()
    assert requests <= 12, f"{requests} requests to a provider in trouble"
    office.clock.advance(700)
    office.wait_seen()
    office.send(2)
    wait_until(lambda: office.provider.count() > requests, 15, "another try")
    office.provider.heal()
    for _ in range(20):
        office.clock.advance(60)
        office.wait_seen()
        if len(office.agent.spool.names("master", "sent")) == 5:
            break
    office.wait_sent(5)
    assert [login.problem for login in office.server.logins if login.problem] == []


@pytest.mark.parametrize("reply", (xoauth2.REFUSED, "334", "535 5.7.8 Username and Password not accepted"))
def test_one_forced_refresh(office, reply):
    """The provider ended the access token early: the mail server says no, one refresh, and on it goes."""
    office.store()
    office.agent.start().wait_ready()
    office.provider.revoke_access()
    if reply != xoauth2.REFUSED:
        office.server.refuse(reply)
    office.send(10)
    office.wait_sent()
    assert office.provider.count("refresh_token") == office.provider.count() == 1
    assert [login.reply[:3] for login in office.server.logins][-1] == "235"
    assert sum(login.reply[:3] != "235" for login in office.server.logins) <= 2  # connections that had begun already
    assert not office.agent.events("account_paused") and not office.agent.events("deferred")


@pytest.mark.parametrize("reply", (xoauth2.REFUSED, "334"))
def test_refused_again_opens_the_breaker(office, reply):
    office.store()
    office.server.refuse(reply, -1)
    office.agent.start()
    names = office.send(5)
    status = office.wait_breaker("open_credentials")
    assert FIX in status["fix"], status
    assert office.provider.count("refresh_token") == 1
    paused = office.agent.wait_event("account_paused")
    assert len(paused) == 1 and paused[0]["account"] == ACCOUNT and FIX in json.dumps(paused[0]), paused
    assert "535" in json.dumps(paused[0]) or "334" in json.dumps(paused[0]), f"the server's words are missing: {paused[0]}"
    office.wait_new(names)
    assert not office.agent.events("deferred") and office.server.messages == []
    logins = len(office.server.logins)
    assert logins <= 4  # two connections may have begun, each once per token
    office.clock.advance(1800)  # it is no use to knock again
    office.wait_seen()
    assert len(office.server.logins) == logins
    # A token that a verb stores closes it at once.
    office.server.accept_again()
    assert office.authorize().returncode == 0
    office.wait_sent()
    assert office.breaker() == "closed" or office.wait_breaker("closed")
    assert office.agent.wait_event("account_resumed")


def test_no_token_yet(office):
    office.agent.start()
    names = office.send(2)
    status = office.wait_breaker("open_credentials")
    assert FIX in status["fix"], status
    office.wait_new(names)
    assert office.server.connections == 0 and office.provider.count() == 0
    assert office.authorize().returncode == 0
    office.wait_sent()
    office.wait_breaker("closed")


def test_another_users_token_is_not_sent(program, tmp_path):
    """The stored token is for another mailbox: somebody changed `email`."""
    with Office(tmp_path, "google") as office:
        office.store(mailbox="somebody.else@contoso.example")
        office.agent.start()
        office.send()
        status = office.wait_breaker("open_credentials")
        assert FIX in status["fix"], status
        assert office.server.connections == 0


@pytest.mark.parametrize("skew", (-1800, 1800))
def test_clock_skew(office, skew):
    """The provider's clock goes wrong; expires_in counts from when it was asked for."""
    office.provider.skew = skew
    office.store(age=7200)
    office.agent.start()
    office.send()
    office.wait_sent()
    assert office.provider.count() == 1
    office.clock.advance(2000)
    office.wait_seen()
    assert office.provider.count() == 1
    office.clock.advance(1300)
    office.wait_refreshes(2)


@pytest.mark.parametrize("step", (-30 * DAY, 30 * DAY))
def test_wall_clock_steps(office, step):
    """The machine's clock is set while the agent runs: no storm of refreshes, and mail goes on."""
    office.config.set(retention={"sent": "never", "failed": "never", "tmp": "never"}).write()  # a month on, sent/ is old
    office.store()
    office.agent.start()
    office.send()
    office.wait_sent()
    fresh = office.clock.path.with_name("clock.step")
    fresh.write_text(f"0 {step}\n")
    fresh.rename(office.clock.path)
    office.send()
    wait_until(lambda: len(office.agent.spool.names("master", "sent")) == 2, 15,
               lambda: f"the second message: {office.account_status()} {office.agent.log_text()[-3000:]}")
    assert office.provider.count() <= 2
    assert office.breaker() == "closed"


@pytest.mark.parametrize("rotation", ("none", "replace", "strict"))
def test_rotation_is_durable_before_use(program, tmp_path, rotation):
    """Whenever the mail server sees an access token, it and its refresh token lie on the disk; across kill -9 too."""
    with Office(tmp_path, "microsoft", rotation=rotation, expires_in=600) as office:
        office.store()
        wrong = []

        def look(login):
            stored = office.token()
            newest = list(office.provider.refresh)[-1]
            if stored["access_token"] != login.token or stored["refresh_token"] != newest:
                wrong.append(login)
        office.server.on_login = look
        for kill in (False, True, False, True, True):
            office.agent.start().wait_ready()
            for _ in range(3):
                before, used = office.provider.count(), len(office.agent.events("token_refreshed"))
                office.clock.advance(550)
                office.wait_refreshes(before + 1)
                wait_until(lambda: office.token()["refresh_token"] == list(office.provider.refresh)[-1], 10, "the new token stored")
                office.agent.wait_event("token_refreshed", count=used + 1)  # stored first, then used
                office.wait_seen()
                office.send()
                office.wait_sent()
            if kill:
                office.agent.kill()
            else:
                assert office.agent.stop() == 0
        assert not wrong and all(not login.problem for login in office.server.logins)
        assert office.provider.count() == office.provider.count("refresh_token") >= 15
        assert all(token["grant"].alive for token in office.provider.refresh.values())


def test_idle_account_lives_on(office):
    """Nobody sends anything for 100 days: no refresh token lies unused long enough to die."""
    office.store()
    office.agent.start().wait_ready()
    for day in range(100):
        before = office.provider.count()
        office.clock.advance(DAY)
        office.wait_refreshes(before + 1)
        office.wait_seen()
    assert office.provider.count() <= 300
    office.send()
    office.wait_sent()
    assert office.breaker() == "closed"


def test_tokens_that_live_for_months_are_refreshed_too(program, tmp_path):
    with Office(tmp_path, "microsoft", expires_in=200 * DAY) as office:
        office.store()
        office.agent.start().wait_ready()
        for number in range(1, 5):
            office.clock.advance(10 * DAY)
            office.agent.wait_event("token_refreshed", count=number)


def test_shared_mailbox(program, tmp_path):
    """oauth.login signs in, `email` is the mailbox that XOAUTH2 names."""
    with Office(tmp_path, "microsoft", oauth={"login": "delegate@contoso.example"}) as office:
        office.provider.user = "delegate@contoso.example"
        office.provider.delegates = {MAILBOX: ("delegate@contoso.example",)}
        assert office.authorize().returncode == 0
        office.agent.start()
        office.send()
        office.wait_sent()
        assert [login.user for login in office.server.logins] == [MAILBOX]


def test_smtp_auth_switched_off_needs_no_refresh(program, tmp_path):
    """535 5.7.139: a new token would not help, and the setting is named."""
    with Office(tmp_path, "microsoft") as office:
        office.store()
        office.server.refuse("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit "
                             "https://aka.ms/smtp_auth_disabled for more information.", -1)
        office.agent.start()
        office.send()
        status = office.wait_breaker("open_credentials")
        assert "5.7.139" in status["reason"] and FIX not in status["fix"] and status["fix"], status
        assert office.provider.count() == 0


def test_token_near_its_end_is_refreshed(program, tmp_path):
    """501 5.5.127 of Microsoft: the token is too near its expiry."""
    with Office(tmp_path, "microsoft") as office:
        office.store()
        office.server.refuse("501 5.5.127 The access token is about to expire")
        office.agent.start()
        office.send()
        office.wait_sent()
        assert office.provider.count("refresh_token") == 1


@pytest.mark.parametrize("spoil", ("garbage", "empty", "open", "symlink", "directory"))
def test_spoilt_token_file(program, tmp_path, spoil):
    """What cannot be a token needs a person, and nothing of it is logged; a good one is taken at once."""
    with Office(tmp_path, "google") as office:
        path = office.store()
        text = path.read_text()
        if spoil == "garbage":
            path.write_text(text[:-20])
        elif spoil == "empty":
            path.write_text("")
        elif spoil == "open":
            path.chmod(0o644)
        else:
            path.unlink()
            if spoil == "directory":
                path.mkdir()
            else:
                (tmp_path / "elsewhere").write_text(text)
                (tmp_path / "elsewhere").chmod(0o600)
                path.symlink_to(tmp_path / "elsewhere")
        office.agent.start()
        office.send()
        status = office.wait_breaker("open_credentials")
        assert status["fix"], status
        assert office.server.connections == 0
        if spoil == "directory":
            path.rmdir()
        office.store()
        office.wait_sent()


def test_two_accounts_do_not_mind_each_other(program, tmp_path):
    """One account needs a person; the other, at the same provider, goes on."""
    with Office(tmp_path, "microsoft") as office:
        office.config.account("other", **office.provider.account("other@contoso.example", port=office.server.port, **office.keys))
        office.config.tenant("acme", account="other", from_="other@contoso.example")
        office.config.write()
        office.agent.verb("init", check=True)
        office.store()
        office.agent.start()
        stuck = office.agent.spool.drop("acme", "To: b@example.net\n\ntext\n")
        office.send(5)
        office.wait_sent()
        wait_until(lambda: (office.agent.status() or {}).get("accounts", {}).get("other", {}).get("breaker") == "open_credentials", 15,
                   "the other's breaker")
        assert office.agent.spool.where("acme", stuck) == ["new"] and office.breaker() == "closed"
