"""The service manager is told that the agent is ready, reloads, stops, and gets on with its work (sd_notify(3))."""

import fcntl
import os
import subprocess
import time

import pytest

from support.agent import Agent, binary, environment
from support.manager import Manager
from support.wait import wait_until

MESSAGE = b"From: Jane <jane@inside.example>\nTo: a@example.net\nSubject: hello\n\nOne line.\n"
SPAN = 2_000_000  # WATCHDOG_USEC


def run(config, clock, manager, **env):
    return Agent(config, clock=clock, env={"NOTIFY_SOCKET": manager.name, **env})


def test_ready_status_reload_stop(config, clock, manager):
    with run(config, clock, manager) as agent:
        manager.wait("READY", "1")
        assert agent.events("started")  # not before
        manager.wait("STATUS")
        assert "1 tenants, 1 accounts" in manager.said("STATUS")[-1]["STATUS"]
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        agent.reload()
        manager.wait("READY", "1", count=2)
        reloading = manager.said("RELOADING", "1")
        assert len(reloading) == 1
        assert before <= int(reloading[0]["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        order = [key for one in manager.heard for key in one if key in ("READY", "RELOADING")]
        assert order == ["READY", "RELOADING", "READY"]
        assert not manager.said("STOPPING")
    assert manager.said("STOPPING", "1")
    assert not manager.said("WATCHDOG")  # nobody asked for pings


def test_a_refused_reload_ends_too(config, clock, manager):
    with run(config, clock, manager) as agent:
        manager.wait("READY", "1")
        config.path.write_text("version: 2\n", encoding="utf-8")
        agent.reload()
        manager.wait("READY", "1", count=2)
        assert agent.events("reload_refused")


def test_an_abstract_socket(config, clock, tmp_path):
    manager = Manager(f"@outtray-test-{os.getpid()}-{tmp_path.name}")
    with run(config, clock, manager):
        manager.wait("READY", "1")
    assert manager.said("STOPPING", "1")
    manager.socket.close()


def test_a_socket_that_is_not_there_is_a_warning(config, clock, tmp_path):
    with Agent(config, clock=clock, env={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as agent:
        agent.wait_ready()
        assert agent.events("notify_failed", level="warning")


def test_pings_are_for_the_process_they_are_meant_for(config, clock, manager):
    with run(config, clock, manager, WATCHDOG_USEC=SPAN, WATCHDOG_PID=1) as agent:
        manager.wait("STATUS")
        clock.advance(60)
        agent.wait_ready()
        agent.spool.wait("acme", agent.spool.drop("acme", MESSAGE), "sent")
        assert not manager.said("WATCHDOG")


def test_a_paused_account_is_in_the_status(config, clock, manager, server):
    server.pause()
    with run(config, clock, manager) as agent:
        agent.spool.drop("acme", MESSAGE)
        wait_until(lambda: clock.advance(5) or agent.events("account_paused"), 30, "the account pauses")
        wait_until(lambda: clock.advance(2) or any("relay" in one["STATUS"] for one in manager.said("STATUS")), 20,
                   lambda: manager.heard)


def test_pings_follow_progress_and_end_where_a_desk_is_stuck(config, clock, manager, tmp_path):
    """The log goes into a pipe that nobody reads any more: the filing desk cannot write its line, while the loop turns."""
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    writer = os.open(pipe, os.O_WRONLY)
    filler = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    agent = Agent(config, clock=clock)
    agent.prepare()
    env = environment(clock, NOTIFY_SOCKET=manager.name, WATCHDOG_USEC=SPAN)
    process = subprocess.Popen([binary(), "run", "--config", str(config.path)], stderr=writer, env=env,
                               stdin=subprocess.DEVNULL)
    try:
        manager.wait("WATCHDOG", "1", count=3)  # no mail is needed for them
        wait_until(lambda: agent.status() and agent.status()["pid"] == process.pid, 20, "the first status.json")
        for size in (4096, 1):
            try:
                while True:
                    os.write(filler, b"#" * size)
            except BlockingIOError:
                pass
        name = agent.spool.drop("acme", MESSAGE)
        agent.spool.wait("acme", name, "sent")  # it was moved; its line cannot be written
        stuck = wait_until(lambda: [one for one in manager.said("STATUS") if "stuck" in one["STATUS"]], 30, "the desk is stuck")
        assert "filing desk" in stuck[0]["STATUS"]
        pings, seen = len(manager.said("WATCHDOG")), agent.status()["time"]
        for _ in range(3):  # the loop and the other desk are alive, and still nothing is said
            clock.advance(10)
            wait_until(lambda: agent.status()["time"] != seen, 20, "status.json goes on")
            seen = agent.status()["time"]
        assert len(manager.said("WATCHDOG")) == pings
        while True:
            try:
                if not os.read(reader, 65536):
                    break
            except BlockingIOError:
                break
        manager.wait("WATCHDOG", "1", count=pings + 1)
    finally:
        os.close(writer)
        os.close(filler)
        os.set_blocking(reader, False)
        process.terminate()
        while process.poll() is None:
            try:
                os.read(reader, 65536)
            except BlockingIOError:
                time.sleep(0.01)
        os.close(reader)
    assert process.returncode == 0


@pytest.mark.parametrize("name", ["relative", "@", "/" + "x" * 200])
def test_names_that_are_no_sockets(config, clock, name):
    with Agent(config, clock=clock, env={"NOTIFY_SOCKET": name}) as agent:
        agent.wait_ready()
        assert agent.events("notify_failed", level="warning")
