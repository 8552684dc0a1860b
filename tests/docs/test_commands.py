"""Every command that a document shows is run as it stands there, in a private copy of this machine, or stands in NOT_HERE
with the reason why not.

The copy (see private_root.py) has root, users and a network of its own; in it mail.example.com is a server with a
certificate that counts, and sudo is a small script. The documents are one story: what README sets up, the others use.
"""

import json
import re

import pytest

from support.documents import blocks, documents
from support import private_root
from support.agent import ROOT
from support.private_root import PrivateRoot
from support.tls import Authority
from support.wait import wait_until

# Document, pattern of the command (from its beginning), why it is not run here.
NOT_HERE = [
    ("README.md", r"\./scripts/setup && make", "installs packages and builds: what was done before this test ran; the next line takes the program"),
    ("CONTRIBUTING.md", r"\./scripts/setup test|\./scripts/test|make ", "is what runs this test"),
    ("docs/QUICKSTART.md", r"sudo systemctl", "there is no systemd in the copy; tests/service holds the unit"),
    ("docs/providers.md", r"outtray |openssl ", "tests/oauth/test_guide.py runs it against local counterparts"),
    ("docs/providers.md", r"[A-Z][a-z]+-\w+ ", "PowerShell of Exchange Online, which only Microsoft's cloud answers"),
    ("docs/MIGRATING.md", r".", "tests/cli/test_migrating.py runs it, against the files of those packages"),
    ("docs/RELIABILITY.md", r".", "long runs as root, whose results stand there; make targets of their own"),
    ("docs/PERFORMANCE.md", r".", "measurements, whose results stand there; make targets of their own"),
    ("docs/BAD-INPUT.md", r".", "names tests, which run by themselves"),
    ("docs/DESIGN.md", r".", "shows no commands"),
    ("docs/OPERATIONS.md", r"outtray top", "wants a terminal; a test of its own drives it in one"),
    ("scripts/monitoring/README.md", r"ln -s", "tests/monitoring/test_prometheus.py runs it with a real node exporter"),
]
LANGUAGES = {"sh", "console", "indented"}

# What a line needs beside itself: typed input, or to be left running. By the end of the command's text.
TYPED = {"/etc/outtray/relay.password": "secret\n"}
BACKGROUND = "sudo -u outtray outtray run"


def plain(command):
    """Without the remark at its end."""
    return re.sub(r"\s{2,}#.*$|\s+# .*$", "", command)


def all_commands():
    for file in documents():
        for block in blocks(file):
            if block.language in LANGUAGES:
                for line, command in block.commands():
                    yield file, line, command


def reason(file, command):
    return next((why for name, pattern, why in NOT_HERE if name == file and re.match(pattern, command)), None)


STORY = ("README.md", "docs/QUICKSTART.md", "docs/OPERATIONS.md", "docs/FORMATS.md")


def steps():
    found = []
    for file in STORY:
        if file == "README.md":
            found.append({"file": file, "line": 0, "write": "/etc/outtray/outtray.yaml",
                          "text": next(b.text for b in blocks(file) if b.language == "yaml") + "\n"})
        for name, line, command in all_commands():
            if name == file and reason(name, command) is None:
                run = plain(command)
                found.append({"file": file, "line": line, "command": run, "background": run == BACKGROUND,
                              "input": next((text for end, text in TYPED.items() if run.endswith(end)), "")})
    # The directory of the configuration is made by the story itself, before the file is written.
    make = next(i for i, step in enumerate(found) if step.get("command", "").endswith("install -d /etc/outtray"))
    found.insert(make, found.pop(0))
    return found


def test_every_command_is_run_or_has_a_reason():
    for file, line, command in all_commands():
        assert file in STORY or reason(file, command), f"{file}:{line}: `{command}` is neither run nor in NOT_HERE"


def test_tests_that_are_named_are_there():
    for _, _, why in NOT_HERE:
        for path in re.findall(r"tests/[\w/.]*", why):
            assert (ROOT / path).exists(), path


def test_no_reason_is_left_over():
    commands = list(all_commands())
    there = set(documents())
    for name, pattern, why in NOT_HERE:
        if name in there and pattern != ".":
            assert any(file == name and re.match(pattern, command) for file, _, command in commands), (name, pattern, why)


START = """
exec unshare --net /usr/bin/python3 /shared/story.py
"""


def test_the_story(program, tmp_path):
    obstacle = private_root.obstacle()
    if obstacle:
        pytest.skip(obstacle)
    root = PrivateRoot(tmp_path / "root", [], START)
    authority = Authority(root.shared / "authority")
    authority.issue("good", hosts=("mail.example.com",))
    (root.shared / "story.py").write_text((ROOT / "tests/docs/story.py").read_text(encoding="utf-8"))
    (root.shared / "story.json").write_text(json.dumps({"root": str(ROOT), "program": program, "steps": steps()}))
    root.start()
    try:
        wait_until(lambda: not root.running(), 300, root.log_text)
        results = json.loads((root.shared / "results.json").read_text())
    finally:
        root.stop()
    assert len(results["steps"]) > 15
    for step in results["steps"]:
        assert step["code"] == 0, f"{step['file']}:{step['line']}: `{step['command']}` ended with {step['code']}\n{step['output']}"
    assert results["received"], root.log_text()
    first = results["received"][0]
    assert first["from"] == "<noreply@example.com>" and first["to"] == ["you@example.net"]
    assert 'From: "Acme Voicemail" <voicemail@acme.example>' in first["data"].replace("From: Acme Voicemail", 'From: "Acme Voicemail"')
    assert "It works." in first["data"]
