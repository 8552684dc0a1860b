"""outtray oauth login: the browser comes back, or somebody pastes what it shows, or enters a device code elsewhere."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from support.answers import Answer, error
from support.desk import PENDING_S, step_until
from support.net import free_port
from support.wait import wait_until


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
