"""outtray doctor: which stage of an account fails, in whose words, and what to do."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oauth"))

import xoauth2  # noqa: E402
from smtpserver import PASSWORD, Server  # noqa: E402
from support.agent import Config, binary, environment, outtray  # noqa: E402
from support.answers import error  # noqa: E402
from support.net import free_port  # noqa: E402
from support.provider import Provider  # noqa: E402

STAGES = ["files", "dns", "tcp", "tls", "ehlo", "credentials", "auth", "mail"]


class Practice:
    def __init__(self, config, clock, authority):
        self.config, self.clock, self.authority = config, clock, authority
        self.servers, self.secrets = [], {PASSWORD}

    def server(self, *script, name="good", **issue):
        """A scripted SMTP server; the certificate `name` of the authority, made where it is missing."""
        certs = self.authority.directory
        if not (certs / f"{name}.pem").exists():
            self.authority.issue(name, **issue)
        server = Server([line.replace("CERT", name) for line in script], certs=certs)
        server.start()
        self.servers.append(server)
        return server

    def account(self, peer, encryption="starttls", tls=None, **more):
        """A basic account at that server."""
        keys = {"auth": "basic", "email": "pbx@example.com", "username": "user", "password": PASSWORD, "server": "localhost",
                "port": peer.port, "encryption": encryption, "tls": {"ca_file": str(self.authority.ca), **(tls or {})}, **more}
        if keys["auth"] != "basic":
            for key in ("username", "password"):
                keys.pop(key)
        self.config.account("office", **keys)
        return self.ready()

    def ready(self):
        self.config.tenant("acme", account="office")
        self.config.write()
        outtray("init", config=self.config, check=True)
        return self

    def run(self, *arguments, **options):
        done = outtray("doctor", *arguments, config=self.config, clock=self.clock, **options)
        for secret in self.secrets:
            assert secret not in done.stdout + done.stderr
        return done

    def report(self, *arguments, code, **options):
        """(the whole JSON, its stages by name)"""
        done = self.run("office", "--json", *arguments, **options)
        assert done.returncode == code, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert report["account"] == "office" and (report["result"] == "failed") == (code == 1)
        return report, {stage["stage"]: stage for stage in report["stages"]}

    def stop(self):
        for server in self.servers:
            server.stop()


@pytest.fixture
def practice(program, config, clock, authority):
    practice = Practice(config, clock, authority)
    yield practice
    practice.stop()


def test_a_well_account(practice):
    server = practice.server("tls starttls CERT", "auth PLAIN LOGIN")
    practice.account(server)
    report, stages = practice.report(code=0)
    assert [stage["stage"] for stage in report["stages"]] == STAGES
    assert {stage["state"] for stage in report["stages"]} == {"ok"}
    assert all(stage["ms"] >= 0 for stage in report["stages"])
    assert report["failed"] is None
    assert "127.0.0.1" in stages["dns"]["details"]
    assert "250 AUTH PLAIN LOGIN" in stages["ehlo"]["words"] and "250-SIZE 52428800" in stages["ehlo"]["words"]
    assert "235 2.7.0 welcome" in stages["auth"]["words"]
    text = " ".join(stages["tls"]["details"])
    assert "TLSv1" in text and "CN=outtray test authority" in text and "localhost" in text and "sha256//" in text
    assert server.accepted == [] and server.seen("RCPT") == 0
    assert server.seen("MAIL") == 1 and server.seen("RSET") == 1
    assert server.errors == [] and all(connection.problems == [] for connection in server.connections)


def test_the_same_for_people(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN"))
    done = practice.run("office")
    assert done.returncode == 0 and "account office is well" in done.stdout
    for stage in STAGES:
        assert f"\nok       {stage}" in done.stdout, stage
    assert "| 250 AUTH PLAIN" in done.stdout and " ms" in done.stdout


@pytest.mark.parametrize("encryption, script", [("tls", "tls implicit CERT"), ("none", "ehlo SIZE=1000")])
def test_other_encryptions(practice, encryption, script):
    practice.account(practice.server(script, "auth PLAIN plain"), encryption=encryption)
    _, stages = practice.report(code=0)
    assert stages["tls"]["state"] == ("skipped" if encryption == "none" else "ok")
    assert any(line.startswith("220 ") for line in stages["ehlo"]["words"])


def test_no_login_needed(practice):
    practice.account(practice.server("ehlo PIPELINING"), encryption="none", auth="none")
    _, stages = practice.report(code=0)
    assert stages["credentials"]["state"] == stages["auth"]["state"] == "skipped"
    assert stages["mail"]["state"] == "ok"


def test_send(practice):
    server = practice.server("tls starttls CERT", "auth PLAIN")
    practice.account(server)
    _, stages = practice.report("--send", "admin@example.net", code=0)
    assert "250 2.0.0 Ok: queued as Q1" in stages["send"]["words"]
    (message,) = server.accepted
    assert message.mail == "<pbx@example.com>" and message.rcpts == ["admin@example.net"]
    head = message.data.decode("ascii").partition("\r\n\r\n")[0]
    for field in ("Date: ", "Message-ID: <", "From: <pbx@example.com>", "To: <admin@example.net>", "Subject: "):
        assert f"\r\n{field}" in "\r\n" + head


def test_send_to_somebody_refused(practice):
    server = practice.server("tls starttls CERT", "auth PLAIN", "on RCPT: 550 5.1.1 no such user")
    practice.account(server)
    report, stages = practice.report("--send", "nobody@example.net", code=1)
    assert report["failed"] == "send" and "550 5.1.1 no such user" in stages["send"]["words"]
    assert stages["mail"]["state"] == "ok" and server.accepted == []


def check_failed(practice, stage, words=None, details=None):
    """That stage is the first that fails, says why and what to do; later ones are skipped or not there."""
    report, stages = practice.report(code=1)
    assert report["failed"] == stage
    row = stages[stage]
    assert row["state"] == "failed"
    if words:
        assert any(words in line for line in row["words"]), row
    if details:
        assert any(details in line for line in row["details"]), row
    if stage != "credentials":
        assert row["next"], row
    done = practice.run("office")
    assert done.returncode == 1 and f"stage {stage} failed" in done.stdout
    return stages


def test_dns_fails(practice):
    practice.account(practice.server(), server="no-such-host.invalid")
    stages = check_failed(practice, "dns")
    assert stages["dns"]["words"] and stages["dns"]["server"] == "no-such-host.invalid"
    for stage in ("tcp", "tls", "ehlo", "auth", "mail"):
        assert stages[stage]["state"] == "skipped"
    assert stages["credentials"]["state"] == "ok"


def test_tcp_fails(practice):
    server = practice.server()
    practice.account(server, port=free_port())
    stages = check_failed(practice, "tcp", details="refused")
    assert stages["tls"]["state"] == stages["mail"]["state"] == "skipped"


def test_certificate_of_nobody_known(practice, tmp_path):
    from support.tls import Authority
    stranger = Authority(tmp_path / "stranger")
    practice.account(practice.server("tls starttls CERT", "auth PLAIN"), tls={"ca_file": str(stranger.ca)})
    stages = check_failed(practice, "tls", details="verification: ")
    assert "ca_file" in stages["tls"]["next"]
    assert any("outtray test authority" in line for line in stages["tls"]["details"])


def test_certificate_for_another_name(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN", name="elsewhere", hosts=("mail.elsewhere.example",)))
    stages = check_failed(practice, "tls", details="mail.elsewhere.example")
    assert "server" in stages["tls"]["next"]


def test_certificate_out_of_time(practice):
    practice.account(practice.server("tls implicit CERT", "auth PLAIN", name="past", start="20200101000000Z",
                                     end="20210101000000Z"), encryption="tls")
    check_failed(practice, "tls", details="until 2021-01-01")


def test_certificate_that_ends_soon(practice):
    import datetime
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=5)
    practice.account(practice.server("tls starttls CERT", "auth PLAIN", name="soon", start="20200101000000Z",
                                     end=end.strftime("%Y%m%d%H%M%SZ")))
    _, stages = practice.report(code=0)
    assert stages["tls"]["state"] == "warning" and any("expires in 4 days" in line for line in stages["tls"]["details"])
    assert stages["tls"]["next"] and stages["auth"]["state"] == "ok"


def test_certificate_taken_unseen(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN", name="elsewhere", hosts=("mail.elsewhere.example",)),
                     tls={"verify": False})
    _, stages = practice.report(code=0)
    assert stages["tls"]["state"] == "warning" and stages["auth"]["state"] == "ok"


def test_another_key_than_the_pinned(practice):
    pin = "sha256//" + "A" * 43 + "="
    practice.account(practice.server("tls starttls CERT", "auth PLAIN"), tls={"pinned_key": pin})
    stages = check_failed(practice, "tls", details="key: sha256//")
    shown = next(line for line in stages["tls"]["details"] if line.startswith("key: "))[5:]
    practice.account(practice.servers[0], tls={"pinned_key": shown})  # what it shows is what the agent takes
    practice.report(code=0)


def test_no_starttls(practice):
    practice.account(practice.server("auth PLAIN plain"))
    check_failed(practice, "tls", words="502")


def test_greeting_refuses(practice):
    practice.account(practice.server("on CONNECT: 554 5.7.1 go away"), encryption="none")
    check_failed(practice, "ehlo", words="554 5.7.1 go away")


def test_password_file_missing(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN"))
    (practice.config.directory / "office.password").unlink()
    report, stages = practice.report(code=1)
    assert report["failed"] == "files"
    assert any("office.password" in line for line in stages["files"]["details"])
    assert stages["credentials"]["state"] == "failed" and stages["auth"]["state"] == "skipped"
    assert stages["ehlo"]["state"] == "ok"  # what can be tried is tried


def test_password_file_open_to_others(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN"))
    (practice.config.directory / "office.password").chmod(0o644)
    report, stages = practice.report(code=1)
    assert report["failed"] == "files" and any("0600" in line for line in stages["files"]["details"])


def test_login_refused(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN",
                                     "on AUTH: 535 5.7.139 SmtpClientAuthentication is disabled for the Tenant"))
    stages = check_failed(practice, "auth", words="535 5.7.139 SmtpClientAuthentication is disabled for the Tenant")
    assert "administrator" in stages["auth"]["next"]
    assert stages["mail"]["state"] == "skipped"


def test_a_server_that_repeats_the_password(practice):
    import base64
    said = base64.b64encode(f"\0user\0{PASSWORD}".encode()).decode()
    practice.secrets.add(said)
    practice.account(practice.server("tls starttls CERT", "auth PLAIN", f"on AUTH: 535 5.7.8 not {PASSWORD} of {said}, sir"))
    stages = check_failed(practice, "auth", words=", sir")
    assert PASSWORD not in json.dumps(stages) and said not in json.dumps(stages)


def test_no_login_offered(practice):
    practice.account(practice.server("tls starttls CERT"))
    check_failed(practice, "auth", details="AUTH")


def test_sender_refused(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN", "on MAIL: 550 5.1.8 you are blocked"))
    check_failed(practice, "mail", words="550 5.1.8 you are blocked")


def test_odd_words_do_no_harm(practice):
    practice.account(practice.server("tls starttls CERT", "auth PLAIN", "on MAIL: 550 5.7.1 \\e[2J\\xff bad"))
    done = practice.run("office")
    assert done.returncode == 1 and "\x1b" not in done.stdout
    practice.report(code=1)


def test_several_servers(practice):
    server = practice.server("tls starttls CERT", "auth PLAIN")
    practice.account(server, server=["no-such-host.invalid", "localhost"])
    done = practice.run("office", "--json", "--send", "admin@example.net")
    rows = json.loads(done.stdout)["stages"]
    assert done.returncode == 1
    assert [row["state"] for row in rows if row["server"] == "localhost" and row["stage"] == "auth"] == ["ok"]
    assert len(server.accepted) == 1
    assert [row["stage"] for row in rows].count("credentials") == 1


# OAuth


@pytest.fixture
def office(practice, clock):
    with Provider("microsoft", clock=clock) as provider:
        certificate, key = practice.authority.issue("office")
        with xoauth2.Server(provider, certificate, key) as server:
            practice.provider, practice.mail = provider, server
            practice.config.account("office", **provider.account(
                server="localhost", port=server.port, tls={"ca_file": str(practice.authority.ca)}))
            practice.ready()
            practice.secrets = provider.secrets
            yield practice


def test_an_office_account(office):
    office.provider.store(office.config.state, "office")
    _, stages = office.report(code=0)
    assert stages["credentials"]["state"] == stages["auth"]["state"] == "ok"
    assert any("pbx@contoso.example" in line for line in stages["credentials"]["details"])
    assert office.provider.requests == []
    assert office.mail.messages == [] and len(office.mail.good_logins()) == 1


def test_an_expired_token_is_refreshed(office):
    office.provider.store(office.config.state, "office", age=7200)
    _, stages = office.report(code=0)
    assert stages["auth"]["state"] == "ok" and office.provider.count("refresh_token") == 1
    _, stages = office.report(code=0)  # it was stored
    assert office.provider.count("refresh_token") == 1


def test_never_authorized(office):
    stages = check_failed(office, "credentials")
    assert "outtray oauth login office" in stages["credentials"]["next"]
    assert stages["ehlo"]["state"] == "ok" and stages["auth"]["state"] == "skipped"


def test_authorization_withdrawn(office):
    office.provider.store(office.config.state, "office", age=7200)
    office.provider.answer("token", error("invalid_grant", "AADSTS50173: the grant is expired", codes=[50173]))
    report, stages = office.report(code=1)
    assert report["failed"] == "credentials"
    assert any("AADSTS50173: the grant is expired" in line for line in stages["credentials"]["words"])
    assert "outtray oauth login office" in stages["credentials"]["next"]


def test_provider_away(office):
    office.provider.store(office.config.state, "office", age=7200)
    office.provider.stop()
    report, stages = office.report(code=1)
    assert report["failed"] == "credentials" and stages["credentials"]["next"]


def test_token_refused_by_the_mail_server(office):
    office.provider.store(office.config.state, "office")
    office.provider.revoke_access()
    stages = check_failed(office, "auth", words="535 5.7.3")
    assert "outtray oauth refresh" in stages["auth"]["next"]


# Usage and users


def test_usage(practice):
    practice.account(practice.server())
    assert practice.run().returncode == 64
    assert practice.run("office", "more").returncode == 64
    assert practice.run("office", "--send", "nobody").returncode == 64
    done = practice.run("offic")
    assert done.returncode == 66 and "did you mean office" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_the_service_user_cannot_read(program, authority):
    """Root sees everything; what is reported is what the owner of the state directory sees."""
    directory = tempfile.mkdtemp(prefix="outtray-doctor.")
    server = Server(["auth PLAIN plain"])
    server.start()
    try:
        os.chmod(directory, 0o755)
        config = Config(directory)
        closed = pathlib.Path(directory, "ca.pem")
        shutil.copy(authority.ca, closed)
        closed.chmod(0o600)
        config.account("office", auth="basic", email="pbx@example.com", username="user", password=PASSWORD, server="127.0.0.1",
                       port=server.port, encryption="none", tls={"ca_file": str(closed)})
        config.tenant("acme", account="office")
        config.write()
        config.path.chmod(0o600)
        outtray("init", "--user", "nobody", config=config, check=True)
        os.chown(config.spool / "acme" / "sent", 0, 0)
        env = {"ASAN_OPTIONS": "detect_leaks=0"}  # nobody may not trace
        done = outtray("doctor", "office", "--json", config=config, env=env)
        assert done.returncode == 1, done.stderr
        report = json.loads(done.stdout)
        assert report["user"] == "nobody" and report["failed"] == "files"
        said = " ".join(report["stages"][0]["details"])
        for path in (config.path, closed, config.directory / "office.password", config.spool / "acme" / "sent"):
            assert str(path) in said, path
        assert str(config.spool / "acme" / "new") not in said
        # With the owners put right it is well.
        for path in (config.path, closed, config.directory / "office.password", config.spool / "acme" / "sent"):
            shutil.chown(path, "nobody")
        done = outtray("doctor", "office", config=config, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "as user nobody" in done.stdout
        # Somebody else is told what they themselves may not do.
        config.path.chmod(0o644)
        done = subprocess.run(["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", binary(), "doctor", "--config", config.path,
                               "office"], capture_output=True, text=True, timeout=60, env=environment(ASAN_OPTIONS="detect_leaks=0"))
        if done.returncode not in (126, 127):  # the program may be run by them
            assert done.returncode == 1, done
            assert "you are daemon" in done.stdout and "or as nobody" in done.stdout
            assert "user daemon cannot write the state directory" in done.stdout and "user nobody" not in done.stdout
    finally:
        server.stop()
        shutil.rmtree(directory)
