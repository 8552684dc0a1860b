"""Kills at each mutating call, and cuts of the power right after. One worker per process: see run.py."""

import json
import os
import pathlib
import re
import subprocess

from scenario import PATIENCE
from support.agent import binary, environment
from support.provider import Provider
from volume import Mounted, copy, end_with_parent

TRACER = pathlib.Path(__file__).resolve().parents[2] / "build-crash/crash/tracer"


def traced(stage, options, command, **popen):
    """Starts command under the tracer; its list of calls goes to stage.calls."""
    stage.calls = stage.directory / "calls"
    return subprocess.Popen([str(TRACER), "--below", str(stage.disk), "--list", str(stage.calls), *options, "--", *command],
                            env=environment(stage.clock), cwd=stage.directory, preexec_fn=end_with_parent, **popen)


def options_of(target):
    """target: {"kill": N} or {"at": NAME, "kill": N}; nothing: no kill."""
    options = []
    if target.get("at"):
        options += ["--kill-at", target["at"]]
    if target.get("kill"):
        options += ["--kill", str(target["kill"])]
    return options


def plain(name):
    """The name of a call with what differs from run to run taken out: inodes, times, processes."""
    name = re.sub(r"/\.\d+\.(status\.)?tmp", r"/.INODE.\1tmp", name)
    return re.sub(r"\d{9,}\.M\d+P\d+R[0-9a-f]+\.\S+", "NAME", name)


def calls_of(stage):
    lines = stage.calls.read_text(encoding="utf-8", errors="backslashreplace").splitlines()
    killed = lines.pop().removeprefix("killed ") if lines and lines[-1].startswith("killed ") else None
    return [plain(line) for line in lines], plain(killed) if killed else None


def run_traced(stage, target, *options, play=None):
    """An agent under the tracer, which dies at the target or ends by itself; play: sees it through its acts. Returns the
    exit status."""
    with open(stage.agent.output, "ab") as out:
        process = traced(stage, options_of(target), [binary(), "run", *options, "--config", str(stage.config.path)],
                         stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        if play and play(lambda: process.poll() is not None):
            process.terminate()
        code = process.wait(PATIENCE)
        assert code in (0, 1, 137), f"the agent ended with {code}\n{stage.agent.log_text()[-3000:]}"
        return code
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def agent_state(stage, kind, template, target, cut=True):
    """One state: plays the scenario, kills at the target, cuts the power, recovers, judges. Returns the findings."""
    def crash():
        return run_traced(stage, target, play=stage.play)
    return crashed_state(stage, kind, template, target, cut, crash)


def recovery_state(stage, kind, template, target, cut=True):
    """The same for the agent that recovers: one was killed at the call number target["first"] before it."""
    def crash():
        run_traced(stage, {"kill": target["first"]}, play=stage.play)
        stage.crashes = 2
        stage.a_day_later()
        return run_traced(stage, target, "--once")
    return crashed_state(stage, kind, template, target, cut, crash)


def crashed_state(stage, kind, template, target, cut, crash):
    stage.reset()
    image = stage.directory / "image"
    copy(template, image)
    stage.agent.output.unlink(missing_ok=True)
    disk = Mounted(kind, image, stage.disk)
    try:
        code = crash()
        if cut:
            disk.cut()
    finally:
        disk.close()
    calls, killed = calls_of(stage)
    found, logged = [], stage.agent.log_text()
    disk = Mounted(kind, image, stage.disk)
    try:
        found += stage.look(logged, list(stage.server.accepted))
        before = stage.finish()
        found += stage.judge(before)
    except AssertionError as problem:
        found.append(f"recovery: {problem}")
    finally:
        disk.close()
    image.unlink()
    return {"target": target, "cut": cut, "code": code, "killed": killed, "calls": calls, "found": found,
            "repeated": getattr(stage, "repeated", 0)}


# Producers

SUBMITTED = b"To: somebody@crash.example\nSubject: submitted\n\n" + b"Every line of it has to be there.\n" * 5000


def submit_state(stage, kind, template, target, cut=True):
    """`outtray submit`: what it accepted is there after the cut, and nothing is there by halves."""
    stage.reset()
    image = stage.directory / "image"
    copy(template, image)
    disk = Mounted(kind, image, stage.disk)
    try:
        (stage.directory / "input").write_bytes(SUBMITTED)
        with open(stage.directory / "input", "rb") as text:
            process = traced(stage, options_of(target), [binary(), "submit", "--config", str(stage.config.path), "--tenant",
                                                         "acme"], stdin=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            out, _ = process.communicate(timeout=PATIENCE)
        if cut:
            disk.cut()
    finally:
        disk.close()
    calls, killed = calls_of(stage)
    found = []
    if process.returncode not in (0, 137):
        found.append(f"submit ended with {process.returncode}: {out.decode(errors='replace')}")
    disk = Mounted(kind, image, stage.disk)
    try:
        there = [path for path in stage._files("new") if path.name[:2] not in ("1.", "2.", "3.", "4.", "5.", "6.")]
        whole = [path for path in there if path.read_bytes().endswith(SUBMITTED)]
        if there != whole:
            found.append("half a message is in new/")
        if process.returncode == 0 and len(whole) != 1:
            found.append(f"accepted with status 0, and {len(whole)} of it in new/")
        if len(whole) > 1:
            found.append("one submission, several messages")
    finally:
        disk.close()
    image.unlink()
    return {"target": target, "cut": cut, "code": process.returncode, "killed": killed, "calls": calls, "found": found,
            "repeated": 0}


# Tokens


def provider_of(stage):
    """A provider that gives a new refresh token each time; its account is in the stage's configuration."""
    if not hasattr(stage, "provider"):
        stage.provider = Provider("microsoft", rotation="replace")
        stage.provider.start()
        stage.config.account("office", **stage.provider.account("pbx@contoso.example"))
        stage.config.write()
    return stage.provider


def token_state(stage, kind, template, target, cut=True):
    """`outtray oauth refresh`: the token on the disk is the old one or the new one, whole and of use; the new one where the
    command said that it went well."""
    stage.reset()
    provider, image, found = provider_of(stage), stage.directory / "image", []
    copy(template, image)
    command = [binary(), "oauth", "refresh", "office", "--config", str(stage.config.path)]
    disk = Mounted(kind, image, stage.disk)
    try:
        path = provider.store(stage.config.state, "office")
        os.sync()
        old, known = json.loads(path.read_text())["refresh_token"], set(provider.refresh)
        process = traced(stage, options_of(target), command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
        out, _ = process.communicate(timeout=PATIENCE)
        if cut:
            disk.cut()
    finally:
        disk.close()
    calls, killed = calls_of(stage)
    fresh = set(provider.refresh) - known
    if process.returncode not in (0, 137):
        found.append(f"refresh ended with {process.returncode}: {out.decode(errors='replace')}")
    disk = Mounted(kind, image, stage.disk)
    try:
        text = path.read_text(encoding="utf-8")
        token = json.loads(text)["refresh_token"]
        if token not in fresh | {old} or (process.returncode == 0 and token not in fresh):
            found.append("the refresh token on the disk is neither the old nor the new one, or not the new one")
        again = subprocess.run(command, env=environment(stage.clock), stdin=subprocess.DEVNULL, capture_output=True,
                               timeout=PATIENCE)
        if again.returncode != 0 or json.loads(path.read_text(encoding="utf-8"))["refresh_token"] == token:
            found.append(f"the token on the disk is of no use: {again.stderr.decode(errors='replace')}")
        leftovers = [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".new")]
        if leftovers:
            found.append(f"left behind after the next refresh: {leftovers}")
    except (OSError, ValueError, KeyError) as problem:
        found.append(f"no token on the disk: {problem!r}")
    finally:
        disk.close()
    image.unlink()
    return {"target": target, "cut": cut, "code": process.returncode, "killed": killed, "calls": calls, "found": found,
            "repeated": 0}
