"""Completions: what `outtray complete` says, and what bash, zsh and fish make of it."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from support.box import MESSAGE
from support.agent import binary, environment, outtray
from support.terminal import Terminal

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "completions"


@pytest.fixture
def filled(box):
    """Messages in several states, with a name that a shell has to quote."""
    box.ready()
    for name in ("fresh-1", "fresh-2", "odd name"):
        box.spool.drop("acme", MESSAGE, name=name)
    for name, state in (("waits", "deferred"), ("kept", "hold"), ("gone", "failed"), ("through", "sent")):
        box.spool.path("acme", state, name).write_bytes(MESSAGE)
    return box


def words(box, *typed, code=0):
    done = outtray("complete", "--", *typed, env={"OUTTRAY_CONFIG": str(box.config.path)})
    assert done.returncode == code and done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


def test_verbs(filled):
    found = words(filled, "")
    assert {"run", "status", "retry", "drop", "top", "log"} <= set(found) and "complete" not in found
    assert words(filled, "re") == ["retry", "release", "resume"]
    assert "Show the log" in outtray("complete", "--", "lo").stdout


@pytest.mark.parametrize("typed,wanted", [
    (["pause", ""], ["relay"]), (["resume", "re"], ["relay"]), (["doctor", ""], ["relay"]), (["test", "--to", "a@b.c", ""], ["relay"]),
    (["retry", ""], ["waits", "gone"]), (["retry", "acme/"], ["acme/waits", "acme/gone"]), (["release", ""], ["kept"]),
    (["hold", "fresh"], ["fresh-1", "fresh-2"]), (["show", "k"], ["kept"]), (["drop", "--yes", "g"], ["gone"]),
    (["retry", "--tenant", ""], ["acme"]), (["retry", "--tenant=a"], ["--tenant=acme"]), (["retry", "--tenant", "=", "a"], ["acme"]),
    (["retry", "--tenant", "="], ["acme"]), (["retry", "--reason", "p"], ["policy"]), (["pause", "--reason", ""], []),
    (["log", "--event", "def"], ["deferred"]), (["queue", "a"], ["acme"]), (["oauth", "log"], ["login"]),
    (["oauth", "login", ""], ["relay"]), (["explain", ""], [":files"]), (["log", "--file", ""], [":files"]),
    (["retry", "--fai"], ["--failed"]), (["nonsense", ""], []), (["init", ""], [])])
def test_words(filled, typed, wanted):
    assert sorted(words(filled, *typed)) == sorted(wanted)


def test_every_option_of_every_help(filled):
    """What `--help` lists is what is offered."""
    for verb in words(filled, ""):
        if verb.startswith("-"):
            continue
        listed = set(re.findall(r"--[a-z][a-z-]*", outtray(verb, "--help").stdout)) - {"--version"}
        assert set(words(filled, verb, "--")) >= listed, verb


def test_without_a_configuration(program, tmp_path):
    done = outtray("complete", "--", "pause", "", env={"OUTTRAY_CONFIG": str(tmp_path / "none")})
    assert done.returncode == 0 and done.stdout == done.stderr == ""


def shell_environment(box, tmp_path):
    """A directory with `outtray` in it comes first in PATH."""
    there = tmp_path / "bin"
    there.mkdir()
    (there / "outtray").symlink_to(binary())
    return environment(OUTTRAY_CONFIG=box.config.path, PATH=f"{there}:{os.environ['PATH']}", HOME=tmp_path)


def need(shell):
    path = shutil.which(shell)
    if not path:
        pytest.skip(f"{shell} is not installed (./scripts/setup test)")
    return path


def test_bash(filled, tmp_path):
    script = f"""
        . {SCRIPTS}/outtray.bash
        try() {{ COMP_WORDS=(outtray "$@"); COMP_CWORD=$#; COMPREPLY=(); _outtray; printf '%s|' "${{COMPREPLY[@]}}"; echo; }}
        compopt() {{ :; }}
        try re; try pause ''; try hold ''; try retry --tenant = a; try retry --reason mal
        try explain {filled.config.directory}/outtray.y
        complete -p outtray
    """
    done = subprocess.run([need("bash"), "--norc", "-c", script], capture_output=True, text=True, timeout=60,
                          env=shell_environment(filled, tmp_path))
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == ["retry|release|resume|", "relay|"]
    assert set(lines[2].split("|")) == {"fresh-1", "fresh-2", "odd\\ name", "waits", ""}
    assert lines[3:5] == ["acme|", "malformed|"]
    assert lines[5] == f"{filled.config.path}|"
    assert lines[6] == "complete -F _outtray outtray"


@pytest.mark.parametrize("shell,start", [
    ("bash", "PS1='$ '; bind 'set enable-bracketed-paste off'; . {scripts}/outtray.bash"),
    ("zsh", "PS1='$ '; fpath=({scripts} $fpath); autoload -U compinit; compinit -u -d {home}/dump"),
    ("fish", "function fish_prompt; echo '$ '; end; source {scripts}/outtray.fish")], ids=["bash", "zsh", "fish"])
def test_typed_into_a_real_shell(filled, tmp_path, shell, start):
    """TAB in a terminal finishes a verb, an account and a name with a blank in it."""
    arguments = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    with Terminal([need(shell), *arguments], env=shell_environment(filled, tmp_path), cwd=tmp_path) as terminal:
        terminal.type(start.format(scripts=SCRIPTS, home=tmp_path), "Enter")
        terminal.type("clear; echo rea''dy", "Enter")
        terminal.wait(r"^ready")
        terminal.type("outtray pau", "Tab")
        terminal.wait(r"outtray pause$")
        terminal.type("re", "Tab")
        terminal.wait(r"outtray pause relay$")
        terminal.type("", "C-u")
        terminal.wait(r"^\$$")
        terminal.type("outtray hold odd", "Tab")
        terminal.wait(r"outtray hold (odd\\ name|'odd name')")
        terminal.type("", "Enter")
        terminal.wait(r"acme/new/odd name: held")
    assert filled.spool.names("acme", "hold") == ["kept", "odd name"]
