"""npm's oidc-provider and smtp-server in one process of node: real counterparts that nobody here wrote."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from support import net
from support.child import Child

import clicker

NODE = pathlib.Path(__file__).resolve().parents[1] / "interop" / "node"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
MAILBOX, PASSWORD = "pbx@contoso.example", "correct horse battery staple"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
PUBLIC = {"client_id": "outtray-desktop", "application_type": "native", "token_endpoint_auth_method": "none",
          "redirect_uris": ["http://127.0.0.1/", "http://localhost"], "response_types": ["code"],
          "grant_types": ["authorization_code", "refresh_token", DEVICE]}


def node():
    """The interpreter; a skip with its reason where this machine cannot run the counterparts."""
    found = shutil.which("node") or shutil.which("nodejs")
    if found is None:
        pytest.skip("node is missing: run scripts/setup test")
    for package in ("oidc-provider", "smtp-server", "playwright-core"):
        if not (NODE / "node_modules" / package).is_dir():
            pytest.skip(f"npm's {package} is missing: run scripts/setup test")
    return found


class Counterpart(Child):
    def __init__(self, directory, authority, clients=(PUBLIC,), lifetime=3600, delegates=None):
        self.node = node()
        self.directory = pathlib.Path(directory)
        self.mail = self.directory / "mail"
        self.mail.mkdir(parents=True)
        self.port, self.smtp_port = net.free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        certificate, key = authority.issue(f"counterpart-{self.port}")
        self.events_file = self.directory / "events"
        self.events_file.touch()
        self.log = self.directory / "server.log"
        self.settings = self.directory / "settings.json"
        self.settings.write_text(json.dumps({
            "port": self.port, "smtpPort": self.smtp_port, "certificate": str(certificate), "key": str(key), "clients": list(clients),
            "lifetime": lifetime, "delegates": delegates or {}, "mail": str(self.mail), "events": str(self.events_file)}))
        self.ca = authority.ca

    def __enter__(self):
        self.launch(self.node, NODE / "oauth.mjs", self.settings)
        self.wait_up(lambda: "ready\n" in self.log_text(), 60)
        return self

    def __exit__(self, kind, value, trace):
        self.stop()

    def account(self, auth="microsoft", oauth=None, **keys):
        """The keys below accounts.NAME. Scope `mail` stands for what the providers call theirs."""
        own = {"client_id": PUBLIC["client_id"], "authorize_url": f"{self.url}/auth", "token_url": f"{self.url}/token",
               "device_url": f"{self.url}/device/auth", "revoke_url": f"{self.url}/token/revocation", "scope": "mail openid email"}
        if auth == "google":
            del own["device_url"]
        return {"auth": auth, "email": MAILBOX, "server": "127.0.0.1", "port": self.smtp_port, "oauth": {**own, **(oauth or {})},
                "tls": {"ca_file": str(self.ca)}, "limits": {"connections": 2, "messages_per_minute": 0}, **keys}

    def events(self, event, **keys):
        found = [json.loads(line) for line in self.events_file.read_text().splitlines()]
        return [line for line in found if line["event"] == event and all(line.get(key) == value for key, value in keys.items())]

    def received(self):
        return [json.loads(entry.read_text()) for entry in sorted(self.mail.glob("*.json"))]

    # The person

    def consent(self, url, user=MAILBOX):
        """By HTTP alone: the address that the browser is sent to in the end."""
        return clicker.Clicker(login=user, password=PASSWORD).walk(url)

    def consent_in_chromium(self, url, profile, user=MAILBOX):
        """(address, text of the page there) in a real browser."""
        if not os.access(CHROMIUM, os.X_OK):
            pytest.skip("chromium is missing: run scripts/setup test")
        profile = pathlib.Path(profile)
        profile.mkdir()
        done = subprocess.run(["setpriv", "--pdeathsig", "KILL", self.node, str(NODE / "browser.js"), url, user, PASSWORD, str(profile)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                              env={**os.environ, "CHROMIUM": CHROMIUM, "HOME": str(profile)})
        assert done.returncode == 0, done.stderr
        page = json.loads(done.stdout)
        return page["url"], page["text"]

    def approve(self, verification_uri, user_code, user=MAILBOX):
        return clicker.Clicker(login=user, password=PASSWORD, user_code=user_code).walk(verification_uri, until="Success")
