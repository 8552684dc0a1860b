"""A scripted OAuth provider on 127.0.0.1 with the manners of Google or Microsoft, and with every fault they have.

    with Provider("microsoft", mailbox="pbx@contoso.example") as provider:
        config.account("office", auth="microsoft", email="pbx@contoso.example", oauth=provider.oauth())
        provider.fail("html_502", times=2)          # the next two token requests
        pasted = provider.consent(url)               # clicks through the consent page; the URL it redirects to
        assert provider.count("refresh_token") == 1

What it issued and what it was sent is all there: `access` and `refresh` (by text), `requests`, `secrets` (every text that
must never be seen in a log). It takes its time from `clock` (a support.clock.Clock), so that it ages with the agent.
"""

import base64
import dataclasses
import hashlib
import html
import http.server
import json
import pathlib
import re
import secrets
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

MAIL_SCOPE = {"google": "https://mail.google.com/", "microsoft": "https://outlook.office.com/SMTP.Send"}
CLIENT = {"google": "4711-abc.apps.googleusercontent.example", "microsoft": "11111111-2222-3333-4444-555555555555"}
GRANT_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CODE_LIFE_S = 600
DEVICE_LIFE_S = 900
HUGE = 100 << 20

# AADSTS number: (error, suberror)
AADSTS = {
    50173: ("invalid_grant", ""), 700082: ("invalid_grant", ""), 70043: ("invalid_grant", "bad_token"),
    70000: ("invalid_grant", ""), 70008: ("invalid_grant", ""), 54005: ("invalid_grant", ""),
    50076: ("interaction_required", "basic_action"), 50078: ("interaction_required", "basic_action"),
    50079: ("interaction_required", "basic_action"), 65001: ("invalid_grant", "consent_required"),
    53003: ("interaction_required", "message_only"), 7000215: ("invalid_client", ""), 7000222: ("invalid_client", ""),
    700016: ("unauthorized_client", ""), 700025: ("invalid_client", ""), 90002: ("invalid_request", ""),
    50194: ("invalid_request", ""), 50196: ("invalid_grant", ""), 9001023: ("invalid_request", ""),
    90006: ("temporarily_unavailable", ""), 50033: ("temporarily_unavailable", ""), 70011: ("invalid_scope", ""),
    501481: ("invalid_grant", ""), 70016: ("authorization_pending", ""), 700027: ("invalid_client", ""),
}


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclasses.dataclass
class Grant:
    """What one consent gave: every token of it ends with it."""
    user: str
    scope: str
    alive: bool = True


@dataclasses.dataclass
class Access:
    grant: Grant
    mailbox: str
    expires: float
    revoked: bool = False


@dataclasses.dataclass
class Refresh:
    grant: Grant
    used: int = 0
    ended: bool = False  # replaced, and the replacement made it invalid


@dataclasses.dataclass
class Request:
    path: str
    form: dict
    at: float           # by the provider's clock
    status: int = 0     # of the answer; 0: none was given
    answer: object = None

    @property
    def grant_type(self):
        return self.form.get("grant_type", "")


class Refusal(Exception):
    def __init__(self, error, description="", code=0, status=400, subtype=""):
        super().__init__(error)
        self.error, self.description, self.code, self.status, self.subtype = error, description, code, status, subtype


def aadsts(code):
    """Microsoft's refusal with that number."""
    error, suberror = AADSTS[code]
    status = 401 if error == "invalid_client" else 503 if error == "temporarily_unavailable" else 400
    return Refusal(error, "scripted refusal", code, status, suberror)


class Fault:
    """What goes wrong with one kind of token request: a name of FAULTS, a Refusal, or a callable(provider, request) that
    returns None (go on), a Refusal, or (status, headers, body)."""

    def __init__(self, what, times, grant):
        self.what, self.left, self.grant = what, times, grant


class Provider:
    def __init__(self, profile="google", clock=None, mailbox="pbx@contoso.example", client_id=None, client_secret=None,
                 lifetime=3600, rotation=None, token_size=None, certificate=None, service_key=None, port=0):
        """rotation: none (the same refresh token stays), replace (a new one each time, old ones go on working), strict (an
        old one ends its whole grant). client_secret None: a public client for Microsoft, a made-up secret for Google."""
        assert profile in MAIL_SCOPE
        self.profile, self.clock, self.mailbox, self.lifetime = profile, clock, mailbox, lifetime
        self.client_id = client_id or CLIENT[profile]
        if client_secret is None and profile == "google":
            client_secret = "GOCSPX-" + secrets.token_urlsafe(18)
        self.client_secret = client_secret
        self.rotation = rotation or {"google": "none", "microsoft": "replace"}[profile]
        self.token_size = token_size or {"google": 220, "microsoft": 2500}[profile]
        self.certificate, self.service_key = certificate, service_key  # PEM files: what assertions are checked with
        self.skew = 0                # seconds its clock is ahead of the real one (Date, iat, exp)
        self.interval = 1            # of the device flow
        self.delegates = {}          # mailbox: who may send as it
        self.codes, self.devices, self.refresh, self.access = {}, {}, {}, {}
        self.requests, self.faults, self.secrets = [], [], set()
        self.lock = threading.RLock()
        self.release = threading.Event()  # what hangs is let go by it
        self.connections = 0
        if self.client_secret:
            self.secrets.add(self.client_secret)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    # Life

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()

    def now(self):
        return time.time() + (self.clock.offset if self.clock else 0)

    # What an account needs

    def oauth(self, directory=None, **keys):
        """The `oauth` keys of an account. directory: where the client's secret is put, mode 0600."""
        found = {"client_id": self.client_id, "authorize_url": f"{self.url}/authorize", "token_url": f"{self.url}/token",
                 "device_url": f"{self.url}/devicecode", "revoke_url": f"{self.url}/revoke"}
        if self.profile == "google":
            del found["device_url"]
        if self.client_secret:
            assert directory is not None, "this client has a secret: say where its file shall be"
            path = pathlib.Path(directory) / f"client-{self.port}.secret"
            path.touch(mode=0o600)
            path.write_text(self.client_secret + "\n")
            found["client_secret_file"] = str(path)
        found.update(keys)
        return {key: value for key, value in found.items() if value is not None}

    # Scripting

    def fail(self, what, times=1, grant=None):
        """The next `times` token requests (of that grant_type) meet a fault; None: all of them until heal()."""
        with self.lock:
            self.faults.append(Fault(what, times, grant))

    def heal(self):
        with self.lock:
            self.faults.clear()

    def count(self, grant_type=None, path="/token"):
        """How many requests came."""
        with self.lock:
            return sum(1 for r in self.requests if r.path == path and grant_type in (None, r.grant_type))

    def revoke_grants(self):
        """As if the user had withdrawn every consent."""
        with self.lock:
            for token in self.refresh.values():
                token.grant.alive = False

    def revoke_access(self):
        """Access tokens issued so far count no more; their grants go on."""
        with self.lock:
            for token in self.access.values():
                token.revoked = True

    def check_access(self, user, text):
        """What a mail server asks: "" where the token logs this user in, else why not."""
        with self.lock:
            token = self.access.get(text)
        if token is None:
            return "unknown"
        if token.expires <= self.now():
            return "expired"
        if token.revoked or not token.grant.alive:
            return "revoked"
        if user.lower() not in [token.mailbox.lower(), *self.delegates_of(token.mailbox)]:
            return "another user"
        return "" if MAIL_SCOPE[self.profile] in token.grant.scope or ".default" in token.grant.scope else "scope"

    def delegates_of(self, user):
        return [box.lower() for box, who in self.delegates.items() if user.lower() in [name.lower() for name in who]]

    def grant(self, user=None, scope=None, lifetime=None):
        """A grant without any request: (access token, refresh token), as if somebody had authorized it before."""
        with self.lock:
            grant = Grant(user or self.mailbox, scope or self.default_scope())
            access = self._issue_access(grant, grant.user, lifetime)
            return access, self._issue_refresh(grant)

    def store(self, state, account, age=0, lifetime=None, **keys):
        """Puts such a grant into STATE/tokens/ACCOUNT.json as the verbs do. age: seconds since it was issued. Returns the
        path."""
        lifetime = self.lifetime if lifetime is None else lifetime
        access, refresh = self.grant(lifetime=lifetime - age)
        at = int((self.now() - age) * 1e9)
        token = {"version": 1, "access_token": access, "refresh_token": refresh, "scope": self.default_scope(),
                 "mailbox": self.mailbox, "flow": "authorization_code", "client_id": self.client_id, "obtained_ns": at,
                 "expires_ns": at + int(lifetime * 1e9), "authorized_ns": at, "refresh_used_ns": at, "needs_login": False}
        token.update(keys)
        tokens = pathlib.Path(state) / "tokens"
        tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = tokens / f".{account}.fresh"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps({key: value for key, value in token.items() if value is not None}))
        path = tokens / f"{account}.json"
        fresh.rename(path)
        return path

    def default_scope(self):
        return MAIL_SCOPE[self.profile] + (" offline_access" if self.profile == "microsoft" else "") + " openid email"

    # The person at the browser

    def consent(self, url, user=None, allow=True, untick=(), follow=False):
        """Opens the consent page, chooses a user, unticks scopes, and clicks. Returns the URL it is redirected to (and opens
        it where `follow`: then (URL, status, page))."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
        with opener.open(url, timeout=20) as page:
            text = page.read().decode()
        hidden = {html.unescape(name): html.unescape(value)
                  for name, value in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', text)}
        scope = [html.unescape(value) for value in re.findall(r'type="checkbox" name="scope" value="([^"]*)"', text)]
        form = [*hidden.items(), ("user", user or self.mailbox), ("action", "allow" if allow else "deny")]
        form += [("scope", value) for value in scope if value not in untick]
        try:
            opener.open(f"{self.url}/consent", urllib.parse.urlencode(form).encode(), timeout=20)
            raise AssertionError("the consent page did not redirect")
        except urllib.error.HTTPError as answer:
            assert answer.code == 302, (answer.code, answer.read())
            target = answer.headers["Location"]
        if not follow:
            return target
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(target, timeout=20) as page:
            return target, page.status, page.read().decode()

    def approve(self, user_code, user=None, allow=True):
        """The person enters the code of the device flow."""
        with self.lock:
            device = next(d for d in self.devices.values() if d["user_code"] == user_code)
            device["user"] = (user or self.mailbox) if allow else ""

    # Answering

    def _handler(self):
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def log_message(self, *arguments):
                pass

            def date_time_string(self, timestamp=None):
                return super().date_time_string(provider.now() + provider.skew if timestamp is None else timestamp)

            def do_GET(self):
                provider._get(self)

            def do_POST(self):
                provider._post(self)

        return Handler

    def _get(self, handler):
        parts = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        with self.lock:
            self.requests.append(Request(parts.path, query, self.now()))
            self.secrets.update(query[key] for key in ("state",) if key in query)
        if parts.path != "/authorize":
            return self._send(handler, 404, {"Content-Type": "text/plain"}, b"nothing here")
        problem = self._authorize_problem(query)
        if problem:
            return self._send(handler, 400, {"Content-Type": "text/html"}, f"<h1>Error 400: {problem}</h1>".encode())
        field = '<input type="hidden" name="{}" value="{}">'
        box = '<label><input type="checkbox" name="scope" value="{0}" checked>{0}</label>'
        page = "<form method=post action=/consent>" + \
            "".join(field.format(html.escape(k), html.escape(v)) for k, v in query.items() if k != "scope") + \
            "".join(box.format(html.escape(scope)) for scope in query["scope"].split()) + \
            f'<input name=user value="{html.escape(query.get("login_hint", ""))}">' \
            "<button name=action value=allow>Allow</button><button name=action value=deny>Deny</button></form>"
        return self._send(handler, 200, {"Content-Type": "text/html; charset=utf-8"}, page.encode())

    def _authorize_problem(self, query):
        if query.get("client_id") != self.client_id:
            return "invalid_client"
        if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256" or not query.get("state"):
            return "invalid_request"
        if not re.fullmatch(r"[A-Za-z0-9_-]{43}", query.get("code_challenge", "")):
            return "invalid_request: code_challenge"
        redirect = urllib.parse.urlsplit(query.get("redirect_uri", ""))
        native = query.get("redirect_uri") == "https://login.microsoftonline.com/common/oauth2/nativeclient"
        host = {"google": "127.0.0.1", "microsoft": "localhost"}[self.profile]
        if not (redirect.scheme == "http" and redirect.hostname == host) and not (native and self.profile == "microsoft"):
            return "redirect_uri_mismatch"
        if MAIL_SCOPE[self.profile] not in query.get("scope", "").split():
            return "invalid_scope"
        return ""

    def _post(self, handler):
        length = int(handler.headers.get("Content-Length", 0))
        pairs = urllib.parse.parse_qsl(handler.rfile.read(length).decode(), keep_blank_values=True)
        form = dict(pairs)
        form["scope"] = " ".join(value for key, value in pairs if key == "scope")
        path = urllib.parse.urlsplit(handler.path).path
        request = Request(path, form, self.now())
        with self.lock:
            self.requests.append(request)
            self._remember(path, form)
        answers = {"/token": self._token, "/devicecode": self._device, "/consent": self._consent, "/revoke": self._revoke}
        if path not in answers:
            return self._send(handler, 404, {"Content-Type": "text/plain"}, b"nothing here")
        try:
            answer = answers[path](request)
        except Refusal as refusal:
            answer = self._refuse(refusal)
        except OSError as problem:
            answer = 500, {"Content-Type": "text/plain"}, str(problem).encode()
        if answer is None:  # the connection ends without a word
            handler.close_connection = True
            return None
        request.status, request.answer = answer[0], answer[2]
        return self._send(handler, *answer)

    def _remember(self, path, form):
        names = ("code", "code_verifier", "client_secret", "client_assertion", "assertion", "refresh_token", "device_code",
                 "token") if path != "/consent" else ()
        self.secrets.update(form[name] for name in names if form.get(name))

    def _send(self, handler, status, headers, body):
        try:
            handler.send_response(status)
            size = headers.get("Content-Length", len(body) if isinstance(body, bytes) else None)
            for name, value in {**headers, "Content-Length": size, "Cache-Control": "no-store"}.items():
                handler.send_header(name, value)
            if int(size) != len(body if isinstance(body, bytes) else b""):
                handler.close_connection = True
            handler.end_headers()
            for part in [body] if isinstance(body, bytes) else body:
                handler.wfile.write(part)
        except OSError:
            handler.close_connection = True  # the client did not wait

    def _json(self, value, status=200, **headers):
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        return status, {"Content-Type": "application/json; charset=utf-8", **headers}, json.dumps(value).encode()

    def _refuse(self, refusal):
        body = {"error": refusal.error, "error_description": refusal.description or refusal.error}
        if self.profile == "google":
            if refusal.subtype:
                body["error_subtype"] = refusal.subtype
        else:
            code = refusal.code or next((c for c, (error, _) in AADSTS.items() if error == refusal.error), 90000)
            body["error_description"] = f"AADSTS{code}: {body['error_description']} Trace ID: 0001 Correlation ID: 0002 " \
                "Timestamp: 2026-11-23 12:00:00Z"
            body.update(error_codes=[code], timestamp="2026-11-23 12:00:00Z", trace_id="0001", correlation_id="0002",
                        error_uri=f"{self.url}/error?code={code}")
            if refusal.subtype:
                body["suberror"] = refusal.subtype
        return self._json(body, refusal.status)

    # Faults

    def _fault(self, request):
        with self.lock:
            for fault in self.faults:
                if fault.left != 0 and fault.grant in (None, request.grant_type):
                    if fault.left is not None:
                        fault.left -= 1
                    return fault.what
        return None

    def _before(self, what, request):
        """Faults instead of an answer: raises, or returns what to send, or () to go on."""
        if isinstance(what, Refusal):
            raise what
        if callable(what):
            found = what(self, request)
            if isinstance(found, Refusal):
                raise found
            return () if found is None else found
        if what == "html_502":
            return 502, {"Content-Type": "text/html"}, b"<html><h1>502 Bad Gateway</h1></html>"
        if what == "rate_429":
            return self._json({"error": "rate_limited"}, 429, Retry_After="120") if self.profile == "google" else \
                (429, {"Content-Type": "text/plain", "Retry-After": "120"}, b"slow down")
        if what == "html_200":
            return 200, {"Content-Type": "text/html"}, b"<html>Please log in to the guest network</html>"
        if what == "huge":
            return 200, {"Content-Type": "application/json", "Content-Length": HUGE}, _huge()
        if what == "hang":
            self.release.wait()
            return None
        if what == "drop":
            return None
        return ()

    def _after(self, what, answer):
        """Faults of an answer that is otherwise right."""
        if what == "expires_string":
            answer["expires_in"] = str(answer["expires_in"])
        elif what == "expires_missing":
            answer.pop("expires_in", None)
        elif what == "expires_zero":
            answer["expires_in"] = 0
        elif what == "no_refresh":
            answer.pop("refresh_token", None)
        elif what == "no_access":
            answer.pop("access_token")
        elif what == "no_id_token":
            answer.pop("id_token", None)
        elif what == "reduced_scope":
            answer["scope"] = "openid email"
        elif what == "other_user":
            answer["id_token"] = self._id_token("somebody.else@contoso.example")
        elif what == "odd_token":
            answer["access_token"] = "two words\r\n" + answer["access_token"]
        elif what == "array":
            return self._json([answer])
        elif what in ("truncated", "short"):
            status, headers, body = self._json(answer)
            cut = body[:len(body) // 2]
            if what == "short":  # fewer octets than promised
                headers["Content-Length"] = len(body)
            return status, headers, cut
        return self._json(answer)

    # Endpoints

    def _consent(self, request):
        form = request.form
        target = form["redirect_uri"] + ("&" if "?" in form["redirect_uri"] else "?")
        if form["action"] != "allow":
            query = {"error": "access_denied", "state": form["state"]}
        else:
            code = ("4/0A" if self.profile == "google" else "1.AX") + secrets.token_urlsafe(40)
            with self.lock:
                self.secrets.add(code)
                self.codes[code] = {**form, "expires": self.now() + CODE_LIFE_S}
            query = {"code": code, "state": form["state"]}
            if self.profile == "google":
                query["scope"] = form["scope"]
            else:
                query["session_state"] = "003-session"
        return 302, {"Location": target + urllib.parse.urlencode(query)}, b""

    def _client(self, form):
        if form.get("client_id") != self.client_id:
            raise Refusal("invalid_client", "The OAuth client was not found.", 700016, 401)
        if form.get("client_assertion"):
            self._check_client_assertion(form)
        elif self.certificate:
            raise Refusal("invalid_client", "an assertion or a secret is missing", 7000218, 401)
        elif form.get("client_secret") and not self.client_secret:
            raise Refusal("invalid_client", "Client is public so neither 'client_assertion' nor 'client_secret' should be "
                          "presented.", 700025, 401)
        elif (form.get("client_secret") or None) != self.client_secret:
            raise Refusal("invalid_client", "Invalid client secret provided.", 7000215, 401)

    def _token(self, request):
        what = self._fault(request)
        answer = self._before(what, request) if what is not None else ()
        if answer != ():
            return answer
        grants = {"authorization_code": self._by_code, "refresh_token": self._by_refresh, GRANT_DEVICE: self._by_device,
                  "client_credentials": self._by_client, GRANT_JWT: self._by_service}
        if request.grant_type not in grants:
            raise Refusal("unsupported_grant_type", request.grant_type)
        with self.lock:
            if request.grant_type != GRANT_JWT:
                self._client(request.form)
            answer = grants[request.grant_type](request.form)
        return self._after(what, answer)

    def _by_code(self, form):
        found = self.codes.pop(form.get("code", ""), None)
        if found is None:
            raise Refusal("invalid_grant", "Malformed auth code.", 70000)
        if found["expires"] <= self.now():
            raise Refusal("invalid_grant", "The code has expired.", 70008)
        if found["redirect_uri"] != form.get("redirect_uri"):
            raise Refusal("redirect_uri_mismatch" if self.profile == "google" else "invalid_grant", "redirect_uri", 50011)
        if b64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest()) != found["code_challenge"]:
            raise Refusal("invalid_grant", "Invalid code verifier.", 501481)
        offline = found.get("access_type") == "offline" if self.profile == "google" else "offline_access" in found["scope"]
        return self._interactive(found["user"], found["scope"], offline)

    def _interactive(self, user, scope, offline=True):
        grant = Grant(user, scope)
        return self._answer(grant, refresh=self._issue_refresh(grant) if offline else None)

    def _answer(self, grant, refresh=None, id_token=True):
        granted = grant.scope.replace(" email", " https://www.googleapis.com/auth/userinfo.email") \
            if self.profile == "google" else " ".join(s for s in grant.scope.split() if s != "offline_access")
        answer = {"access_token": self._issue_access(grant, grant.user), "expires_in": int(self.lifetime),
                  "token_type": "Bearer", "scope": granted}
        if self.profile == "microsoft":
            answer["ext_expires_in"] = int(self.lifetime)
        if refresh:
            answer["refresh_token"] = refresh
        if id_token and "openid" in grant.scope.split():
            answer["id_token"] = self._id_token(grant.user)
        return answer

    def _by_refresh(self, form):
        token = self.refresh.get(form.get("refresh_token", ""))
        if token is None or not token.grant.alive:
            raise Refusal("invalid_grant", "Token has been expired or revoked.", 70000)
        if token.ended:  # used again: somebody has stolen one of the two
            token.grant.alive = False
            raise Refusal("invalid_grant", "The refresh token was used already.", 70000)
        token.used += 1
        if self.rotation == "none":
            return self._answer(token.grant)
        token.ended = self.rotation == "strict"
        return self._answer(token.grant, self._issue_refresh(token.grant))

    def _by_device(self, form):
        device = self.devices.get(form.get("device_code", ""))
        if device is None:
            raise Refusal("bad_verification_code", code=501491)
        if device["expires"] <= self.now():
            raise Refusal("expired_token", "AADSTS70020", 70020)
        if device["user"] is None:
            # Google answers 428 here, which the RFC does not know.
            raise Refusal("authorization_pending", "Precondition Required", 70016, 428 if self.profile == "google" else 400)
        if device["user"] == "":
            raise Refusal("authorization_declined" if self.profile == "microsoft" else "access_denied", code=90090)
        del self.devices[form["device_code"]]
        return self._interactive(device["user"], device["scope"])

    def _by_client(self, form):
        if not (self.client_secret or self.certificate) or self.profile != "microsoft":
            raise Refusal("unauthorized_client", code=7000218)
        if not form.get("scope", "").endswith("/.default"):
            raise Refusal("invalid_scope", "The scope must end in /.default", 70011)
        answer = self._answer(Grant(self.mailbox, form["scope"]), id_token=False)
        del answer["scope"]
        return answer

    def _by_service(self, form):
        header, claims = self._check_signature(form.get("assertion", ""), self.service_key, "RS256")
        now = self.now() + self.skew
        if claims.get("aud") != f"{self.url}/token" or not claims["iat"] - 60 <= now < claims["exp"] <= claims["iat"] + 3600:
            raise Refusal("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)")
        if not claims.get("sub") or claims.get("scope") != MAIL_SCOPE["google"]:
            raise Refusal("unauthorized_client", "Client is unauthorized to retrieve access tokens using this method", 0, 401)
        answer = self._answer(Grant(claims["sub"], claims["scope"]), id_token=False)
        return {key: answer[key] for key in ("access_token", "expires_in", "token_type")}

    def _check_client_assertion(self, form):
        if form.get("client_assertion_type") != ASSERTION or not self.certificate:
            raise aadsts(700027)
        header, claims = self._check_signature(form["client_assertion"], self.certificate, "PS256")
        pem = pathlib.Path(self.certificate).read_text()
        der = base64.b64decode("".join(re.search(r"BEGIN CERTIFICATE-----(.*?)-----END", pem, re.S)[1].split()))
        now = self.now() + self.skew
        right = header.get("x5t#S256") == b64url(hashlib.sha256(der).digest()) and claims.get("jti") and \
            claims.get("iss") == claims.get("sub") == self.client_id and claims.get("aud") == f"{self.url}/token" and \
            claims.get("nbf", 0) <= now + 1 and now < claims["exp"] <= now + 601
        if not right:
            raise aadsts(700027)

    def _check_signature(self, jwt, pem, algorithm):
        """(header, claims) of a JWT whose signature openssl(1) finds right."""
        parts = jwt.split(".")
        if len(parts) != 3:
            raise Refusal("invalid_grant", "no JWT")
        header, claims = (json.loads(unb64url(part)) for part in parts[:2])
        if header.get("alg") != algorithm:
            raise Refusal("invalid_grant", "another algorithm")
        with tempfile.TemporaryDirectory() as work:
            signature, public = pathlib.Path(work, "signature"), pathlib.Path(work, "public.pem")
            signature.write_bytes(unb64url(parts[2]))
            kind = ["x509", "-pubkey", "-noout"] if "CERTIFICATE" in pathlib.Path(pem).read_text() else ["pkey", "-pubout"]
            public.write_bytes(subprocess.run(["openssl", *kind, "-in", str(pem)], check=True, capture_output=True).stdout)
            pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if algorithm[0] == "P" else []
            done = subprocess.run(["openssl", "dgst", "-sha256", *pss, "-verify", str(public), "-signature", str(signature)],
                                  input=f"{parts[0]}.{parts[1]}".encode(), capture_output=True)
        if done.returncode:
            raise Refusal("invalid_grant", "Invalid JWT Signature.", 700027)
        return header, claims

    def _device(self, request):
        self_client = request.form.get("client_id") == self.client_id
        if not self_client:
            raise aadsts(700016)
        code = "DAQ" + secrets.token_urlsafe(60)
        letters = "BCDFGHJKLMNPQRSTVWXZ"
        user_code = "".join(secrets.choice(letters) for _ in range(9))
        with self.lock:
            self.secrets.add(code)
            self.devices[code] = {"user_code": user_code, "user": None, "scope": request.form.get("scope", ""),
                                  "expires": self.now() + DEVICE_LIFE_S}
        uri = "verification_url" if self.profile == "google" else "verification_uri"
        return self._json({"device_code": code, "user_code": user_code, uri: f"{self.url}/device", "expires_in": DEVICE_LIFE_S,
                           "interval": self.interval, "message": f"open {self.url}/device and enter {user_code}"})

    def _revoke(self, request):
        text = request.form.get("token", "")
        with self.lock:
            token = self.refresh.get(text) or self.access.get(text)
            if token is None:
                raise Refusal("invalid_token", "Token is not revocable.")
            token.grant.alive = False
        return self._json({})

    # Tokens

    def _issue_access(self, grant, mailbox, lifetime=None):
        head = "ya29.a0" if self.profile == "google" else "EwBIA8l6BAAU"
        text = (head + secrets.token_urlsafe(self.token_size))[:self.token_size]
        self.access[text] = Access(grant, mailbox, self.now() + self.skew + (self.lifetime if lifetime is None else lifetime))
        self.secrets.add(text)
        return text

    def _issue_refresh(self, grant):
        text = ("1//0" if self.profile == "google" else "M.C5") + secrets.token_urlsafe(80 if self.profile == "google" else 800)
        self.refresh[text] = Refresh(grant)
        self.secrets.add(text)
        return text

    def _id_token(self, user):
        now = int(self.now() + self.skew)
        claims = {"iss": self.url, "aud": self.client_id, "sub": hashlib.sha256(user.encode()).hexdigest()[:20], "iat": now,
                  "exp": now + 3600}
        if self.profile == "google":
            claims.update(email=user, email_verified=True)
        else:
            claims.update(preferred_username=user, name="PBX")
        parts = [b64url(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT", "kid": "1"}, claims)]
        return ".".join(parts + [b64url(secrets.token_bytes(256))])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


def _huge():
    """A JSON object of HUGE octets, in parts."""
    head, tail = b'{"access_token": "', b'", "expires_in": 3600}'
    yield head
    left, part = HUGE - len(head) - len(tail), b"a" * 65536
    while left > 0:
        yield part[:left]
        left -= len(part)
    yield tail
