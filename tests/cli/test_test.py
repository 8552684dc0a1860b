"""outtray test: one message, the whole dialogue, no secret in it."""

import base64
import json

import pytest

from smtpserver import PASSWORD, Server
from support.agent import outtray


@pytest.fixture
def account(program, config, clock):
    servers = []

    def make(*script, **keys):
        server = Server(list(script))
        server.start()
        servers.append(server)
        config.account("office", email="pbx@example.com", server="127.0.0.1", port=server.port, encryption="none", **keys)
        config.tenant("acme", account="office")
        config.write()
        outtray("init", config=config, check=True)
        return server
    yield make
    for server in servers:
        server.stop()


def secrets():
    plain = base64.b64encode(f"\0user\0{PASSWORD}".encode()).decode()
    return PASSWORD, plain, base64.b64encode(PASSWORD.encode()).decode()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_dialogue(account, config, clock, mechanism):
    server = account(f"auth {mechanism} plain", auth="basic", username="user", password=PASSWORD)
    done = outtray("test", "office", "--to", "you@example.net", config=config, clock=clock)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for line in (f"C: AUTH {mechanism}", "S: 235 2.7.0 welcome", "C: MAIL FROM:<pbx@example.com>", "C: RCPT TO:<you@example.net>",
                 "C: To: <you@example.net>", "C: Subject: Test message of outtray", "C: QUIT"):
        assert any(one.startswith(line) for one in lines), (line, done.stdout)
    assert "[blanked]" in done.stdout
    assert not any(secret in done.stdout + done.stderr for secret in secrets())
    assert "the message was taken" in done.stdout
    assert len([one for one in lines if one.startswith("C: EHLO")]) == 1  # nothing is written down twice
    assert len([one for one in lines if one.startswith("C: MAIL")]) == 1
    assert [one.rcpts for one in server.accepted] == [["you@example.net"]]


def test_json(account, config, clock):
    account("auth PLAIN plain", auth="basic", username="user", password=PASSWORD)
    done = outtray("test", "--json", "office", "--to=you@example.net", config=config, clock=clock)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["result"] == "ok" and report["account"] == "office"
    assert {"from": "client", "line": "AUTH PLAIN [blanked]"} in report["dialogue"] or \
        {"from": "client", "line": "AUTH PLAIN"} in report["dialogue"]
    assert report["dialogue"][0] == {"from": "server", "line": report["dialogue"][0]["line"]}
    assert not any(secret in done.stdout for secret in secrets())


@pytest.mark.parametrize("rule,words", [("on RCPT: 550 5.1.1 no such user", "550 5.1.1 no such user"),
                                        ("on AUTH: 535 5.7.8 bad secret", "535 5.7.8 bad [hidden]"),
                                        ("on BODY: 554 5.7.1 spam", "554 5.7.1 spam")])
def test_not_taken(account, config, clock, rule, words):
    account("auth PLAIN plain", rule, auth="basic", username="user", password=PASSWORD)
    done = outtray("test", "office", "--to", "you@example.net", config=config, clock=clock)
    assert done.returncode == 1
    assert "the message was not taken" in done.stdout and "next:" in done.stdout
    if "hidden" not in words:
        assert f"S: {words}" in done.stdout
    assert not any(secret in done.stdout + done.stderr for secret in secrets())


def test_no_server(account, config, clock):
    server = account(auth="none")
    server.pause()
    done = outtray("test", "office", "--to", "you@example.net", config=config, clock=clock)
    assert done.returncode == 1 and "not taken" in done.stdout


def test_usage(account, config, clock):
    account(auth="none")
    for arguments, code in ((["office"], 64), ([], 64), (["office", "--to", "nobody"], 64), (["office", "x", "--to", "a@b.example"], 64),
                            (["offcie", "--to", "a@b.example"], 66)):
        assert outtray("test", *arguments, config=config, clock=clock).returncode == code, arguments
