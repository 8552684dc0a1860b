"""The commands of docs/providers.md as they stand there, against npm's oidc-provider and smtp-server.

What only a provider's own tools can do (Exchange Online's PowerShell) is left out; tests/docs/test_commands.py says so.
"""

import base64
import json
import re
import subprocess
import urllib.request

import pytest

from counterparts import MAILBOX, PUBLIC, Counterpart
from support.agent import ROOT, binary, environment
from support.documents import blocks
from support.net import free_port

pytestmark = pytest.mark.xdist_group("oidc")
PAGE = "docs/providers.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def shown(beginning):
    """The command of the page that begins so, without the remark at its end."""
    [command] = [command for block in blocks(PAGE) for _, command in block.commands() if command.startswith(beginning)]
    return re.sub(r"\s{2,}#.*$", "", command)


class Person:
    """Somebody with a shell in which `outtray` is the program under test."""

    def __init__(self, config, directory):
        self.directory = directory
        tools = directory / "bin"
        tools.mkdir()
        (tools / "outtray").symlink_to(binary())
        self.env = environment(OUTTRAY_CONFIG=config.path)
        self.env["PATH"] = f"{tools}:{self.env['PATH']}"
        self.keys = {"cwd": directory, "env": self.env, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def run(self, command, code=0, input=""):
        done = subprocess.run(["bash", "-c", command], input=input, timeout=60, check=False, **self.keys)
        assert done.returncode == code, (command, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def sign_in(self, command, counterpart):
        """A command that prints an address and waits for the browser to come back."""
        process = subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL, **self.keys)
        try:
            address = counterpart.consent(process.stdout.readline().strip())
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=20).close()
            out, err = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == 0, (out, err)
        return address

    def state(self):
        return json.loads(self.run("outtray oauth status office --json"))["accounts"][0]


@pytest.fixture
def signed(program, config, authority, tmp_path):
    """signed(clients…, oauth=…): a counterpart and a person whose account `office` is with it."""
    running = []

    def build(*clients, **oauth):
        counterpart = Counterpart(tmp_path / "server", authority, [PUBLIC, *clients]).__enter__()
        running.append(counterpart)
        config.account("office", **counterpart.account(oauth=oauth))
        config.tenant("master", account="office", from_=f"PBX <{MAILBOX}>")
        config.write()
        return counterpart, Person(config, tmp_path)
    yield build
    for counterpart in running:
        counterpart.__exit__(None, None, None)


def test_from_nothing_to_ready(signed):
    """The four lines at the beginning, the other ways to sign in, and the end of it."""
    counterpart, person = signed()
    person.run("outtray init")
    person.run(shown("outtray check"))
    person.sign_in(shown("outtray oauth login office"), counterpart)
    assert person.state()["state"] == "ready"
    assert "account office is well" in person.run(shown("outtray doctor office  "))
    person.run(shown("outtray doctor office --send"))
    assert [mail["to"] for mail in counterpart.received()] == [["me@example.org"]]

    # 1. Through ssh -L: what runs on the server.
    port = free_port()
    ssh = re.search(r"`ssh -t -L 8400:127.0.0.1:8400 server (outtray [^`]*)`", TEXT).group(1)
    address = person.sign_in(ssh.replace("8400", str(port)), counterpart)
    assert f":{port}/" in address
    # 2. Copy and paste, the address and the code in it alone.
    for paste in (lambda address: address, lambda address: re.search(r"code=([^&]+)", address)[1]):
        assert "`outtray oauth get-code office`" in TEXT and "`outtray oauth get-token office`" in TEXT
        address = counterpart.consent(person.run("outtray oauth get-code office 2>/dev/null").strip())
        assert MAILBOX in person.run("outtray oauth get-token office", input=paste(address) + "\n")
    assert person.state()["state"] == "ready"
    person.run("outtray oauth revoke office --yes")
    assert person.run("outtray oauth status office", code=1)


def test_a_pair_for_an_application(signed, tmp_path):
    """The certificate that the page makes is taken by provider and program, and its end is told of in time."""
    person_home = tmp_path / "pair"
    person_home.mkdir()
    done = subprocess.run(["bash", "-c", shown("openssl req")], cwd=person_home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (person_home / "app.key").chmod(0o600)
    modulus = subprocess.run(["openssl", "rsa", "-in", "app.key", "-noout", "-modulus"], cwd=person_home, check=True, capture_output=True,
                             text=True).stdout
    number = base64.urlsafe_b64encode(bytes.fromhex(modulus.strip().partition("=")[2])).rstrip(b"=").decode()
    client = {"client_id": "app", "grant_types": ["client_credentials"], "response_types": [], "redirect_uris": [], "scope": "mail",
              "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "PS256",
              "jwks": {"keys": [{"kty": "RSA", "use": "sig", "alg": "PS256", "e": "AQAB", "n": number}]}}
    counterpart, person = signed(client, flow="client_credentials", scope="mail", client_id="app",
                                 certificate_file=str(person_home / "app.pem"), key_file=str(person_home / "app.key"))
    person.run("outtray oauth get-token office")
    assert person.state()["state"] == "ready"
    assert counterpart.events("grant.success", grant="client_credentials", client="app")
    openssl = subprocess.run(["openssl", "x509", "-in", person_home / "app.pem", "-noout", "-enddate"], check=True, capture_output=True, text=True)
    assert openssl.stdout.startswith("notAfter=")
    assert "certificate" in json.dumps(person.state())
