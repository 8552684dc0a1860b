"""An agent whose metrics are served over HTTP."""

import http.client
import json

from support.net import free_port
from support.wait import wait_until

MESSAGE = "To: a@example.net\nSubject: s\n\ntext\n"


class Watched:
    """The agent, its server, and what it says over HTTP."""

    def __init__(self, agent, server, **metrics):
        self.agent, self.server, self.port = agent, server, free_port()
        agent.config.account("relay", server="127.0.0.1", port=server.port, encryption="none")
        agent.config.tenant("acme", account="relay", from_="Acme <acme@example.com>")
        agent.config.set(metrics={"listen": f"127.0.0.1:{self.port}", **metrics})

    def get(self, path, method="GET", headers=(), body=None, host="127.0.0.1"):
        """(code, headers, text) of one request; None where nobody listens, or only just now any more."""
        connection = http.client.HTTPConnection(host, self.port, timeout=10)
        try:
            connection.connect()
        except (ConnectionRefusedError, ConnectionResetError):
            return None
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def start(self):
        self.agent.start().wait_ready()
        wait_until(lambda: (self.get("/healthz") or [0])[0] == 200, 20, "the listener")
        return self

    def drop(self, count=1):
        return [self.agent.spool.drop("acme", MESSAGE) for _ in range(count)]

    def health(self):
        code, _, text = self.get("/healthz")
        return code, text.strip()

    def tick(self, condition, seconds=20, step=3, what="condition"):
        """Lets the agent's clock run until the condition holds."""
        def look():
            self.agent.clock.advance(step)
            return condition()
        return wait_until(look, seconds, what, interval=0.05)

    def status(self):
        return json.loads(self.get("/status.json")[2])
