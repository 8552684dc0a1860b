"""What all verbs have in common: help, version, usage errors, where the configuration comes from and what is wrong with it."""

import re
import shutil
import subprocess

import pytest

from support.agent import binary, outtray

VERBS = ["run", "init", "check", "queue", "submit", "explain", "oauth", "doctor", "status", "show", "log", "top", "retry", "hold", "release", "drop", "pause", "resume", "flush", "test", "complete"]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(program, verb):
    done = outtray(verb, "--help")
    assert done.returncode == 0
    assert f"outtray {verb}" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_version_of_a_verb(program, verb):
    done = outtray(verb, "--version")
    assert done.returncode == 0
    assert re.search(r"outtray \d+\.\d+\.\d+", done.stdout)


def test_help_and_version_without_a_verb(program):
    done = outtray("--help")
    assert done.returncode == 0
    assert all(re.search(rf"\b{verb}\b", done.stdout) for verb in VERBS)
    done = outtray("--version")
    assert done.returncode == 0
    assert re.search(r"outtray \d+\.\d+\.\d+", done.stdout)


def test_no_verb_is_a_usage_error(program):
    assert outtray().returncode == 64


def test_unknown_verb(program):
    done = outtray("deliver")
    assert done.returncode == 64
    assert "deliver" in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_option(box, verb):
    box.ready()
    done = box.run(verb, "--no-such-option", input=b"")
    assert done.returncode == 64
    assert "no-such-option" in done.stderr


@pytest.mark.parametrize("verb", ["init", "check", "run"])
def test_surplus_argument(box, verb):
    box.ready()
    assert box.run(verb, "surplus").returncode == 64


def test_config_without_a_value(program):
    assert outtray("check", "--config").returncode == 64


@pytest.mark.parametrize("verb", ["run", "init", "queue", "submit", "explain"])
def test_broken_configuration(box, verb):
    """78, and where in the file: FILE:LINE:COL: PATH: …"""
    box.ready()
    path = box.config.path
    path.write_text(path.read_text().replace("port:", "prot:"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "prot:" in text)
    message = box.config.directory / "message"
    message.write_bytes(b"To: a@example.net\n\ntext\n")
    done = box.run(verb, *([message] if verb == "explain" else []), input=b"To: a@example.net\n\ntext\n")
    assert done.returncode == 78
    assert re.search(rf"{re.escape(str(path))}:{line}:\d+: accounts\.relay\.prot: ", done.stderr)
    assert "port" in done.stderr.replace("prot", "")  # the nearest known key
    assert box.spool.names("acme", "new") == []


def test_all_errors_in_one_run(box):
    box.config.data["accounts"]["relay"]["port"] = 70000
    box.config.data["tenants"]["acme"]["account"] = "nobody"
    box.config.data["retry"]["first"] = "soon"
    box.config.write()
    done = box.run("queue")
    assert done.returncode == 78
    for path in ("accounts.relay.port", "tenants.acme.account", "retry.first"):
        assert re.search(rf"outtray\.yaml:\d+:\d+: {re.escape(path)}: ", done.stderr), done.stderr


BROKEN = {
    "line end in From": lambda data: data["tenants"]["acme"].update({"from": "Acme\r\nBcc: x@evil.example <a@acme.example>"}),
    "From without an address": lambda data: data["tenants"]["acme"].update({"from": "Acme"}),
    "tenant of no account": lambda data: data["tenants"]["acme"].pop("account"),
    "unknown parent": lambda data: data["tenants"]["acme"].update({"parent": "nobody"}),
    "own parent": lambda data: data["tenants"]["acme"].update({"parent": "acme"}),
    "circle": lambda data: data["tenants"].update({"a": {"parent": "b"}, "b": {"parent": "a"}}),
    "unknown auth": lambda data: data["accounts"]["relay"].update({"auth": "magic"}),
    "unknown encryption": lambda data: data["accounts"]["relay"].update({"encryption": "maybe"}),
    "port 0": lambda data: data["accounts"]["relay"].update({"port": 0}),
    "no server": lambda data: data["accounts"]["relay"].pop("server"),
    "bad e-mail": lambda data: data["accounts"]["relay"].update({"email": "nobody"}),
    "basic without a password": lambda data: data["accounts"]["relay"].update({"auth": "basic"}),
    "microsoft over tls": lambda data: data["accounts"].update(
        {"office": {"auth": "microsoft", "email": "a@contoso.example", "encryption": "tls", "oauth": {"client_id": "x"}}}),
    "google with a device code": lambda data: data["accounts"].update(
        {"office": {"auth": "google", "email": "a@gmail.example", "oauth": {"client_id": "x", "flow": "device_code"}}}),
    "a list for a text": lambda data: data.update({"domain": ["a", "b"]}),
    "a tenant called ..": lambda data: data["tenants"].update({"..": {"account": "relay"}}),
    "a tenant with a slash": lambda data: data["tenants"].update({"a/b": {"account": "relay"}}),
    "another version": lambda data: data.update({"version": 2}),
    "jitter of 3": lambda data: data["retry"].update({"jitter": 3}),
    "unknown default tenant": lambda data: data.update({"default_tenant": "nobody"}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_configuration_refused(box, what):
    BROKEN[what](box.config.data)
    box.config.write()
    done = box.run("queue")
    assert done.returncode == 78
    assert re.search(r"outtray\.yaml:\d+:\d+: \S", done.stderr), done.stderr


@pytest.mark.parametrize("text", ["", "version: [1\n", "- a\n", "\t\n", "version: 1\nversion: 1\n", "a: &a [*a]\n", "version: 1\n---\nversion: 1\n"])
def test_no_configuration_at_all(box, text):
    box.config.write()
    box.config.path.write_text(text)
    done = box.run("queue")
    assert done.returncode == 78
    assert "outtray.yaml" in done.stderr


def test_missing_configuration_file(program, tmp_path):
    done = outtray("queue", config=tmp_path / "nowhere.yaml")
    assert done.returncode in (66, 78)
    assert "nowhere.yaml" in done.stderr


def test_configuration_from_the_environment(box):
    box.ready()
    done = outtray("check", env={"OUTTRAY_CONFIG": box.config.path})
    assert done.returncode == 0
    assert "acme" in done.stdout
    # --config wins.
    assert outtray("check", f"--config={box.config.path}", env={"OUTTRAY_CONFIG": "/nowhere"}).returncode == 0


@pytest.mark.parametrize("verb", ["run", "queue", "submit"])
def test_missing_spool(box, verb):
    box.config.write()
    shutil.rmtree(box.config.spool)
    done = box.run(verb, *(["--once"] if verb == "run" else []), input=b"To: a@example.net\n\ntext\n")
    assert done.returncode == 78
    assert str(box.config.spool) in done.stderr


def test_second_agent_of_one_name(box):
    box.ready()
    running = subprocess.Popen([binary(), "run", "--config", str(box.config.path)], stderr=subprocess.DEVNULL)
    try:
        status = box.config.state / "status.json"
        from support.wait import wait_until
        wait_until(status.exists, 20, "status.json")
        done = box.run("run", "--once")
        assert done.returncode == 69
        assert "main" in done.stderr
    finally:
        running.terminate()
        assert running.wait(30) == 0


def test_another_agent_name_shares_the_spool(box):
    box.ready()
    box.spool.drop("acme", b"To: a@example.net\n\ntext\n", name="one")
    other = box.config.directory / "other.yaml"
    running = subprocess.Popen([binary(), "run", "--config", str(box.config.path)], stderr=subprocess.DEVNULL)
    try:
        box.spool.wait("acme", "one", "sent")
        box.config.data.update(agent="backup", state=str(box.config.directory / "state2"))
        (box.config.directory / "state2").mkdir(mode=0o700)
        other.write_text(__import__("yaml").safe_dump(box.config.data))
        done = outtray("run", "--once", config=other)
        assert done.returncode == 0, done.stderr
    finally:
        running.terminate()
        assert running.wait(30) == 0
