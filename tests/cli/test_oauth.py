"""outtray oauth get-code and get-token: authorizing an account, against a scripted provider; and wrong usage."""

import json
import re
import shutil
import stat
import urllib.parse

import pytest

from support.answers import Answer, error
from support.desk import PENDING_S
from support.provider import MAIL_SCOPE


# get-code


def test_get_code_prints_the_consent_page(desk):
    url = desk.get_code()
    assert url.startswith(desk.provider.url + "/authorize?") and "\n" not in url
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert asked["response_type"] == "code"
    assert asked["client_id"] == "client-1"
    assert asked["login_hint"] == "pbx@contoso.example"
    assert MAIL_SCOPE[desk.provider.profile] in asked["scope"].split()
    assert {"openid", "email"} <= set(asked["scope"].split())
    redirect = urllib.parse.urlsplit(asked["redirect_uri"])
    assert redirect.scheme == "http" and redirect.port
    if desk.provider.profile == "google":
        assert redirect.hostname == "127.0.0.1"
        assert (asked["access_type"], asked["prompt"]) == ("offline", "consent")
    else:
        assert redirect.hostname == "localhost"
        assert "offline_access" in asked["scope"].split()
    assert desk.provider.requests == []


def test_each_code_request_is_another(desk):
    first, second = desk.get_code(), desk.get_code()
    for key in ("state", "code_challenge"):
        assert dict(urllib.parse.parse_qsl(first))[key] != dict(urllib.parse.parse_qsl(second))[key]


def test_what_waits_is_closed_to_others(desk):
    desk.get_code()
    assert stat.S_IMODE(desk.tokens.stat().st_mode) == 0o700
    pending = desk.tokens / "office.pending"
    assert stat.S_IMODE(pending.stat().st_mode) == 0o600


def test_advice_where_there_is_no_display(desk):
    done = desk.run("get-code", "office", "--port", "8405")
    assert "ssh " in done.stderr and "-L 8405:127.0.0.1:8405" in done.stderr
    assert "--port 8405" in done.stderr
    done = desk.run("get-code", "office", env={"DISPLAY": ":0"})
    assert "ssh" not in done.stderr
    done = desk.run("get-code", "office", env={"WAYLAND_DISPLAY": "wayland-0"})
    assert "ssh" not in done.stderr


# get-token


def check_stored(desk, done):
    assert done.returncode == 0, done.stderr
    assert re.search(r"token stored for pbx@contoso\.example, valid until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", done.stdout)
    assert stat.S_IMODE((desk.tokens / "office.json").stat().st_mode) == 0o600
    stored = desk.stored()
    assert desk.provider.check_access("pbx@contoso.example", stored["access_token"]) == ""
    assert stored["refresh_token"] in desk.provider.refresh
    assert not (desk.tokens / "office.pending").exists()


def test_get_token_by_the_whole_url(desk):
    back = desk.provider.consent(desk.get_code())
    check_stored(desk, desk.run("get-token", "office", back))


def test_get_token_by_the_bare_code(desk):
    back = desk.provider.consent(desk.get_code())
    code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
    check_stored(desk, desk.run("get-token", "office", code))


def test_a_code_may_begin_with_a_dash(desk):
    desk.get_code()
    done = desk.run("get-token", "office", "-Some-code-of-the-provider")
    assert "option" not in done.stderr and "invalid_grant" in done.stderr, done  # asked for it, and was refused


@pytest.mark.parametrize("argument", [["-"], []])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_get_token_from_standard_input(microsoft, argument, end):
    back = microsoft.provider.consent(microsoft.get_code())
    check_stored(microsoft, microsoft.run("get-token", "office", *argument, input=back + end))


def test_get_token_without_any_code(desk):
    desk.get_code()
    assert desk.run("get-token", "office", input="").returncode == 64
    assert desk.stored() is None


def test_minutes_later(desk):
    back = desk.provider.consent(desk.get_code())
    desk.clock.advance(PENDING_S - 30)
    check_stored(desk, desk.run("get-token", "office", back))


def test_too_late(desk):
    back = desk.provider.consent(desk.get_code())
    desk.clock.advance(PENDING_S + 5)
    done = desk.run("get-token", "office", back)
    assert done.returncode == 75
    assert "get-code office" in done.stderr
    assert desk.stored() is None and desk.provider.requests == []


def test_never_begun(desk):
    done = desk.run("get-token", "office", "code")
    assert done.returncode == 66
    assert "get-code office" in done.stderr


def test_a_newer_get_code_wins(desk):
    old = desk.provider.consent(desk.get_code())
    new = desk.provider.consent(desk.get_code())
    done = desk.run("get-token", "office", old)
    assert done.returncode == 77 and "state" in done.stderr
    assert desk.provider.requests == []  # it was not even tried
    check_stored(desk, desk.run("get-token", "office", new))


def test_forged_state(desk):
    desk.get_code()
    done = desk.run("get-token", "office", "http://127.0.0.1:1/?state=abc&code=stolen")
    assert done.returncode == 77 and "state" in done.stderr
    assert desk.provider.requests == [] and desk.stored() is None


def test_the_person_says_no(desk):
    back = desk.provider.consent(desk.get_code(), refuse="access_denied")
    done = desk.run("get-token", "office", back)
    assert done.returncode == 77 and "access_denied" in done.stderr
    assert desk.stored() is None


def test_a_code_works_once(desk):
    url = desk.get_code()
    back = desk.provider.consent(url)
    check_stored(desk, desk.run("get-token", "office", back))
    assert desk.run("get-token", "office", back).returncode == 66  # nothing waits any more


# Who signed in, and what was granted


def test_another_mailbox(desk):
    back = desk.provider.consent(desk.get_code(), user="ceo@contoso.example")
    done = desk.run("get-token", "office", back)
    assert done.returncode == 77
    assert "ceo@contoso.example" in done.stderr and "pbx@contoso.example" in done.stderr
    assert desk.stored() is None


def test_another_mailbox_leaves_the_stored_token(desk):
    desk.authorize()
    before = desk.stored()
    back = desk.provider.consent(desk.get_code(), user="ceo@contoso.example")
    assert desk.run("get-token", "office", back).returncode == 77
    assert desk.stored() == before


def test_the_right_person_after_the_wrong_one(desk):
    url = desk.get_code()
    assert desk.run("get-token", "office", desk.provider.consent(url, user="ceo@contoso.example")).returncode == 77
    check_stored(desk, desk.run("get-token", "office", desk.provider.consent(url)))


def test_mailboxes_have_no_case(desk):
    back = desk.provider.consent(desk.get_code(), user="PBX@Contoso.Example")
    assert desk.run("get-token", "office", back).returncode == 0


def test_shared_mailbox(desk):
    desk.account(oauth={"login": "delegate@contoso.example"})
    url = desk.get_code()
    assert "delegate%40contoso.example" in url
    done = desk.run("get-token", "office", desk.provider.consent(url, user="delegate@contoso.example"))
    assert done.returncode == 0, done.stderr
    assert "token stored for delegate@contoso.example" in done.stdout and "pbx@contoso.example" in done.stdout
    assert desk.run("get-token", "office", desk.provider.consent(desk.get_code())).returncode == 77


def test_nobody_can_tell_who_signed_in(desk):
    def without_identity(request):
        answer = desk.provider._token(request.form)
        body = json.loads(answer.body)
        del body["id_token"]
        return Answer(200, body)

    desk.provider.answer("token", without_identity)
    done = desk.run("get-token", "office", desk.provider.consent(desk.get_code()))
    assert done.returncode in (77, 78)
    assert "id_token" in done.stderr and desk.stored() is None


def test_scope_not_granted(desk):
    scope = MAIL_SCOPE[desk.provider.profile]
    back = desk.provider.consent(desk.get_code(), granted="openid email")
    done = desk.run("get-token", "office", back)
    assert done.returncode == 77 and scope in done.stderr
    assert desk.stored() is None


# What providers answer


def test_provider_not_reachable(desk):
    back = desk.provider.consent(desk.get_code())
    address = desk.provider.url
    desk.provider.stop()
    done = desk.run("get-token", "office", back)
    assert done.returncode == 69 and address in done.stderr
    assert (desk.tokens / "office.pending").exists()


@pytest.mark.parametrize("answer", [
    Answer(503, "<html>later</html>", {"Content-Type": "text/html"}),
    Answer(200, '{"access_token": "tru', {"Content-Type": "application/json"}),
    Answer(429, "", {"Retry-After": "17"}),
    error("temporarily_unavailable"),
    error("server_error", status=500),
], ids=["html", "truncated", "429", "temporarily", "500"])
def test_provider_in_trouble(desk, answer):
    desk.provider.answer("token", answer)
    done = desk.run("get-token", "office", desk.provider.consent(desk.get_code()))
    assert done.returncode == 75, done.stderr
    assert desk.stored() is None
    if answer.status == 429:
        assert "17 s" in done.stderr


@pytest.mark.parametrize("answer, code, words", [
    (error("invalid_client", "no such client", 401), 78, "client_id"),
    (error("invalid_grant", "expired"), 77, "login office"),
    (error("invalid_grant", "AADSTS53003: blocked", codes=[53003]), 77, "administrator"),
    (error("invalid_client", "AADSTS7000222: expired", 401, codes=[7000222]), 77, "client secret"),
    (error("invalid_request", "AADSTS50194: not multi-tenant", codes=[50194]), 78, "oauth.tenant"),
    (error("unheard_of", "something new"), 78, "something new"),
])
def test_provider_refuses(microsoft, answer, code, words):
    microsoft.provider.answer("token", answer)
    done = microsoft.run("get-token", "office", microsoft.provider.consent(microsoft.get_code()))
    assert done.returncode == code, done.stderr
    assert words in done.stderr and json.loads(answer.body)["error"] in done.stderr
    assert microsoft.stored() is None


def test_no_refresh_token_is_no_authorization(desk):
    def without_refresh(request):
        body = json.loads(desk.provider._token(request.form).body)
        del body["refresh_token"]
        return Answer(200, body)

    desk.provider.answer("token", without_refresh)
    done = desk.run("get-token", "office", desk.provider.consent(desk.get_code()))
    assert done.returncode == 78 and "refresh token" in done.stderr
    assert desk.stored() is None


# Wrong usage


def test_usage(desk):
    desk.config.account("relay", auth="basic", email="r@example.com", server="127.0.0.1", password="secret")
    desk.config.write()
    for arguments in ([], ["get-code"], ["status", "office", "more"], ["get-code", "office", "more"], ["get-cod", "office"],
                      ["get-code", "office", "--device"], ["status", "--yes"], ["login", "office", "--port", "0"],
                      ["login", "office", "--port", "70000"], ["login", "office", "--port", "1x"],
                      ["login", "relay"], ["status", "relay"], ["revoke", "relay", "--yes"]):
        done = desk.run(*arguments)
        assert done.returncode == 64, (arguments, done.stderr)
    for arguments in (["get-code", "offic"], ["status", "nobody"], ["revoke", "nobody", "--yes"]):
        done = desk.run(*arguments)
        assert done.returncode == 66, (arguments, done.stderr)
    assert "did you mean office" in desk.run("get-code", "offic").stderr


def test_without_a_state_directory(desk):
    shutil.rmtree(desk.config.state)
    done = desk.run("get-code", "office")
    assert done.returncode == 78 and "outtray init" in done.stderr
