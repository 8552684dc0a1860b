"""What an OAuth 2.0 provider answers: an answer of any kind, an error, and Microsoft's refusals with their numbers."""

import json

# Microsoft's numbers: the error and suberror they come with.
AADSTS = {
    50173: ("invalid_grant", ""), 700082: ("invalid_grant", ""), 70043: ("invalid_grant", "bad_token"),
    50076: ("interaction_required", "basic_action"), 50078: ("interaction_required", "basic_action"),
    50079: ("interaction_required", "basic_action"), 65001: ("invalid_grant", "consent_required"),
    53003: ("interaction_required", "message_only"), 7000215: ("invalid_client", ""), 7000222: ("invalid_client", ""),
    700016: ("unauthorized_client", ""), 90002: ("invalid_request", ""), 54005: ("invalid_grant", ""),
    50196: ("invalid_grant", ""), 9001023: ("invalid_request", ""), 90006: ("temporarily_unavailable", ""),
    50033: ("temporarily_unavailable", ""), 700027: ("invalid_client", ""),
}


class Answer:
    """status, body (a dict is JSON, a generator is sent as it comes) and headers; `wait` is a threading.Event that holds it
    back. status 0: the connection ends without a word."""

    def __init__(self, status=200, body=None, headers=None, wait=None):
        self.status, self.headers, self.wait = status, dict(headers or {}), wait
        if isinstance(body, (dict, list)):
            self.headers.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        self.body = body.encode() if isinstance(body, str) else body or b""

    def json(self):
        return json.loads(self.body)


def error(name, description=None, status=400, codes=None, **more):
    """An error as token endpoints answer it; codes are Microsoft's AADSTS numbers."""
    body = {"error": name, **more}
    if codes:
        body["error_codes"] = list(codes)
    if description is not None:
        body["error_description"] = description
    return Answer(status, body)


def aadsts(code):
    """Microsoft's refusal with that number, in its full dress."""
    name, suberror = AADSTS[code]
    status = 401 if name == "invalid_client" else 503 if name == "temporarily_unavailable" else 400
    more = {"timestamp": "2026-11-23 12:00:00Z", "trace_id": "0001", "correlation_id": "0002",
            "error_uri": f"https://login.microsoftonline.com/error?code={code}"}
    if suberror:
        more["suberror"] = suberror
    return error(name, f"AADSTS{code}: scripted refusal. Trace ID: 0001 Correlation ID: 0002 Timestamp: 2026-11-23 12:00:00Z",
                 status, [code], **more)
