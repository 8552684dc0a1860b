"""The endpoints of the scripted provider (provider.py): which token they give for what, and to whom they give none."""

import hashlib
import secrets
import urllib.parse

from .answers import Answer, error
from .jwt import b64url, jwt_claims, jwt_header, signature_is_right, thumbprint

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Grant:
    """What one consent gave: every token of it ends with it."""

    def __init__(self, user, granted):
        self.user, self.granted, self.alive = user, granted, True


class Endpoints:
    """What a Provider answers where neither its script nor a fault says otherwise; its attributes are the Provider's."""

    def _secret(self, kind, length):
        text = f"{kind}.{secrets.token_urlsafe(length)}"[:length]
        self.secrets.add(text)
        return text

    def _authorize(self, form):
        if self.page:
            return self._consent_page(form)
        return Answer(302, "", {"Location": self.consent(f"{self.url}/authorize?{urllib.parse.urlencode(form)}")})

    def _client_problem(self, form):
        if form.get("client_id") != self.client_id:
            return error("invalid_client", "no such client", 401)
        if self.certificate and not self._client_assertion_is_right(form):
            return error("invalid_client", "AADSTS700027: Client assertion failed signature validation.", 401, [700027])
        if self.client_secret is not None and "client_assertion" not in form and form.get("client_secret") != self.client_secret:
            return error("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401, [7000215])
        if self.client_secret is None and "client_secret" in form:
            return error("invalid_client", "AADSTS700025: Client is public.", 401, [700025])
        return None

    def _token(self, form):
        grant = form.get("grant_type")
        if grant == JWT_BEARER:
            claims = jwt_claims(form["assertion"])
            if self.service_key and not self._service_assertion_is_right(form["assertion"]):
                return error("invalid_grant", "Invalid JWT Signature.")
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
            answer = self._issue(self.user, form["scope"], refresh=False, identity=False)
            body = answer.json()
            del body["scope"]  # Microsoft does not say
            return Answer(200, body)
        return error("unsupported_grant_type")

    def _token_by_code(self, form):
        asked = self.codes.pop(form.get("code"), None)
        if asked is None or asked["until"] <= self.now():
            return error("invalid_grant", "the code is unknown, expired or was used")
        challenge = b64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if challenge != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            return error("invalid_grant", "code_verifier or redirect_uri do not match")
        return self._issue(asked["user"], asked["granted"])

    def _token_by_refresh(self, form):
        known = self.refresh.get(form.get("refresh_token"))
        if known is None or not known["grant"].alive:
            return error("invalid_grant", "Token has been expired or revoked.")
        if known["ended"]:  # somebody has stolen one of the two
            known["grant"].alive = False
            return error("invalid_grant", "The refresh token was used already.")
        known["used"] += 1
        known["ended"] = self.rotation == "strict"
        return self._issue(None, None, refresh=self.rotation != "none", grant=known["grant"])

    def _token_by_device(self, form):
        device = self.devices.get(form.get("device_code"))
        if device is None or device["until"] <= self.now():
            return error("expired_token")
        if device["state"] == "pending":
            return error("authorization_pending", status=428 if self.profile == "google" else 400)
        del self.devices[form["device_code"]]
        if device["state"] == "denied":
            return error("authorization_declined" if self.profile == "microsoft" else "access_denied")
        return self._issue(device["user"], device["scope"])

    def _refresh_token(self, grant):
        token = self._secret("refresh", 1200 if self.profile == "microsoft" else 100)
        self.refresh[token] = {"grant": grant, "used": 0, "ended": False}
        return token

    def _issue(self, user, granted, refresh=True, identity=True, grant=None, expires_in=None):
        grant = grant or Grant(user, granted)
        access = self._secret("access", self.access_size)
        lifetime = self.expires_in if expires_in is None else expires_in
        self.access[access] = {"grant": grant, "until": self.now() + lifetime, "revoked": False}
        body = {"token_type": "Bearer", "access_token": access, "expires_in": lifetime, "scope": self._scope(grant.granted)}
        if refresh:
            body["refresh_token"] = self._refresh_token(grant)
        if identity:
            body["id_token"] = self.id_token(grant.user)
        if self.profile == "microsoft":
            body["ext_expires_in"] = lifetime
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
        self.devices[code] = {"state": "pending", "scope": form.get("scope", ""), "user": None,
                              "until": self.now() + self.device_expires_in}
        return Answer(200, {"device_code": code, "user_code": "ABCD-EFGH", "verification_uri": f"{self.url}/link",
                            "expires_in": self.device_expires_in, "interval": self.device_interval})

    def _revoke(self, form):
        token = form.get("token")
        known = self.refresh.pop(token, None) or self.access.pop(token, None)
        if known is None:
            return error("invalid_token", "Token expired or revoked")
        known["grant"].alive = False
        self.revoked.append(token)
        return Answer(200, {})

    # Assertions

    def _client_assertion_is_right(self, form):
        """Microsoft's: PS256, with the certificate's thumbprint."""
        assertion = form.get("client_assertion", "")
        if form.get("client_assertion_type") != ASSERTION or not signature_is_right(assertion, self.certificate, "PS256"):
            return False
        claims, now = jwt_claims(assertion), self.now() + self.skew
        return jwt_header(assertion).get("x5t#S256") == thumbprint(self.certificate) and bool(claims.get("jti")) and \
            claims["iss"] == claims["sub"] == self.client_id and claims["aud"] == f"{self.url}/token" and \
            claims["nbf"] <= now + 1 and now < claims["exp"] <= now + 601

    def _service_assertion_is_right(self, assertion):
        """Google's: RS256 by the key of the service account, no longer than an hour."""
        claims, now = jwt_claims(assertion), self.now() + self.skew
        return signature_is_right(assertion, self.service_key, "RS256") and claims["aud"] == f"{self.url}/token" and \
            claims["iat"] - 60 <= now < claims["exp"] <= claims["iat"] + 3600
