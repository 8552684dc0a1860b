"""A reload that needs more than the sandbox that was entered: what the helper hands over, and to whom it does not."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cases"))

from smtpserver import Server  # noqa: E402
from support.agent import Agent, binary, environment, outtray, sanitizer_report  # noqa: E402
from support.helper import helper_of  # noqa: E402
from support.net import free_port  # noqa: E402
from support.provider import Provider  # noqa: E402
from support.tls import Authority  # noqa: E402
from support.wait import wait_until  # noqa: E402

MESSAGE = b"From: Jane <jane@inside.example>\nTo: a@example.net\nSubject: hello\n\nOne line.\n"
ASK = pathlib.Path(binary()).parent / "sandbox" / "ask"


@pytest.fixture
def servers():
    made = []

    def make(*arguments, **options):
        made.append(Server(*arguments, **options))
        made[-1].start()
        return made[-1]
    yield make
    for server in made:
        server.stop()


@pytest.fixture
def delivering(config, servers):
    server = servers()
    config.account("relay", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none")
    config.tenant("acme", account="relay", from_="Acme Voicemail <voicemail@acme.example>")
    config.first = server
    return config


def inside(agent, abi=4):
    """Waits for the agent, which must be in a sandbox that closes ports."""
    agent.wait_ready()
    if agent.status()["sandbox"]["landlock"] < abi:
        pytest.skip(f"this kernel's Landlock is {agent.status()['sandbox']['landlock']}")


def reloads(agent):
    """Writes the changed configuration and has it applied."""
    agent.config.write()
    before = len(agent.events("reload"))
    agent.reload()
    agent.wait_event("reload", count=before + 1, seconds=20)
    assert not agent.events("reload_refused")


def refuses(agent):
    """The same for one that is not applied; returns the reason."""
    agent.config.write()
    before = len(agent.events("reload_refused"))
    agent.reload()
    return agent.wait_event("reload_refused", count=before + 1, seconds=20)[-1]["msg"]


def delivers(agent):
    """Sends one message; its line in the log, which is written once the file is in sent/ for good."""
    name = agent.spool.drop("acme", MESSAGE)
    agent.spool.wait("acme", name, "sent")
    return agent.wait_event("sent", name=name)[-1]


def elsewhere(config, name, text, mode=0o600):
    """A file in a directory that did not exist when the sandbox was entered."""
    directory = config.directory.parent / f"{config.directory.name}-elsewhere"
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(text)
    return path


def test_another_port_is_applied(delivering, servers):
    other = servers()
    with Agent(delivering) as agent:
        inside(agent)
        pid, sandbox = agent.pid, agent.status()["sandbox"]
        delivers(agent)
        delivering.data["accounts"]["relay"]["port"] = other.port
        reloads(agent)
        for _ in range(3):
            delivers(agent)
        assert len(delivering.first.accepted) == 1 and len(other.accepted) == 3
        assert agent.pid == pid and agent.status()["pid"] == pid and agent.status()["sandbox"] == sandbox
        assert agent.events("sent")[-1]["relay"] == f"127.0.0.1:{other.port}"
        delivering.data["accounts"]["relay"]["port"] = delivering.first.port
        reloads(agent)
        delivers(agent)
        assert len(delivering.first.accepted) == 2


def test_another_port_by_name_and_all_its_addresses(delivering, servers):
    other = servers()  # on 127.0.0.1 alone: ::1 refuses, where there is one
    with Agent(delivering) as agent:
        inside(agent)
        delivering.data["accounts"]["relay"].update(server="localhost", port=other.port)
        reloads(agent)
        delivers(agent)
        assert len(other.accepted) == 1


def test_nobody_listens_there(delivering, servers):
    other = servers()
    other.pause()
    with Agent(delivering) as agent:
        inside(agent)
        delivering.data["accounts"]["relay"]["port"] = other.port
        reloads(agent)
        name = agent.spool.drop("acme", MESSAGE)
        said = agent.wait_event("account_paused", account="relay", seconds=30)[0]
        assert f"port {other.port}" in str(said) and "connect" in str(said).lower(), said
        other.resume()
        agent.clock.advance(60)
        agent.spool.wait("acme", name, "sent")
        assert len(other.accepted) == 1


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_another_port_with_authority_and_certificate_elsewhere(delivering, servers, encryption, tmp_path):
    authority = Authority(tmp_path / "authority")
    authority.issue("good")
    certificate, key = authority.issue("client")
    other = servers([f"tls {'implicit' if encryption == 'tls' else 'starttls'} good client", "auth PLAIN"], authority.directory)
    tls = {"ca_file": elsewhere(delivering, "ca.pem", authority.ca.read_text(), 0o644),
           "certificate_file": elsewhere(delivering, "client.pem", certificate.read_text(), 0o644),
           "key_file": elsewhere(delivering, "client.key", key.read_text())}
    password = elsewhere(delivering, "new.password", "secret\n")
    with Agent(delivering) as agent:
        inside(agent)
        delivering.data["accounts"]["relay"] = {
            "auth": "basic", "email": "noreply@example.com", "username": "user", "server": "localhost", "port": other.port, "encryption": encryption,
            "password_file": str(password), "tls": {key: str(path) for key, path in tls.items()}}
        reloads(agent)
        sent = delivers(agent)
        assert sent["relay"].endswith(f":{other.port}") and sent["tls"].startswith("TLS"), sent
        assert len(other.accepted) == 1


def test_a_password_elsewhere_that_changes(delivering, servers):
    other = servers(["auth PLAIN"])
    password = elsewhere(delivering, "new.password", "wrong\n")
    with Agent(delivering) as agent:
        inside(agent, 2)
        delivering.data["accounts"]["relay"].update(auth="basic", username="user", port=other.port, password_file=str(password))
        reloads(agent)
        name = agent.spool.drop("acme", MESSAGE)
        agent.wait_event("account_paused", account="relay", seconds=30)
        fresh = elsewhere(delivering, "fresh", "secret\n")
        fresh.rename(password)
        agent.spool.wait("acme", name, "sent", seconds=30)
        assert len(other.accepted) == 1


def test_a_password_elsewhere_that_others_can_read_is_still_refused(delivering):
    password = elsewhere(delivering, "new.password", "first\n", 0o644)
    with Agent(delivering) as agent:
        inside(agent, 2)
        delivering.data["accounts"]["relay"].update(auth="basic", password_file=str(password))
        reloads(agent)
        agent.spool.drop("acme", MESSAGE)
        said = agent.wait_event("account_paused", account="relay", seconds=30)[0]
        assert "mode 0600" in str(said), said


def test_a_token_from_another_port_with_a_secret_elsewhere(delivering):
    with Agent(delivering) as agent, Provider("microsoft", client_secret="hush", clock=agent.clock) as provider:
        inside(agent)
        secret = elsewhere(delivering, "client.secret", "hush\n")
        delivering.data["accounts"]["office"] = provider.account(
            oauth={"flow": "client_credentials", "tenant": "contoso.example", "client_secret_file": str(secret)},
            server="127.0.0.1", port=delivering.first.port)
        delivering.tenant("office", account="office")
        reloads(agent)
        agent.wait_event("token_refreshed", account="office", seconds=20)
        assert provider.seen("token", "client_credentials")


def test_the_log_goes_elsewhere_and_is_begun_anew(delivering):
    directory = delivering.directory.parent / f"{delivering.directory.name}-log"
    directory.mkdir()
    log = directory / "outtray.log"
    with Agent(delivering) as agent:
        inside(agent, 2)
        delivering.set(log={"file": str(log)})
        reloads(agent)
        assert "event=reload" in log.read_text()
        log.rename(directory / "outtray.log.1")
        agent.reload()
        wait_until(lambda: log.exists() and "event=reload" in log.read_text(), 20, lambda: agent.log_text())
        assert not agent.events("log_reopen_failed")


def test_a_log_beside_the_configuration_is_begun_anew(delivering, servers):
    log = delivering.directory / "outtray.log"
    delivering.set(log={"file": str(log)})
    other = servers()
    with Agent(delivering) as agent:
        inside(agent)
        log.rename(delivering.directory / "outtray.log.1")
        delivering.data["accounts"]["relay"]["port"] = other.port
        delivering.write()
        agent.reload()
        wait_until(lambda: log.exists() and "event=reload " in log.read_text(), 20, lambda: agent.log_text())
        delivers(agent)
        assert len(other.accepted) == 1


def test_a_broken_file_is_refused_and_the_old_one_goes_on(delivering):
    with Agent(delivering) as agent:
        inside(agent)
        good = dict(delivering.data["accounts"]["relay"])
        delivering.data["accounts"]["relay"].update(port=free_port(), encryption="sometimes")
        assert "encryption" in refuses(agent)
        delivers(agent)
        delivering.data["accounts"]["relay"] = good
        reloads_again = len(agent.events("reload"))
        delivering.write()
        agent.reload()
        agent.wait_event("reload", count=reloads_again + 1)
        delivers(agent)
        assert len(delivering.first.accepted) == 2


def test_what_is_the_agents_own_still_needs_a_restart(delivering, servers):
    other = servers()
    with Agent(delivering) as agent:
        inside(agent)
        delivering.data["accounts"]["relay"]["port"] = other.port
        delivering.set(agent="another")
        assert "agent changed: restart needed" in refuses(agent)
        delivers(agent)
        assert len(delivering.first.accepted) == 1 and not other.accepted
        delivering.data.pop("agent")
        delivering.set(metrics={"listen": f"127.0.0.1:{free_port()}"})
        assert re.search(r"listening on port \d+: restart needed", refuses(agent))


def test_a_configuration_that_the_agent_can_write_is_not_trusted(delivering, servers):
    other = servers()
    delivering.write()
    home = delivering.path
    inner = delivering.spool / "outtray.yaml"
    with Agent(delivering) as agent:
        inside(agent)
    # The same file, but below the spool.
    delivering.path = inner
    try:
        with Agent(delivering) as agent:
            inside(agent)
            delivering.data["accounts"]["relay"]["port"] = other.port
            said = refuses(agent)
            assert f"port {other.port}: restart needed" in said and "may write" in said
            delivers(agent)
            assert not other.accepted
    finally:
        delivering.path = home


def test_without_the_helper_it_says_so(delivering, servers):
    other = servers()
    with Agent(delivering) as agent:
        inside(agent)
        os.kill(helper_of(agent.pid), signal.SIGKILL)
        agent.wait_event("hooks_ended")
        delivering.data["accounts"]["relay"]["port"] = other.port
        said = refuses(agent)
        assert f"port {other.port}: restart needed" in said and "helper process has ended" in said
        delivers(agent)
        assert len(delivering.first.accepted) == 1 and not other.accepted
        delivering.data["accounts"]["relay"]["port"] = delivering.first.port
        delivering.tenant("other", account="relay")  # nothing beyond the sandbox
        before = len(agent.events("reload"))
        delivering.write()
        agent.reload()
        agent.wait_event("reload", count=before + 1)


def test_a_helper_that_dies_later_pauses_its_accounts_only(delivering, servers):
    other = servers()
    delivering.account("second", email="second@example.com", server="127.0.0.1", port=delivering.first.port, encryption="none")
    delivering.tenant("still", account="second")
    with Agent(delivering) as agent:
        inside(agent)
        delivering.data["accounts"]["relay"]["port"] = other.port
        reloads(agent)
        os.kill(helper_of(agent.pid), signal.SIGKILL)
        agent.wait_event("hooks_ended")
        name = agent.spool.drop("acme", MESSAGE)
        said = agent.wait_event("account_paused", account="relay", seconds=30)[0]
        assert "helper process has ended" in str(said) and "restart" in str(said), said
        agent.spool.wait("still", agent.spool.drop("still", MESSAGE), "sent")
    with Agent(delivering, init=False) as agent:
        agent.spool.wait("acme", name, "sent", seconds=30)
    assert len(other.accepted) == 1


def test_without_a_sandbox_nothing_is_asked(delivering, servers):
    other = servers()
    delivering.set(sandbox=False)
    with Agent(delivering) as agent:
        agent.wait_ready()
        os.kill(helper_of(agent.pid), signal.SIGKILL)
        agent.wait_event("hooks_ended")
        delivering.data["accounts"]["relay"]["port"] = other.port
        reloads(agent)
        delivers(agent)
        assert len(other.accepted) == 1


def test_who_took_the_agent_over_gets_what_the_file_names_and_no_more(config):
    named_file, other_file = elsewhere(config, "named.password", "secret\n"), elsewhere(config, "other.password", "secret\n")
    hooks = []
    for name in ("named", "other"):
        hooks.append(elsewhere(config, name, f"#!/bin/sh\ntouch {config.directory}/ran-{name}\n", 0o755))
    config.account("relay", email="noreply@example.com", server="127.0.0.1", encryption="none")
    config.tenant("acme", account="relay")
    config.write()
    outtray("init", config=config, check=True)
    with socket.socket() as named, socket.socket() as other, socket.socket() as another:
        for one, host in ((named, "127.0.0.1"), (other, "127.0.0.1")):
            one.bind((host, 0))
            one.listen()
        named_port, other_port = named.getsockname()[1], other.getsockname()[1]
        another.bind(("127.0.0.2", named_port))
        another.listen()
        process = subprocess.Popen([ASK, config.path, str(named_port), str(other_port), named_file, other_file, *hooks],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        early = []
        while not early or early[-1] != "ready":
            line = process.stdout.readline()
            assert line, process.stderr.read()
            early.append(line.strip())
        config.account("relay", auth="basic", server="127.0.0.1", port=named_port, encryption="none", password_file=str(named_file))
        config.set(hooks={"sent": [str(hooks[0])]})
        config.write()
        output, errors = process.communicate("go\n", timeout=120)
        assert process.returncode == 0 and not sanitizer_report(errors), errors
    found = dict(line.rsplit(": ", 1) for line in early[:-1] + output.splitlines())
    landlock = int(found.pop("landlock"))
    if landlock < 4:
        found.pop("named port by ourselves")
    allowed = {"load", "named port", "named file", "named hook", "named port in use", "named file in use"}
    for name, result in found.items():
        if name in allowed:
            assert result == "ok", (name, found)
        else:
            assert result.startswith("refused"), (name, found)
    assert allowed <= set(found) and len(found) >= 20
    assert (config.directory / "ran-named").exists() and not (config.directory / "ran-other").exists()
