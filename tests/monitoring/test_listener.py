"""metrics.listen: what is served, to whom, and what clients cannot do to the agent."""

import http.client
import json
import re
import socket
import threading

import pytest

from support.watched import Watched
from support.net import free_port
from support.wait import wait_until


def series(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def test_pages(watched):
    watched.start()
    code, headers, text = watched.get("/metrics")
    assert code == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    zero = series(text)
    assert zero['outtray_delivered_total{tenant="acme",account="relay"}'] == 0 and zero["outtray_up"] == 1
    watched.drop(3)
    watched.tick(lambda: series(watched.get("/metrics")[2])['outtray_delivered_total{tenant="acme",account="relay"}'] == 3,
                 what="three delivered")
    assert set(series(watched.get("/metrics")[2])) == set(zero), "series came or went"
    code, headers, text = watched.get("/status.json")
    assert code == 200 and headers["content-type"] == "application/json" and headers["cache-control"] == "no-store"
    status = json.loads(text)
    assert status["pid"] == watched.agent.pid and status["healthy"] is True and status["health"] == "ok"
    assert watched.get("/healthz")[2] == "ok\n" and watched.get("/livez")[2] == "alive\n"
    assert "/metrics" in watched.get("/")[2]
    assert watched.get("/else")[0] == 404 and watched.get("/metrics/")[0] == 404


def test_methods(watched):
    watched.start()
    code, headers, text = watched.get("/metrics", method="HEAD")
    assert code == 200 and text == "" and int(headers["content-length"]) > 1000
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        code, headers, _ = watched.get("/metrics", method=method, body="x" * 100000 if method in ("POST", "PUT") else None)
        assert code == 405 and headers["allow"] == "GET, HEAD", method
    assert watched.get("/healthz", body="a body of no use")[0] == 200
    assert watched.get("/" + "x" * 100000)[0] in (414, 431)
    assert watched.get("/healthz", headers={"X-Large": "x" * 100000})[0] == 431


def test_same_numbers_in_the_file(watched):
    watched.start()
    watched.drop(2)
    one = 'outtray_delivered_total{tenant="acme",account="relay"}'
    watched.tick(lambda: watched.agent.metrics().get(one) == 2, what="the file")
    wait_until(lambda: series(watched.get("/metrics")[2])[one] == 2, 10, "the page")
    assert set(series(watched.get("/metrics")[2])) == set(watched.agent.metrics())


def test_without_the_file(agent, server):
    watched = Watched(agent, server, textfile=False).start()
    assert series(watched.get("/metrics")[2])["outtray_up"] == 1
    assert not (agent.config.state / "metrics.prom").exists()


def test_loopback_unless_told(watched):
    watched.agent.config.set(metrics={"listen": f":{watched.port}"})
    watched.start()
    table = open(f"/proc/{watched.agent.pid}/net/tcp", encoding="ascii").read()
    assert f"0100007F:{watched.port:04X} 00000000:0000 0A" in table and f"00000000:{watched.port:04X} " not in table


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0"])
def test_addresses(watched, host):
    if ":" in host:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            pytest.skip(f"no IPv6 loopback: {error}")
    watched.agent.config.set(metrics={"listen": f"[{host}]:{watched.port}" if ":" in host else f"{host}:{watched.port}"})
    watched.agent.start().wait_ready()
    local = "::1" if ":" in host else "127.0.0.1"
    wait_until(lambda: (watched.get("/healthz", host=local) or [0])[0] == 200, 20, "the listener")


def test_reload_moves_and_ends_it(watched):
    watched.agent.config.set(sandbox=False)
    watched.start()
    agent, old, new = watched.agent, watched.port, free_port()
    for listen, port in ((f"127.0.0.1:{new}", new), ("", None), (f"127.0.0.1:{old}", old)):
        agent.config.set(metrics={"listen": listen})
        agent.config.write()
        before = len(agent.events("reload"))
        agent.reload()
        agent.wait_event("reload", count=before + 1)
        for place in (old, new):
            watched.port = place
            watched.tick(lambda: bool(watched.get("/healthz")) == (place == port), what=f"{place} after listen={listen}")


def test_reload_inside_of_the_sandbox(watched):
    """It can be ended and taken up again; the port of another one was not among those that the sandbox let through."""
    watched.start()
    agent, old, new = watched.agent, watched.port, free_port()

    def reload(listen, event):
        agent.config.set(metrics={"listen": listen})
        agent.config.write()
        before = len(agent.events(event))
        agent.reload()
        return agent.wait_event(event, count=before + 1)[-1]

    def answers():
        try:
            return bool(watched.get("/healthz"))
        except http.client.RemoteDisconnected:  # it ended while it was asked
            return False

    if agent.events("sandbox", landlock="0") or not agent.events("sandbox", ports="yes"):
        pytest.skip("this kernel's Landlock knows no ports")
    assert "restart needed" in reload(f"127.0.0.1:{new}", "reload_refused")["msg"]
    assert watched.get("/livez")[0] == 200
    for listen in ("", f"127.0.0.1:{old}"):
        reload(listen, "reload")
        watched.tick(lambda: answers() == bool(listen), what=f"listen={listen}")


def test_taken_port_costs_no_mail_and_is_tried_again(watched):
    with socket.create_server(("127.0.0.1", watched.port)):
        watched.agent.start()
        event = watched.agent.wait_event("listen_failed")[0]
        assert event["level"] == "warning" and "in use" in event["reason"]
        name, = watched.drop()
        watched.agent.wait_event("sent", name=name)
        watched.tick(lambda: True)
        assert len(watched.agent.events("listen_failed")) == 1, "said more than once"
    watched.tick(lambda: watched.get("/healthz"), what="the listener, once the port is free")
    assert watched.agent.events("listening", listen=f"127.0.0.1:{watched.port}")


def test_idle_and_slow_clients_stop_nothing(watched):
    """More clients than it takes, none of which ever ends its request: mail goes on, and they are thrown out."""
    watched.start()
    idle = []
    try:
        for _ in range(100):
            client = socket.create_connection(("127.0.0.1", watched.port), timeout=30)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            idle.append(client)
        names = watched.drop(20)
        watched.agent.wait_event("sent", count=len(names))
        # 32 at a time, each for 10 s: whoever was first is closed, and the next one's turn comes.
        idle[0].settimeout(30)
        assert idle[0].recv(4096) == b""
    finally:
        for client in idle:
            client.close()
    wait_until(lambda: (watched.get("/healthz") or [0])[0] == 200, 30, "an answer after they left")


def test_many_at_once(watched):
    """Scrapes during deliveries are answered whole."""
    watched.start()
    problems = []

    def scrape():
        for _ in range(20):
            code, headers, text = watched.get("/metrics")
            if code != 200 or len(text) != int(headers["content-length"]) or not text.endswith("\n"):
                problems.append((code, len(text)))

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    names = watched.drop(200)
    for thread in threads:
        thread.join()
    assert not problems
    watched.agent.wait_event("sent", count=len(names), seconds=60)


def test_health_of_a_refused_account(watched, server):
    """The only account is paused and mail waits for it: 503 with the server's words, until it is mended."""
    watched.agent.config.account("relay", auth="basic", username="user", password="wrong", server="127.0.0.1",
                                 port=server.port, encryption="none")
    server.auth, server.auth_plain = ["PLAIN"], True
    watched.start()
    assert watched.health() == (200, "ok")
    watched.drop()
    watched.agent.wait_event("account_paused")
    code, words = watched.tick(lambda: watched.health()[0] == 503 and watched.health(), what="503")
    assert words.startswith("all mail that waits is for paused accounts: relay (open_credentials: 535 "), words
    assert watched.get("/livez")[0] == 200
    status = watched.status()
    assert status["healthy"] is False and status["health"] == words
    assert watched.agent.metrics()["outtray_healthy"] == 0
    watched.agent.config.secret("relay.password", "secret")
    watched.tick(lambda: watched.health()[0] == 200, what="200 once the password is right")


def test_health_of_mail_that_does_not_move(agent):
    """A server that takes the login and then says nothing is noticed long before its timeout ends."""
    import smtpserver
    server = smtpserver.Server(["on MAIL: silence"])
    server.start()
    try:
        watched = Watched(agent, server)
        agent.config.data["accounts"]["relay"]["timeouts"] = {"command": "1h"}
        watched.start()
        watched.drop()
        wait_until(lambda: server.connections, 20, "a connection")
        code, words = watched.tick(lambda: watched.health()[0] == 503 and watched.health(), seconds=60, step=10,
                                   what=lambda: f"503, not {watched.health()}")
        assert re.fullmatch(r"account relay: mail waits and nothing has moved for 3\d\d s", words), words
    finally:
        server.stop()


def test_a_long_sleep_is_no_stall(watched):
    watched.start()
    watched.agent.clock.advance(12 * 3600)
    seen = watched.status()["time"]
    watched.drop()
    wait_until(lambda: watched.status()["time"] != seen, 20, "the next look")
    assert watched.health() == (200, "ok")


def test_stopping_agent_is_not_healthy(watched):
    watched.start()
    assert watched.agent.stop() == 0
    status = watched.agent.status()
    assert status["healthy"] is False and status["health"] == "the agent is stopping"
    assert watched.get("/healthz") is None
