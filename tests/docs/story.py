"""Inside of the private copy: plays the steps of story.json and leaves results.json. See test_commands.py."""

import fcntl
import json
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

SHARED = pathlib.Path("/shared")
story = json.loads((SHARED / "story.json").read_text())
ROOT = pathlib.Path(story["root"])
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cases")]
sys.dont_write_bytecode = True

from smtpserver import Server  # noqa: E402

SUDO = """#!/bin/bash
set -eu
if [ "$1" = -u ]; then
    exec setpriv --reuid "$2" --regid "$2" --init-groups "${@:3}"
fi
exec "$@"
"""


def prepare():
    """The loopback interface, names, a certificate that counts, sudo, and the program under test where the README builds it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING
    with open("/etc/hosts", "w", encoding="ascii") as hosts:
        hosts.write("127.0.0.1 localhost mail.example.com\n")
    with open("/etc/ssl/certs/ca-certificates.crt", "a", encoding="ascii") as bundle:
        bundle.write((SHARED / "authority" / "ca.pem").read_text())
    for name in ("sudo",):
        path = pathlib.Path("/usr/local/bin", name)
        path.write_text(SUDO)
        path.chmod(0o755)
    build = ROOT / "build" / "outtray"
    if not build.exists():
        build.parent.mkdir(exist_ok=True)
        shutil.copy(story["program"], build)
    for name in ("/etc/outtray", "/var/spool/outtray", "/var/lib/outtray"):
        shutil.rmtree(name, ignore_errors=True)


def serve():
    server = Server(["tls starttls good", "auth PLAIN"], certs=str(SHARED / "authority"))
    server.socket.close()
    server.socket = socket.socket()
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.socket.bind(("127.0.0.1", 587))
    server.start()
    return server


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def play(server, step, running, environment):
    if step.get("background"):
        with open(SHARED / "agent.log", "wb") as out:
            running.append(subprocess.Popen(["/bin/bash", "-c", "exec " + step["command"]], cwd=ROOT, env=environment,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        wait_for(lambda: pathlib.Path("/var/lib/outtray/status.json").exists())
        return 0, ""
    before = len(server.accepted)
    done = subprocess.run(["/bin/bash", "-c", step["command"]], cwd=ROOT, env=environment, input=step["input"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200, check=False)
    if "outtray submit" in step["command"] and running:
        wait_for(lambda: len(server.accepted) > before)
    return done.returncode, done.stdout[-4000:]


def main():
    prepare()
    server = serve()
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
                   "TERM": "dumb", "ASAN_OPTIONS": "exitcode=99", "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
    # The test server's user and password, as the file in the README would name them.
    server_login = {"username": "user"}
    results, running = [], []
    for step in story["steps"]:
        if "write" in step:
            text = step["text"].replace("    password_file:", f"    username: {server_login['username']}\n    password_file:")
            pathlib.Path(step["write"]).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(step["write"]).write_text(text)
            continue
        code, output = play(server, step, running, environment)
        results.append(dict(step, code=code, output=output))
        print(f"{step['file']}:{step['line']}: {code} {step['command']}", flush=True)
        if code:
            break
    for process in running:
        process.send_signal(signal.SIGTERM)
        results.append({"file": "README.md", "line": 0, "command": "SIGTERM to the agent", "code": process.wait(60),
                        "output": (SHARED / "agent.log").read_text()[-4000:]})
    received = [{"from": mail.mail, "to": mail.rcpts, "data": mail.data.decode("utf-8", "replace")} for mail in server.accepted]
    (SHARED / "results.json").write_text(json.dumps({"steps": results, "received": received}))


main()
