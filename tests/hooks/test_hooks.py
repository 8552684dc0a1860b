"""Hooks: programs that are told what happened, without a shell, within their time, and never in the way of mail."""

import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))

from smtpserver import Server  # noqa: E402
from support.agent import ROOT, Agent  # noqa: E402
from support.helper import helper_of  # noqa: E402
from support.wait import wait_until  # noqa: E402

MESSAGE = b"From: Jane <jane@inside.example>\nTo: a@example.net\nSubject: hello\n\nOne line.\n"
EXAMPLES = ROOT / "scripts" / "hooks"


class House:
    def __init__(self, config, clock, script=()):
        self.config, self.clock = config, clock
        self.server = Server(script)
        self.server.start()
        config.account("relay", email="noreply@example.com", server="127.0.0.1", port=self.server.port, encryption="none")
        config.tenant("acme", account="relay", from_="Acme Voicemail <voicemail@acme.example>")
        config.data["retry"] = {"first": "1m", "max": "1m", "give_up_after": "5d", "jitter": 0}
        self.told = config.directory / "told"
        self.told.mkdir(exist_ok=True)

    def program(self, name, text):
        path = self.config.directory / name
        path.write_text("#!/bin/sh\n" + text, encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def hooks(self, **hooks):
        self.config.set(hooks=hooks)
        return self

    def keep(self):
        """A hook that leaves what it was told in a file of its own: written elsewhere, then moved, so that it is whole."""
        return [self.program("keep", f'f={self.told}/.$$; cat >$f; mv $f {self.told}/$OUTTRAY_EVENT.$$\n')]

    def said(self, event, count=1):
        def enough():
            files = sorted(self.told.glob(f"{event}.*"))
            return files if len(files) >= count else None
        return [json.loads(path.read_text()) for path in wait_until(enough, 30, lambda: list(self.told.iterdir()))]

    def agent(self):
        return Agent(self.config, clock=self.clock)


@pytest.fixture
def house(program, config, clock):
    houses = []

    def build(*script):
        houses.append(House(config, clock, script))
        return houses[-1]
    yield build
    for one in houses:
        one.server.stop()


def alive(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_sent_deferred_and_failed_say_all_of_it(house):
    one = house("on RCPT later@: once 451 4.7.1 greylisted", "on RCPT nobody@: 550 5.1.1 no such user")
    keep = one.keep()
    one.hooks(sent=keep, deferred=keep, failed=keep)
    with one.agent() as agent:
        name = agent.spool.drop("acme", MESSAGE)
        sent = one.said("sent")[0]
        assert sent["version"] == 1 and sent["event"] == "sent" and sent["agent"] == "main"
        assert (sent["tenant"], sent["account"], sent["name"], sent["from"]) == ("acme", "relay", name, "noreply@example.com")
        assert sent["path"] == str(agent.spool.path("acme", "sent", name)) and os.path.exists(sent["path"])
        assert sent["recipients"] == [{"address": "a@example.net", "state": "sent", "reply": sent["reply"]}]
        assert sent["reply"].startswith("250") and sent["recipients_total"] == 1 and sent["attempt"] == 1
        assert sent["message_id"] == agent.events("sent")[0]["message_id"] and sent["size"] == len(MESSAGE)

        name = agent.spool.drop("acme", MESSAGE.replace(b"a@", b"later@"))
        deferred = one.said("deferred")[0]
        assert deferred["name"] == name and "451" in deferred["reply"] and deferred["class"]
        assert deferred["next_attempt"] == agent.events("deferred")[0]["next"][:19] + "Z"
        assert deferred["recipients"][0]["state"] == "pending"

        name = agent.spool.drop("acme", MESSAGE.replace(b"a@", b"nobody@"))
        failed = one.said("failed")[0]
        assert (failed["name"], failed["reason"]) == (name, "recipient")
        assert failed["recipients"][0]["state"] == "refused" and "550" in failed["recipients"][0]["reply"]
        assert failed["fix"] == f"mv failed/{name} new/" and failed["age_s"] >= 0
        results = agent.wait_event("hook", count=3, status="0")
        assert {line["hook"] for line in results} == {"sent", "deferred", "failed"}
        assert all(line["level"] == "notice" and line["program"] == keep[0] for line in results)


def test_accounts_that_pause_and_resume_and_a_backlog(house):
    one = house()
    keep = one.keep()
    one.hooks(account_paused=keep, account_resumed=keep, backlog=keep, backlog_age="10m")
    one.server.pause()
    with one.agent() as agent:
        agent.spool.drop("acme", MESSAGE)
        wait_until(lambda: one.clock.advance(5) or agent.events("account_paused"), 60, "the account pauses")
        paused = one.said("account_paused")[0]
        assert paused["account"] == "relay" and paused["reason"] == "open_unreachable" and paused["reply"] and paused["fix"]
        assert "tenant" not in paused and "name" not in paused
        one.clock.advance(700)
        wait_until(lambda: one.clock.advance(31) or list(one.told.glob("backlog.*")), 60, "the backlog is told")
        backlog = one.said("backlog")[0]
        assert backlog["tenant"] == "acme" and backlog["age_s"] > 600 and backlog["count"] == 1
        one.server.resume()
        wait_until(lambda: one.clock.advance(60) or agent.events("account_resumed"), 60, "the account resumes")
        assert one.said("account_resumed")[0]["account"] == "relay"
        assert len(list(one.told.glob("backlog.*"))) == 1  # once, however long it lasted


def test_no_shell_clean_environment_and_what_it_prints(house, monkeypatch):
    one = house()
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "hush")
    script = one.program("look", f'env >{one.told}/env; pwd >{one.told}/cwd; for a; do echo "$a"; done >{one.told}/args\n'
                         'ls /proc/$$/fd; echo trouble >&2; exit 7\n')  # a pipe or file of the shell's own would show
    one.hooks(failed=[script, "$(id)", "a b", "", "*"])
    with one.agent() as agent:
        agent.spool.drop("acme", b"nobody\n")
        line = agent.wait_event("hook")[0]
        assert (line["status"], line["level"], line["hook"]) == ("7", "warning", "failed")
        assert "trouble" in line["output"]
        assert (one.told / "args").read_text() == "$(id)\na b\n\n*\n"
        assert (one.told / "cwd").read_text() == "/\n"
        env = dict(pair.split("=", 1) for pair in (one.told / "env").read_text().splitlines())
        assert set(env) - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "HOME", "LANG", "OUTTRAY_EVENT"}
        assert set(line["output"].split("trouble")[0].replace("\\n", " ").split()) <= {"0", "1", "2", "10"}


def test_a_program_that_is_not_there(house):
    one = house()
    one.hooks(sent=["/nonexistent/program"])
    with one.agent() as agent:
        agent.spool.wait("acme", agent.spool.drop("acme", MESSAGE), "sent")
        line = agent.wait_event("hook")[0]
        assert line["status"] == "127" and "cannot be run" in line["output"]


@pytest.mark.parametrize("stubborn", [False, True])
def test_one_that_takes_too_long_is_ended_with_its_children(house, stubborn):
    one = house()
    trap = 'trap "" TERM; ' if stubborn else ""
    script = one.program("slow", f"{trap}sleep 1000 & echo $! >{one.told}/.child; mv {one.told}/.child {one.told}/child; wait; wait\n")
    one.hooks(sent=[script], timeout="1s")
    with one.agent() as agent:
        agent.spool.wait("acme", agent.spool.drop("acme", MESSAGE), "sent")
        line = agent.wait_event("hook", seconds=30)[0]
        assert "longer than hooks.timeout" in line["msg"]
        assert line["status"] == ("signal 9" if stubborn else "signal 15")
        child = int((one.told / "child").read_text())
        wait_until(lambda: not alive(child), 20, "its child is gone")


def test_more_than_can_be_run_is_left_out_and_mail_goes_on(house):
    one = house()
    gate = one.told / "gate"
    os.mkfifo(gate)
    one.hooks(sent=[one.program("waits", f"exec cat {gate} >/dev/null\n")], timeout="1h")
    with one.agent() as agent:
        for _ in range(1010):
            agent.spool.drop("acme", MESSAGE)
        wait_until(lambda: len(agent.spool.names("acme", "sent")) == 1010, 120, lambda: agent.spool.names("acme", "new"))
        assert len(agent.wait_event("hooks_overflow")) == 1
        one.hooks()  # nothing more is meant
        one.config.write()
        agent.reload()
        agent.wait_event("reload")
        assert len(agent.events("hooks_overflow")) == 1
        agent.process.send_signal(signal.SIGTERM)
        wait_until(lambda: agent.events("stopping"), 20, "it stops")
        one.clock.advance(11)  # what hangs does not hold up the end for longer than its grace
        assert agent.stop() == 0
        assert int(agent.events("hooks_lost")[0]["count"]) >= 1000
        assert not agent.events("hooks_left")  # their program has left the configuration
    with open(gate, "r+b", buffering=0):  # what ran lets go
        pass


def test_a_flood_of_hooks_that_hang_does_not_hold_up_an_alarm(house):
    one = house("on RCPT nobody@: 550 5.1.1 no such user")
    gate = one.told / "gate"
    os.mkfifo(gate)
    hangs, keep = [one.program("waits", f"exec cat {gate} >/dev/null\n")], one.keep()
    one.hooks(sent=hangs, failed=keep, account_paused=keep, account_resumed=keep, timeout="1h")
    with one.agent() as agent:
        for _ in range(1010):  # all places of this line, and some are left out
            agent.spool.drop("acme", MESSAGE)
        agent.wait_event("hooks_overflow", seconds=120)
        agent.spool.drop("acme", MESSAGE.replace(b"a@", b"nobody@"))
        assert one.said("failed")[0]["reason"] == "recipient"
        agent.verb("pause", "relay", check=True)
        assert one.said("account_paused")[0]["account"] == "relay"
        agent.verb("resume", "relay", check=True)
        assert one.said("account_resumed")[0]["account"] == "relay"
        # And failed ones that hang leave the last place for what concerns an account.
        one.hooks(sent=hangs, failed=hangs, account_paused=keep, account_resumed=keep, timeout="1h")
        one.config.write()
        agent.reload()
        agent.wait_event("reload")
        for _ in range(3):
            agent.spool.drop("acme", b"nobody\n")
        wait_until(lambda: len(agent.spool.names("acme", "failed")) == 4, 30, lambda: agent.spool.names("acme", "new"))
        agent.verb("pause", "relay", check=True)
        assert one.said("account_paused", 2)[1]["account"] == "relay"
        assert not agent.events("hook", hook="sent")  # they hang all the while
        agent.process.send_signal(signal.SIGTERM)
        wait_until(lambda: agent.events("stopping"), 20, "it stops")
        one.clock.advance(11)
    with open(gate, "r+b", buffering=0):  # what ran lets go
        pass


def test_a_hook_that_does_not_read_and_one_that_prints_without_end(house):
    one = house()
    one.hooks(sent=[one.program("deaf", "exit 0\n")], failed=[one.program("loud", "yes | head -c 1000000\n")])
    with one.agent() as agent:
        agent.spool.drop("acme", MESSAGE)
        agent.spool.drop("acme", b"nobody\n")
        assert {line["status"] for line in agent.wait_event("hook", count=2)} == {"0"}


def test_many_recipients_stay_within_bounds(house):
    one = house()
    one.hooks(sent=one.keep())
    to = b",\n ".join(b"someone-%d@a-rather-long-name.example.net" % i for i in range(500))
    one.config.data["accounts"]["relay"]["limits"] = {"recipients_per_message": 500}
    with one.agent() as agent:
        agent.spool.wait("acme", agent.spool.drop("acme", MESSAGE.replace(b"a@example.net", to)), "sent")
        sent = one.said("sent")[0]
        assert sent["recipients_total"] == 500 and len(sent["recipients"]) == 100


def test_a_reload_changes_the_hooks(house):
    one = house()
    with one.agent() as agent:
        agent.wait_ready()
        one.hooks(sent=one.keep())
        one.config.write()
        agent.reload()
        agent.wait_event("reload")
        agent.spool.drop("acme", MESSAGE)
        one.said("sent")


def test_the_helper_ends_with_the_agent_however_it_ends(house):
    one = house()
    agent = one.agent().start()
    agent.wait_ready()
    helper = helper_of(agent.pid)
    assert helper and alive(helper)
    agent.kill()
    wait_until(lambda: not alive(helper), 20, "the helper is gone after SIGKILL")
    agent.start()  # the lock on the spool went with the agent, too
    agent.wait_ready()
    helper = helper_of(agent.pid)
    assert agent.stop() == 0
    wait_until(lambda: not alive(helper), 20, "the helper is gone after SIGTERM")


def test_a_signal_to_all_of_the_service_leaves_the_agent_its_hooks(house):
    one = house()
    one.hooks(sent=one.keep())
    with one.agent() as agent:
        agent.wait_ready()
        os.kill(helper_of(agent.pid), signal.SIGTERM)  # as systemd does before the agent has ended
        agent.spool.drop("acme", MESSAGE)
        one.said("sent")
        assert not agent.events("hooks_ended")


def test_without_the_helper_mail_goes_on(house):
    one = house()
    one.hooks(sent=one.keep())
    with one.agent() as agent:
        agent.wait_ready()
        os.kill(helper_of(agent.pid), signal.SIGKILL)
        agent.wait_event("hooks_ended", level="error")
        agent.spool.wait("acme", agent.spool.drop("acme", MESSAGE), "sent")
        assert not list(one.told.iterdir())


def test_what_waits_at_the_end_is_left_to_the_helper(house):
    one = house()
    gate = one.told / "gate"
    os.mkfifo(gate)
    slow = one.program("slow", f'read -r line <{gate}; f={one.told}/.$$; cat >$f; mv $f {one.told}/$OUTTRAY_EVENT.$$\n')
    one.hooks(sent=[slow], timeout="1m")
    with one.agent() as agent:
        for _ in range(12):
            agent.spool.drop("acme", MESSAGE)
        wait_until(lambda: len(agent.spool.names("acme", "sent")) == 12, 60, lambda: agent.spool.names("acme", "new"))
        helper = helper_of(agent.pid)
        agent.process.send_signal(signal.SIGTERM)
        wait_until(lambda: agent.events("stopping"), 20, "it stops")
        one.clock.advance(11)
        assert agent.stop() == 0
        assert agent.events("hooks_left")[0]["count"] == "8" and not agent.events("hooks_lost")
    assert alive(helper) and not list(one.told.glob("sent.*"))
    with open(gate, "r+b", buffering=0) as opened:  # whoever reads next finds a line
        opened.write(b"go\n" * 12)
        said = one.said("sent", 12)
        wait_until(lambda: not alive(helper), 30, "the helper has done its work")
    assert len({told["name"] for told in said}) == 12


def test_what_waits_at_the_end_has_one_timeout(house):
    one = house()
    gate = one.told / "gate"
    os.mkfifo(gate)
    one.hooks(sent=[one.program("waits", f"exec cat {gate} >/dev/null\n")], timeout="3s")
    with one.agent() as agent:
        for _ in range(8):
            agent.spool.drop("acme", MESSAGE)
        wait_until(lambda: len(agent.spool.names("acme", "sent")) == 8, 60, lambda: agent.spool.names("acme", "new"))
        helper = helper_of(agent.pid)
        agent.process.send_signal(signal.SIGTERM)
        wait_until(lambda: agent.events("stopping"), 20, "it stops")
        one.clock.advance(11)
        assert agent.stop() == 0
    wait_until(lambda: not alive(helper), 30, "the helper gives up")


def test_once_waits_for_its_hooks(house):
    one = house()
    one.hooks(sent=one.keep())
    agent = one.agent()
    agent.prepare()
    for _ in range(12):
        agent.spool.drop("acme", MESSAGE)
    one.clock.advance(10)
    assert agent.once() == 0
    assert len(list(one.told.glob("sent.*"))) == 12


# The examples of scripts/hooks/

def test_the_example_that_writes_to_a_file(house):
    one = house()
    target = one.config.directory / "events.json"
    one.hooks(sent=[str(EXAMPLES / "to-file"), str(target)])
    with one.agent() as agent:
        for _ in range(3):
            agent.spool.drop("acme", MESSAGE)
        agent.wait_event("hook", count=3, status="0")
    lines = target.read_text().splitlines()
    assert len(lines) == 3 and all(json.loads(line)["event"] == "sent" for line in lines)


def test_the_example_that_writes_to_syslog(house):
    if shutil.which("logger") is None:
        pytest.skip("logger is missing (apt-get install bsdutils)")
    one = house()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        path = one.config.directory / "devlog"
        log.bind(str(path))
        log.settimeout(30)
        one.hooks(sent=[str(EXAMPLES / "to-syslog"), "--socket", str(path), "--priority", "mail.info"])
        with one.agent() as agent:
            agent.spool.drop("acme", MESSAGE)
            text = log.recv(65536).decode()
            assert agent.wait_event("hook")[0]["status"] == "0"
    assert text.startswith("<22>") and "outtray-hook" in text
    assert json.loads(text[text.index("{"):text.rindex("}") + 1])["tenant"] == "acme"


def test_the_example_that_posts_to_a_webhook(house):
    if shutil.which("curl") is None:
        pytest.skip("curl is missing (apt-get install curl)")
    bodies, status = [], [204]

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            bodies.append((self.path, self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    peer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    try:
        one = house()
        one.hooks(sent=[str(EXAMPLES / "to-webhook"), f"http://127.0.0.1:{peer.server_port}/alert"])
        with one.agent() as agent:
            agent.spool.drop("acme", MESSAGE)
            agent.wait_event("hook", status="0")
            path, kind, body = bodies[0]
            assert (path, kind) == ("/alert", "application/json") and json.loads(body)["event"] == "sent"
            status[0] = 500
            agent.spool.drop("acme", MESSAGE)
            assert "500" in agent.wait_event("hook", level="warning")[0]["output"]
    finally:
        peer.shutdown()
        peer.server_close()
