"""The demonstration behind `scripts/demo oauth`: an account that logs in with OAuth, against a provider on this machine.

    /usr/bin/python3 scripts/lib/demo_oauth.py build/outtray

Provider and mail server are npm's oidc-provider and smtp-server; what a person does at the browser, a script does here.
"""

import html.parser
import http.cookiejar
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from demo import certificate, drop, free_port, heading, indent, show_received, start_agent, stop_agent, tree

SECONDS = 20
MAILBOX = "pbx@contoso.example"
LIFETIME = 40  # seconds that an access token lasts, so that a refresh can be seen
SERVER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "interop" / "node" / "oauth.mjs"

CONFIG = """version: 1
spool: {home}/spool
state: {home}/state
domain: pbx.contoso.example
accounts:
  office:
    auth: microsoft
    email: {mailbox}
    oauth:
      client_id: outtray-desktop
      scope: mail openid email
      authorize_url: {provider}/auth
      token_url: {provider}/token
      device_url: {provider}/device/auth
    server: 127.0.0.1          # this and the URLs come from the preset, but for this demonstration
    port: {port}
    tls: {{ca_file: {home}/server.pem}}
tenants:
  master:
    account: office
    from: "Contoso PBX <pbx@contoso.example>"
retry: {{first: 1s, max: 1m, jitter: 0}}
log: {{file: {home}/outtray.log}}
"""


class Form(html.parser.HTMLParser):
    """The first form of a page that is not the one to give up with."""

    def __init__(self, text):
        super().__init__()
        self.action, self.fields, self.inside = None, {}, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.inside = self.action is None
            if self.inside:
                self.action = attributes.get("action", "")
        elif tag == "input" and self.inside and attributes.get("name"):
            self.fields[attributes["name"]] = attributes.get("value") or ""


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


def consent(url):
    """Signs in and consents, page by page, until the provider sends the browser elsewhere; returns where to."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay(),
                                         urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    home, data = urllib.parse.urlsplit(url).netloc, None
    while urllib.parse.urlsplit(url).netloc == home:
        try:
            with opener.open(url, data, timeout=SECONDS) as page:
                form = Form(page.read().decode())
        except urllib.error.HTTPError as answer:
            if answer.code not in (302, 303):
                raise
            url, data = urllib.parse.urljoin(url, answer.headers["Location"]), None
            continue
        filled = {**form.fields, **{name: value for name, value in (("login", MAILBOX), ("password", "any")) if name in form.fields}}
        url, data = urllib.parse.urljoin(url, form.action), urllib.parse.urlencode(filled).encode()
        print(f"    the person {'signs in as ' + MAILBOX if 'login' in filled else 'consents'}")
    return url


def wait(condition, what):
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {SECONDS} s: {what}")
        time.sleep(0.02)


def start_provider(home, port, smtp_port):
    settings = {"port": port, "smtpPort": smtp_port, "certificate": f"{home}/server.pem", "key": f"{home}/server.key",
                "lifetime": LIFETIME, "delegates": {}, "mail": str(home / "received"), "events": str(home / "events"),
                "clients": [{"client_id": "outtray-desktop", "application_type": "native", "token_endpoint_auth_method": "none",
                             "redirect_uris": ["http://localhost"], "response_types": ["code"],
                             "grant_types": ["authorization_code", "refresh_token"]}]}
    (home / "received").mkdir()
    (home / "events").touch()
    (home / "provider.json").write_text(json.dumps(settings))
    with open(home / "provider.log", "wb") as out:
        provider = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "node", str(SERVER), str(home / "provider.json")],
                                    stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def ready():
        text = (home / "provider.log").read_text()
        if provider.poll() is not None:
            raise SystemExit(f"the provider did not start:\n{text}")
        return "ready\n" in text
    wait(ready, "the provider")
    return provider


def events(home, event, **keys):
    lines = [json.loads(line) for line in (home / "events").read_text().splitlines()]
    return [line for line in lines if line["event"] == event and all(line.get(key) == value for key, value in keys.items())]


class Demo:
    def __init__(self, program, home):
        self.program, self.home, self.config = program, home, home / "outtray.yaml"

    def oauth(self, verb, *arguments):
        """Shows a command and what it says; returns its standard output."""
        shown = " ".join([verb, "office", *(f"'{argument}'" for argument in arguments)])
        print(f"$ outtray oauth {shown}" if len(shown) < 200 else f"$ outtray oauth {shown[:197]}…")
        done = subprocess.run([self.program, "oauth", "--config", str(self.config), verb, "office", *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
        print(indent(done.stderr + done.stdout), flush=True)
        if done.returncode:
            raise SystemExit(f"outtray oauth {verb} ended with {done.returncode}")
        return done.stdout

    def start(self):
        return start_agent(self.program, self.home)

    def deliver(self, name, subject):
        spool = self.home / "spool"
        drop(spool, "master", name, f"From: asterisk@localhost\nTo: alice@customer.example\nSubject: {subject}\n\nSent with a token.\n")
        wait((spool / "master" / "sent" / name).exists, f"{name} in sent/; see {self.home}/outtray.log")

    def received(self):
        """As Maildir, for show_received."""
        folder = self.home / "Maildir" / "new"
        folder.mkdir(parents=True, exist_ok=True)
        for entry in sorted((self.home / "received").glob("*.json")):
            envelope = json.loads(entry.read_text())
            (folder / entry.stem).write_bytes(f"Delivered-To: {', '.join(envelope['to'])}\r\n".encode() +
                                              entry.with_suffix(".eml").read_bytes())
        show_received(str(self.home / "Maildir"))
        logins = events(self.home, "login")
        print(f"    logins with XOAUTH2: {len(logins)}, refused: {sum(not login['right'] for login in logins)}")


def tell_log(home, seen):
    """The log lines that came since; returns how many there are now."""
    lines = (home / "outtray.log").read_text().splitlines()
    print(indent("\n".join(lines[seen:])))
    return len(lines)


def show(demo):
    home = demo.home
    heading("The configuration: an account that logs in with OAuth")
    print(indent(demo.config.read_text().replace(str(home), "/tmp/demo")))

    heading("Get Code: the page to open in any browser")
    url = demo.oauth("get-code").strip()
    heading("At the consent page (a script clicks; nobody listens where the browser is sent to in the end)")
    address = consent(url)
    heading("Get Token: the address of that last page is pasted")
    demo.oauth("get-token", address)
    demo.oauth("status")

    heading("The agent delivers a message")
    agent = demo.start()
    try:
        demo.deliver("first", "With the token that was fetched")
        seen = tell_log(home, 0)
        heading("The provider ends the token early: one refresh, and the mail goes out; nobody is asked")
        token = home / "state" / "tokens" / "office.json"
        stored = json.loads(token.read_text())
        # As if the provider had taken the access token back: another text in its place, which it does not know.
        spoilt = token.with_name(".office.spoilt")
        spoilt.touch(mode=0o600)
        spoilt.write_text(json.dumps({**stored, "access_token": "x" * len(stored["access_token"])}))
        agent.send_signal(signal.SIGTERM)
        agent.wait(SECONDS)
        spoilt.rename(token)
        agent = demo.start()
        demo.deliver("second", "After a refusal and a refresh")
        seen = tell_log(home, seen)
        heading(f"Tokens last {LIFETIME} s here; asking for a fresh one before that")
        demo.oauth("refresh")
        demo.deliver("third", "With a rotated refresh token")
        tell_log(home, seen)
    finally:
        stop_agent(agent)
    heading("What the mail server got")
    demo.received()
    refreshes = events(home, "grant.success", grant="refresh_token")
    print(f"    refreshes that the provider saw: {len(refreshes)}")
    heading("The account and the spool at the end")
    demo.oauth("status")
    print(indent(tree(home / "spool")))
    return 0 if agent.returncode == 0 and len(refreshes) == 2 else 1


def demonstrate(program, home):
    (home / "spool").mkdir()
    (home / "state").mkdir(mode=0o700)
    certificate(home)
    port, smtp_port = free_port(), free_port()
    provider = start_provider(home, port, smtp_port)
    try:
        demo = Demo(program, home)
        demo.config.write_text(CONFIG.format(home=home, mailbox=MAILBOX, provider=f"http://127.0.0.1:{port}", port=smtp_port))
        subprocess.run([program, "init", "--config", str(demo.config)], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        code = show(demo)
    finally:
        provider.kill()
        provider.wait()
    print("\nThe account keeps itself alive from here on. The real providers: docs/, outtray-oauth(8)" if code == 0
          else "\nNot everything came about as it should have.")
    return code


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="outtray-demo.") as directory:
        sys.exit(demonstrate(os.path.abspath(sys.argv[1]), pathlib.Path(directory)))
