"""outtray oauth: authorizing accounts, and looking after what is stored. Against a scripted provider."""

import fcntl
import json
import os
import pwd
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from support.agent import Config, binary, environment, outtray
from support.answers import Answer, error
from support.jwt import jwt_claims
from support.net import free_port
from support.provider import MAIL_SCOPE, Provider
from support.wait import wait_until

PENDING_S = 15 * 60


class Desk:
    """An administrator: a configuration with the account `office`, its provider, and the verb."""

    def __init__(self, config, clock, provider):
        self.config, self.clock, self.provider = config, clock, provider
        self.running = []
        self.account()

    def account(self, oauth=None, **more):
        self.config.account("office", **self.provider.account(oauth=oauth, **more))
        self.config.tenant("acme", account="office")
        self.config.write()
        outtray("init", config=self.config, check=True)

    def run(self, *arguments, **options):
        env = {"DISPLAY": "", "WAYLAND_DISPLAY": "", **options.pop("env", {})}
        done = outtray("oauth", *arguments, config=self.config, clock=self.clock, env=env, **options)
        self.no_secret(done.stdout + done.stderr)
        return done

    def no_secret(self, text):
        for secret in self.provider.secrets:
            assert secret not in text
            assert urllib.parse.quote(secret, safe="") not in text

    def start(self, *arguments, env=None, stdin=subprocess.DEVNULL):
        process = subprocess.Popen(
            [binary(), "oauth", arguments[0], "--config", str(self.config.path), *arguments[1:]], stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(self.clock, **{"DISPLAY": "", "WAYLAND_DISPLAY": "", **(env or {})}))
        self.running.append(process)
        return process

    def end(self, process, seconds=30):
        """(exit code, all that was said)"""
        out, err = process.communicate(timeout=seconds)
        self.no_secret(out + err)
        assert "Sanitizer" not in err, err
        return process.returncode, out + err

    def close(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def get_code(self):
        done = self.run("get-code", "office")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def authorize(self):
        done = self.run("get-token", "office", self.provider.consent(self.get_code()))
        assert done.returncode == 0, done.stderr
        return self

    @property
    def tokens(self):
        return self.config.state / "tokens"

    def stored(self):
        try:
            return json.loads((self.tokens / "office.json").read_text())
        except FileNotFoundError:
            return None

    def status(self, code=0):
        done = self.run("status", "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)["accounts"][0]


def make_desk(program, config, clock, **options):
    provider = Provider(**options).start()
    return Desk(config, clock, provider)


@pytest.fixture(params=["google", "microsoft"])
def desk(request, program, config, clock):
    desk = make_desk(program, config, clock, profile=request.param)
    yield desk
    desk.close()
    desk.provider.stop()


@pytest.fixture
def google(program, config, clock):
    desk = make_desk(program, config, clock, profile="google")
    yield desk
    desk.close()
    desk.provider.stop()


@pytest.fixture
def microsoft(program, config, clock):
    desk = make_desk(program, config, clock, profile="microsoft")
    yield desk
    desk.close()
    desk.provider.stop()


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


# login


def first_line(process):
    """The URL, once it is printed; what else is on standard output comes later."""
    line = process.stdout.readline().strip()
    assert line, process.communicate()
    return line


def fetch(url):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                url.replace("//localhost:", "//127.0.0.1:"), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_login_by_the_browser_coming_back(desk):
    process = desk.start("login", "office")
    back = desk.provider.consent(first_line(process))
    assert fetch(back) == 200
    code, said = desk.end(process)
    assert code == 0 and "token stored for pbx@contoso.example" in said
    assert desk.stored()["refresh_token"] in desk.provider.refresh
    with pytest.raises(OSError):
        fetch(back)  # the listener is closed


def test_login_ignores_what_does_not_belong_to_it(desk):
    process = desk.start("login", "office")
    back = desk.provider.consent(first_line(process))
    address = back.partition("?")[0].rstrip("/")
    assert fetch(address + "/favicon.ico") == 404
    assert fetch(address + "/?state=forged&code=stolen") == 400
    assert desk.provider.requests == []
    assert fetch(back) == 200
    assert desk.end(process)[0] == 0


def test_login_refused_at_the_consent_page(desk):
    process = desk.start("login", "office")
    fetch(desk.provider.consent(first_line(process), refuse="access_denied"))
    code, said = desk.end(process)
    assert code == 77 and "access_denied" in said


def test_login_by_paste(desk):
    process = desk.start("login", "office", stdin=subprocess.PIPE)
    back = desk.provider.consent(first_line(process))
    process.stdin.write(back + "\n")
    process.stdin.flush()
    code, said = desk.end(process)
    assert code == 0, said


def test_login_as_another(desk):
    process = desk.start("login", "office")
    fetch(desk.provider.consent(first_line(process), user="ceo@contoso.example"))
    code, said = desk.end(process)
    assert code == 77 and "ceo@contoso.example" in said and desk.stored() is None


def test_login_gives_up(desk):
    process = desk.start("login", "office")
    first_line(process)
    desk.clock.advance(PENDING_S + 1)
    assert desk.end(process)[0] == 75


def test_login_at_a_chosen_port(desk):
    port = free_port()
    process = desk.start("login", "office", "--port", str(port))
    back = desk.provider.consent(first_line(process))
    assert urllib.parse.urlsplit(back).port == port
    busy = desk.run("login", "office", "--port", str(port))
    assert busy.returncode == 75 and str(port) in busy.stderr
    assert fetch(back) == 200
    assert desk.end(process)[0] == 0


@pytest.fixture
def browser(tmp_path):
    """A directory whose xdg-open only notes what it was called with."""
    path = tmp_path / "bin"
    path.mkdir()
    script = path / "xdg-open"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$1" >"{tmp_path}/opened.new"\nmv "{tmp_path}/opened.new" "{tmp_path}/opened"\n')
    script.chmod(0o755)
    return path


def test_login_opens_a_browser(desk, browser, tmp_path):
    env = {"DISPLAY": ":0", "PATH": f"{browser}:{os.environ['PATH']}"}
    process = desk.start("login", "office", env=env)
    url = first_line(process)
    wait_until((tmp_path / "opened").exists, 20, "the browser")
    assert (tmp_path / "opened").read_text().splitlines() == ["1", url]
    assert fetch(desk.provider.consent(url)) == 200
    assert desk.end(process)[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_below_sudo_the_browser_is_the_callers(microsoft):
    """And not root's."""
    public = tempfile.mkdtemp(prefix="outtray-browser.")
    try:
        os.chmod(public, 0o777)
        script = os.path.join(public, "xdg-open")
        with open(script, "w", encoding="ascii") as out:
            out.write(f'#!/bin/sh\nid -u >"{public}/user.new"\nmv "{public}/user.new" "{public}/user"\n')
        os.chmod(script, 0o755)
        nobody = pwd.getpwnam("nobody").pw_uid
        process = microsoft.start("login", "office", env={
            "DISPLAY": ":0", "SUDO_UID": str(nobody), "PATH": f"{public}:{os.environ['PATH']}"})
        back = microsoft.provider.consent(first_line(process))
        wait_until(lambda: os.path.exists(f"{public}/user"), 20, "the browser")
        with open(f"{public}/user", encoding="ascii") as user:
            assert int(user.read()) == nobody
        assert fetch(back) == 200
        assert microsoft.end(process)[0] == 0
    finally:
        shutil.rmtree(public)


@pytest.mark.parametrize("arguments, env", [(["--no-browser"], {"DISPLAY": ":0"}), ([], {})])
def test_login_opens_no_browser(microsoft, browser, tmp_path, arguments, env):
    process = microsoft.start("login", "office", *arguments, env={"PATH": f"{browser}:{os.environ['PATH']}", **env})
    assert fetch(microsoft.provider.consent(first_line(process))) == 200
    assert microsoft.end(process)[0] == 0
    assert not (tmp_path / "opened").exists()


# Device code


def step_until(desk, condition, seconds=600):
    """Moves the clock on by a second until the condition holds, and tells where it stands then."""
    for _ in range(seconds):
        if condition():
            return desk.clock.offset
        desk.clock.advance(1)
        try:
            wait_until(condition, 0.1)
            return desk.clock.offset
        except AssertionError:
            pass
    raise AssertionError("the clock was moved far enough")


def test_device_code(microsoft):
    provider, at = microsoft.provider, []

    def noted(answer):
        def note(_):
            at.append(time.monotonic() + microsoft.clock.offset)  # the clock runs on by itself, too
            return answer
        return note

    provider.answer("token", *map(noted, (error("authorization_pending"), error("slow_down"), Answer(502, "<html>"))))
    begun = time.monotonic() + microsoft.clock.offset
    process = microsoft.start("login", "office", "--device")
    said = first_line(process)
    assert f"{provider.url}/link" in said and "ABCD-EFGH" in said
    assert provider.seen("token") == []  # not before the first interval
    step_until(microsoft, lambda: len(at) == 3)
    step = 1  # of the clock, which may fall between a request's being sent and its being noted
    assert at[0] - begun >= 5 - step
    assert at[1] - at[0] >= 5 - step
    assert at[2] - at[1] >= 10 - step  # five seconds more
    provider.approve_device()
    step_until(microsoft, lambda: process.poll() is not None)
    code, words = microsoft.end(process)
    assert code == 0 and "token stored for pbx@contoso.example" in words
    assert microsoft.stored()["refresh_token"] in provider.refresh


def test_device_flow_of_the_configuration(microsoft):
    microsoft.account(oauth={"flow": "device_code"})
    process = microsoft.start("login", "office")
    assert "ABCD-EFGH" in first_line(process)
    microsoft.provider.approve_device()
    step_until(microsoft, lambda: process.poll() is not None)
    assert microsoft.end(process)[0] == 0
    assert microsoft.run("get-code", "office").returncode == 64


def test_device_code_of_another_mailbox(microsoft):
    process = microsoft.start("login", "office", "--device")
    first_line(process)
    microsoft.provider.approve_device(user="ceo@contoso.example")
    step_until(microsoft, lambda: process.poll() is not None)
    code, said = microsoft.end(process)
    assert code == 77 and "ceo@contoso.example" in said and microsoft.stored() is None


def test_device_code_declined(microsoft):
    process = microsoft.start("login", "office", "--device")
    first_line(process)
    microsoft.provider.approve_device(deny=True)
    step_until(microsoft, lambda: process.poll() is not None)
    code, said = microsoft.end(process)
    assert code == 77 and "authorization_declined" in said


def test_device_code_runs_out(microsoft):
    microsoft.provider.device_expires_in = 30
    process = microsoft.start("login", "office", "--device")
    first_line(process)
    step_until(microsoft, lambda: process.poll() is not None)
    assert microsoft.end(process)[0] in (75, 77)


def test_device_code_forbidden(microsoft):
    microsoft.provider.answer("device", error("invalid_grant", "AADSTS53003: blocked", codes=[53003]))
    done = microsoft.run("login", "office", "--device")
    assert done.returncode == 77 and "AADSTS53003" in done.stderr and "conditional access" in done.stderr


def test_no_device_code_at_google(google):
    done = google.run("login", "office", "--device")
    assert done.returncode == 64 and "does not grant mail scopes" in done.stderr
    assert google.provider.requests == []


# Flows without a person


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
