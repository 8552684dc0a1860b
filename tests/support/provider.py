"""A scripted OAuth 2.0 provider on 127.0.0.1: authorization code with PKCE, device code, client credentials, JWT bearer,
refresh, revocation. It does what RFC 6749, 7636, 8628, 7523 and 7009 say until its script says otherwise, and it remembers
every request.

    with Provider("microsoft") as provider:
        config.account("office", **provider.account(email="pbx@contoso.example"))
        url = outtray("oauth", "get-code", "office", config=config).stdout.strip()
        back = provider.consent(url)                     # what the browser's address bar shows at the end
        outtray("oauth", "get-token", "office", back, config=config)
        provider.answer("token", error("invalid_grant"))  # the next request there gets this, once
        provider.fail("html_502", times=3)                # the next three token requests meet this fault (see FAULTS)

A secret that it ever issued or was told is in `provider.secrets`: nothing of it may stand in a log. With `clock` (a
support.clock.Clock) it ages as the agent does; check_access() is what a mail server asks it about a token.
"""

import html
import http.server
import json
import pathlib
import threading
import time
import urllib.parse

from .answers import Answer
from .endpoints import Endpoints, Grant

MAIL_SCOPE = {"google": "https://mail.google.com/", "microsoft": "https://outlook.office.com/SMTP.Send"}
CODE_LIFE_S = 600
HUGE = 100 << 20
RETRY_AFTER_S = 120

# What fail() knows by name; those of the second line change an answer that is otherwise right.
FAULTS = ("html_502", "html_200", "rate_429", "rate_429_html", "huge", "hang", "drop", "array",
          "expires_string", "expires_missing", "expires_zero", "no_refresh", "no_access", "no_id_token", "reduced_scope",
          "other_user", "odd_token", "truncated", "short")


class Request:
    def __init__(self, endpoint, form, headers):
        self.endpoint, self.form, self.headers, self.at = endpoint, form, headers, time.monotonic()
        self.answer = None  # once there is one

    def __repr__(self):
        return f"<{self.endpoint} {sorted(self.form)}>"


class Provider(Endpoints):
    """`profile` decides on what providers differ in: whether a refresh replaces the refresh token, what `scope` says, how a
    pending device answers, how long access tokens are."""

    def __init__(self, profile="microsoft", user="pbx@contoso.example", client_id="client-1", client_secret=None,
                 expires_in=3600, clock=None, rotation=None, certificate=None, service_key=None):
        """rotation: none (the refresh token stays), replace (a new one each time, the old ones go on working), strict (an old
        one that is used again ends its whole grant). certificate, service_key: PEM files that assertions are checked with;
        without them they are believed."""
        self.profile, self.user, self.client_id, self.client_secret = profile, user, client_id, client_secret
        self.expires_in, self.clock = expires_in, clock
        self.rotation = rotation or ("replace" if profile == "microsoft" else "none")
        self.certificate, self.service_key = certificate, service_key
        self.skew = 0        # seconds that its clock is ahead of everybody's
        self.delegates = {}  # a mailbox: who may send as it
        self.access_size = 2500 if profile == "microsoft" else 220  # octets of an access token
        self.page = False    # shows a consent page with a form instead of consenting at once
        self.hung = threading.Event()  # lets go what hangs
        self.faults = []     # [what, times left (None: no end), grant]
        self.requests = []
        self.secrets = set()
        if client_secret:
            self.secrets.add(client_secret)
        self.codes = {}      # code -> dict of the authorization request, with "user" and "granted"
        self.refresh = {}    # refresh token -> dict(grant, used, ended)
        self.access = {}     # access token -> dict(grant, until, revoked)
        self.devices = {}    # device code -> dict(user_code, state: pending|approved|denied, user, until)
        self.device_interval, self.device_expires_in = 5, 900
        self.revoked = []
        self._answers = {}
        self._lock = threading.RLock()
        self._server = None

    # Life

    def start(self):
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def date_time_string(self, timestamp=None):
                return super().date_time_string(provider.now() + provider.skew if timestamp is None else timestamp)

            def do_GET(self):
                provider._handle(self, b"")

            def do_POST(self):
                provider._handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def stop(self):
        self.hung.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def now(self):
        return time.time() + (self.clock.offset if self.clock else 0)

    # For the configuration

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def oauth(self, **more):
        """The keys below accounts.NAME.oauth."""
        keys = {"client_id": self.client_id, "authorize_url": f"{self.url}/authorize", "token_url": f"{self.url}/token",
                **more}
        if self.profile == "microsoft":
            keys.setdefault("device_url", f"{self.url}/device")
        else:
            keys.setdefault("revoke_url", f"{self.url}/revoke")
        return keys

    def account(self, email=None, oauth=None, **more):
        """The keys below accounts.NAME."""
        return {"auth": self.profile, "email": email or self.user, "oauth": self.oauth(**(oauth or {})), **more}

    # The script

    def answer(self, endpoint, *answers):
        """The next requests to authorize, token, device or revoke get these, one each. An answer may also be a function of the
        Request; where it returns None, the provider answers as usual."""
        with self._lock:
            self._answers.setdefault(endpoint, []).extend(answers)

    def seen(self, endpoint, grant=None):
        """The requests to an endpoint, those of one grant_type where it is given (the end of its name is enough)."""
        with self._lock:
            return [r for r in self.requests if r.endpoint == endpoint
                    and (grant is None or r.form.get("grant_type", "").endswith(grant))]

    def fail(self, what, times=1, grant=None):
        """The next `times` token requests (None: all, until heal) meet a fault: a name of FAULTS, an Answer, or a function of
        the Request as in answer(). grant: those of that grant_type only, the end of its name."""
        assert not isinstance(what, str) or what in FAULTS, what
        with self._lock:
            self.faults.append([what, times, grant])

    def heal(self):
        with self._lock:
            self.faults.clear()
            self._answers.clear()

    def count(self, grant=None, endpoint="token"):
        return len(self.seen(endpoint, grant))

    def revoke_grants(self):
        """As if everybody had withdrawn their consent."""
        with self._lock:
            for token in [*self.refresh.values(), *self.access.values()]:
                token["grant"].alive = False

    def revoke_access(self):
        """Access tokens issued so far count no more; their grants go on."""
        with self._lock:
            for token in self.access.values():
                token["revoked"] = True

    def check_access(self, user, text):
        """What a mail server asks: "" where the token logs this user in, else why not."""
        with self._lock:
            token = self.access.get(text)
            if token is None:
                return "unknown"
            if token["until"] <= self.now():
                return "expired"
            if token["revoked"] or not token["grant"].alive:
                return "revoked"
            owner, scope = token["grant"].user, token["grant"].granted.split()
        if user.lower() != owner.lower() and owner not in self.delegates.get(user, ()):
            return "another user"
        return "" if MAIL_SCOPE[self.profile] in scope or any(s.endswith("/.default") for s in scope) else "no mail scope"

    def store(self, state, account, age=0, **keys):
        """Puts the token of an authorization `age` seconds ago into STATE/tokens, as the verbs do it. Returns its path."""
        scope = MAIL_SCOPE[self.profile] + " openid email"
        with self._lock:
            body = self._issue(self.user, scope, expires_in=self.expires_in - age).json()
        if "refresh_token" not in body:
            body["refresh_token"] = self._refresh_token(Grant(self.user, scope))
        at = self.now() - age
        token = {"version": 1, "access_token": body["access_token"], "refresh_token": body["refresh_token"],
                 "scope": body["scope"], "mailbox": self.user, "flow": "authorization_code", "client_id": self.client_id,
                 "obtained_ns": int(at * 1e9), "expires_ns": int((at + self.expires_in) * 1e9), "authorized_ns": int(at * 1e9),
                 "refresh_used_ns": int(at * 1e9), "needs_login": False, **keys}
        tokens = pathlib.Path(state) / "tokens"
        tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh, path = tokens / f".{account}.fresh", tokens / f"{account}.json"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(token))
        fresh.rename(path)
        return path

    # The person in front of the browser

    def consent(self, url, user=None, granted=None, refuse=None):
        """Signs in at the consent page `url` and returns the address of the last page: the redirect URI with code and state.
        granted: the scopes ticked (default: all asked for); refuse: the error of somebody who says no."""
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query, strict_parsing=True))
        assert asked["response_type"] == "code" and asked["client_id"] == self.client_id, asked
        assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43, asked
        assert len(asked["state"]) >= 32, asked
        back = {"state": asked["state"]}
        if refuse:
            back["error"] = refuse
        else:
            code = back["code"] = self._secret("code", 400 if self.profile == "microsoft" else 60)
            with self._lock:
                self.codes[code] = {**asked, "user": user or self.user, "granted": granted or asked["scope"],
                                    "until": self.now() + CODE_LIFE_S}
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return asked["redirect_uri"] + joint + urllib.parse.urlencode(back)

    def _consent_page(self, asked):
        hidden = "".join(f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
                         for name, value in asked.items())
        return Answer(200, f"<form method=post action=/consent>{hidden}<input name=user value=''>"
                      "<input type=submit name=choice value=Allow></form>", {"Content-Type": "text/html; charset=utf-8"})

    def _consent(self, form):
        asked = {name: value for name, value in form.items() if name not in ("user", "choice")}
        url = f"{self.url}/authorize?{urllib.parse.urlencode(asked)}"
        return Answer(302, "", {"Location": self.consent(url, user=form.get("user") or None)})

    def approve_device(self, user=None, deny=False):
        """Enters the code of the newest device authorization."""
        with self._lock:
            device = list(self.devices.values())[-1]
            device.update(state="denied" if deny else "approved", user=user or self.user)

    # Endpoints

    def _handle(self, handler, body):
        path, _, query = handler.path.partition("?")
        endpoint = path.strip("/").split("/")[-1]
        form = dict(urllib.parse.parse_qsl(body.decode() if body else query, keep_blank_values=True))
        request = Request(endpoint, form, dict(handler.headers))
        with self._lock:
            self.requests.append(request)
            for name in ("code", "refresh_token", "client_secret", "code_verifier", "client_assertion", "assertion", "token",
                         "device_code"):
                if len(form.get(name, "")) >= 8:
                    self.secrets.add(form[name])
            script = self._answers.get(endpoint, [])
            answer = script.pop(0) if script else None
            fault = self._fault(request) if answer is None and endpoint == "token" else None
        if callable(answer):
            answer = answer(request)
        if answer is None and fault is not None:
            answer = self._instead(fault, request)
        if answer is None:
            with self._lock:
                answer = getattr(self, f"_{endpoint}", self._unknown)(form)
            answer = self._altered(fault, answer) if isinstance(fault, str) and answer.status == 200 else answer
        if answer.wait is not None:
            answer.wait.wait(60)
        request.answer = answer
        self._send(handler, answer)

    def _fault(self, request):
        for fault in self.faults:
            if fault[1] != 0 and request.form.get("grant_type", "").endswith(fault[2] or ""):
                fault[1] = fault[1] and fault[1] - 1
                return fault[0]
        return None

    def _instead(self, fault, request):
        """The answer of a fault that leaves the endpoint alone; None where the request is served."""
        if callable(fault):
            return fault(request)
        page = {"Content-Type": "text/html"}
        retry = {"Retry-After": str(RETRY_AFTER_S)}
        if isinstance(fault, Answer):
            return fault
        if fault == "hang":
            self.hung.wait()
        return {"html_502": Answer(502, "<html><h1>502 Bad Gateway</h1></html>", page),
                "html_200": Answer(200, "<html>Sign in to the guest network</html>", page),
                "rate_429": Answer(429, {"error": "rate_limit_exceeded"}, retry),
                "rate_429_html": Answer(429, "<html>slow down</html>", {**page, **retry}),
                "huge": Answer(200, _huge(), {"Content-Type": "application/json", "Content-Length": str(HUGE)}),
                "hang": Answer(0), "drop": Answer(0)}.get(fault)

    def _altered(self, fault, answer):
        body = answer.json()
        without = {"no_refresh": "refresh_token", "no_access": "access_token", "no_id_token": "id_token"}
        body.pop(without.get(fault), None)
        if fault == "expires_string":
            body["expires_in"] = str(body["expires_in"])
        elif fault == "expires_missing":
            del body["expires_in"]
        elif fault == "expires_zero":
            body["expires_in"] = 0
        elif fault == "reduced_scope":
            body["scope"] = "openid email"
        elif fault == "other_user":
            body["id_token"] = self.id_token("somebody.else@contoso.example")
        elif fault == "odd_token":
            body["access_token"] = "two words\r\n" + body["access_token"]
        elif fault == "array":
            body = [body]
        changed = Answer(200, body)
        if fault in ("truncated", "short"):
            if fault == "short":  # fewer octets than promised
                changed.headers["Content-Length"] = str(len(changed.body))
            changed.body = changed.body[:len(changed.body) // 2]
        return changed

    @staticmethod
    def _send(handler, answer):
        handler.close_connection = True
        if answer.status == 0:
            return
        whole = isinstance(answer.body, bytes)
        try:
            handler.send_response(answer.status)
            size = {"Content-Length": str(len(answer.body))} if whole else {}
            for name, value in {**size, "Cache-Control": "no-store", **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            for part in [answer.body] if whole else answer.body:
                handler.wfile.write(part)
        except OSError:
            pass  # the client went away; that is its right

    @staticmethod
    def _unknown(_):
        return Answer(404, "<html>nothing here</html>", {"Content-Type": "text/html"})


def _huge():
    """A JSON object of HUGE octets, in parts."""
    head, tail = b'{"access_token": "', b'", "expires_in": 3600}'
    yield head
    left, part = HUGE - len(head) - len(tail), b"a" * 65536
    while left > 0:
        yield part[:left]
        left -= min(left, len(part))
    yield tail
