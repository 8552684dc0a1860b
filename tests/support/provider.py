"""A scripted OAuth 2.0 provider on 127.0.0.1: authorization code with PKCE, device code, client credentials, JWT bearer,
refresh, revocation. It does what RFC 6749, 7636, 8628, 7523 and 7009 say until its script says otherwise, and it remembers
every request.

    with Provider("microsoft") as provider:
        config.account("office", **provider.account(email="pbx@contoso.example"))
        url = outtray("oauth", "get-code", "office", config=config).stdout.strip()
        back = provider.consent(url)                     # what the browser's address bar shows at the end
        outtray("oauth", "get-token", "office", back, config=config)
        provider.answer("token", error("invalid_grant"))  # the next request there gets this, once

A secret that it ever issued or was told is in `provider.secrets`: nothing of it may stand in a log.
"""

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
import urllib.parse

MAIL_SCOPE = {"google": "https://mail.google.com/", "microsoft": "https://outlook.office.com/SMTP.Send"}
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class Answer:
    """status, body (a dict is JSON) and headers; `wait` is a threading.Event that holds it back."""

    def __init__(self, status=200, body=None, headers=None, wait=None):
        self.status, self.headers, self.wait = status, dict(headers or {}), wait
        if isinstance(body, (dict, list)):
            self.headers.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        self.body = body.encode() if isinstance(body, str) else body or b""


def error(name, description=None, status=400, codes=None, **more):
    """An error as token endpoints answer it; codes are Microsoft's AADSTS numbers."""
    body = {"error": name, **more}
    if codes:
        body["error_codes"] = list(codes)
    if description is not None:
        body["error_description"] = description
    return Answer(status, body)


class Request:
    def __init__(self, endpoint, form, headers):
        self.endpoint, self.form, self.headers, self.at = endpoint, form, headers, time.monotonic()

    def __repr__(self):
        return f"<{self.endpoint} {sorted(self.form)}>"


def b64url(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).decode().rstrip("=")


def jwt_claims(token):
    """The claims of a JWT, its signature not looked at."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class Provider:
    """`profile` decides on what providers differ in: whether a refresh replaces the refresh token, what `scope` says, how a
    pending device answers, how long access tokens are."""

    def __init__(self, profile="microsoft", user="pbx@contoso.example", client_id="client-1", client_secret=None,
                 expires_in=3600):
        self.profile, self.user, self.client_id, self.client_secret = profile, user, client_id, client_secret
        self.expires_in = expires_in
        self.requests = []
        self.secrets = set()
        self.codes = {}      # code -> dict of the authorization request, with "user" and "granted"
        self.refresh = {}    # refresh token -> dict(user, granted)
        self.access = {}     # access token -> dict(user, granted, until)
        self.devices = {}    # device code -> dict(user_code, state: pending|approved|denied, user)
        self.device_interval, self.device_expires_in = 5, 900
        self.rotates = profile == "microsoft"
        self.revoked = []
        self._answers = {}
        self._lock = threading.RLock()
        self._server = None

    # Life

    def start(self):
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                provider._handle(self, b"")

            def do_POST(self):
                provider._handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def stop(self):
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

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
                self.codes[code] = {**asked, "user": user or self.user, "granted": granted or asked["scope"]}
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return asked["redirect_uri"] + joint + urllib.parse.urlencode(back)

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
        if callable(answer):
            answer = answer(request)
        if answer is None:
            with self._lock:
                answer = getattr(self, f"_{endpoint}", self._unknown)(form)
        if answer.wait is not None:
            answer.wait.wait(60)
        self._send(handler, answer)

    @staticmethod
    def _send(handler, answer):
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), "Cache-Control": "no-store", **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(answer.body)
        except OSError:
            pass  # the client went away; that is its right
        handler.close_connection = True

    @staticmethod
    def _unknown(_):
        return Answer(404, "<html>nothing here</html>", {"Content-Type": "text/html"})

    def _secret(self, kind, length):
        text = f"{kind}.{secrets.token_urlsafe(length)}"[:length]
        self.secrets.add(text)
        return text

    def _authorize(self, form):
        return Answer(302, "", {"Location": self.consent(f"{self.url}/authorize?{urllib.parse.urlencode(form)}")})

    def _client_problem(self, form):
        if form.get("client_id") != self.client_id:
            return error("invalid_client", "no such client", 401)
        if self.client_secret is not None and "client_assertion" not in form and form.get("client_secret") != self.client_secret:
            return error("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401, [7000215])
        if self.client_secret is None and "client_secret" in form:
            return error("invalid_client", "AADSTS700025: Client is public.", 401, [700025])
        return None

    def _token(self, form):
        grant = form.get("grant_type")
        if grant == JWT_BEARER:
            claims = jwt_claims(form["assertion"])
            return self._issue(claims["sub"], claims["scope"], refresh=False, identity=False)
        problem = self._client_problem(form)
        if problem:
            return problem
        if grant == "authorization_code":
            return self._token_by_code(form)
        if grant == "refresh_token":
            return self._token_by_refresh(form)
        if grant == DEVICE_CODE:
            return self._token_by_device(form)
        if grant == "client_credentials":
            return self._issue("app", form["scope"], refresh=False, identity=False)
        return error("unsupported_grant_type")

    def _token_by_code(self, form):
        asked = self.codes.pop(form.get("code"), None)
        if asked is None:
            return error("invalid_grant", "the code is unknown, expired or was used")
        challenge = b64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if challenge != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            return error("invalid_grant", "code_verifier or redirect_uri do not match")
        return self._issue(asked["user"], asked["granted"])

    def _token_by_refresh(self, form):
        known = self.refresh.get(form.get("refresh_token"))
        if known is None:
            return error("invalid_grant", "Token has been expired or revoked.")
        if self.rotates:
            del self.refresh[form["refresh_token"]]
        return self._issue(known["user"], known["granted"], refresh=self.rotates)

    def _token_by_device(self, form):
        device = self.devices.get(form.get("device_code"))
        if device is None:
            return error("expired_token")
        if device["state"] == "pending":
            return error("authorization_pending", status=428 if self.profile == "google" else 400)
        del self.devices[form["device_code"]]
        if device["state"] == "denied":
            return error("authorization_declined" if self.profile == "microsoft" else "access_denied")
        return self._issue(device["user"], device["scope"])

    def _issue(self, user, granted, refresh=True, identity=True):
        access = self._secret("access", 2500 if self.profile == "microsoft" else 220)
        self.access[access] = {"user": user, "granted": granted, "until": time.time() + self.expires_in}
        body = {"token_type": "Bearer", "access_token": access, "expires_in": self.expires_in, "scope": self._scope(granted)}
        if refresh:
            token = body["refresh_token"] = self._secret("refresh", 1200 if self.profile == "microsoft" else 100)
            self.refresh[token] = {"user": user, "granted": granted}
        if identity:
            body["id_token"] = self.id_token(user)
        if self.profile == "microsoft":
            body["ext_expires_in"] = self.expires_in
        return Answer(200, body)

    def _scope(self, granted):
        if self.profile == "google":  # `email` comes back as a URL
            return granted.replace(" email", " https://www.googleapis.com/auth/userinfo.email")
        return " ".join(word for word in granted.split() if word != "offline_access")

    def id_token(self, user, **claims):
        """As the token endpoint sends it; nobody checks the signature of one that came over TLS."""
        name = "email" if self.profile == "google" else "preferred_username"
        return ".".join((b64url({"alg": "RS256", "typ": "JWT"}),
                         b64url({"iss": self.url, "aud": self.client_id, "sub": "1", name: user, **claims}), b64url(b"signature")))

    def _device(self, form):
        code = self._secret("device", 60)
        self.devices[code] = {"state": "pending", "scope": form.get("scope", ""), "user": None}
        return Answer(200, {"device_code": code, "user_code": "ABCD-EFGH", "verification_uri": f"{self.url}/link",
                            "expires_in": self.device_expires_in, "interval": self.device_interval})

    def _revoke(self, form):
        token = form.get("token")
        known = self.refresh.pop(token, None) or self.access.pop(token, None)
        if known is None:
            return error("invalid_token", "Token expired or revoked")
        self.revoked.append(token)
        return Answer(200, {})
