"""The agent's sandbox from inside and from outside: what it refuses, what it lets through, and what is said where it is missing."""

import ctypes
import os
import pathlib
import re
import resource
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest

from support.agent import Agent, Config, binary, environment, outtray, sanitizer_report
from support.net import free_port
from support.wait import wait_until

MESSAGE = b"From: Jane <jane@inside.example>\nTo: a@example.net\nSubject: hello\n\nOne line.\n"
LEAVE = pathlib.Path(binary()).parent / "sandbox" / "leave"

# What Landlock refuses, from which of its versions on.
BY_LANDLOCK = {"read /etc/shadow": 2, "a thread may not either": 2, "read /root": 2, "write /tmp": 2, "write /usr": 2,
               "read another process": 2, "connect to another port": 4, "listen on another port": 4,
               "connect to an abstract socket": 6, "signal another process": 6, "ptrace": 2}
BY_SECCOMP = ["exec", "execveat", "ptrace", "io_uring_setup", "mount", "unshare", "chroot", "bpf", "perf_event_open", "keyctl",
              "setuid", "packet socket", "multipath TCP", "SCTP", "memfd_create", "terminal input"]
WORK = ["connect to the account's port", "open the spool", "write a status", "replace a status", "write a message", "find it",
        "claim it", "move it to sent", "read the password", "read the authorities", "read resolv.conf", "read the configuration",
        "append to the log", "find a name", "make a thread"]


def with_log(config):
    """The log has a directory of its own: an agent must not be able to write beside its configuration."""
    (config.directory / "log").mkdir()
    return config.set(log={"file": str(config.directory / "log" / "outtray.log")})


@pytest.fixture
def place(config, server):
    config.account("relay", auth="basic", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none",
                   password="secret")
    config.tenant("acme", account="relay", from_="Acme Voicemail <voicemail@acme.example>")
    return with_log(config)


@pytest.fixture
def delivering(config, server):
    config.account("relay", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none")
    config.tenant("acme", account="relay", from_="Acme Voicemail <voicemail@acme.example>")
    return config


def leave(config, port, program=LEAVE, **options):
    """Runs the program that enters the sandbox and tries to leave it: {what: "ok" or "refused (…)" or a number}."""
    assert os.access(program, os.X_OK), f"{program} is missing: run `make all asan`"
    with socket.socket() as other, socket.socket(socket.AF_UNIX) as abstract:  # somebody listens: only the sandbox can refuse it
        other.bind(("127.0.0.1", 0))
        other.listen()
        abstract.bind(f"\0outtray-test-{other.getsockname()[1]}")
        abstract.listen()
        done = subprocess.run([program, config.path, str(port), str(other.getsockname()[1]), str(os.getpid())],
                              capture_output=True, text=True, timeout=60, env=environment(), check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not sanitizer_report(done.stderr), done.stderr
    found = {}
    for line in done.stdout.splitlines():
        key, _, value = line.rpartition(": ")
        found[key] = value
    return found


def judge(found):
    landlock, seccomp = int(found["landlock"]), int(found["seccomp"])
    for name, since in BY_LANDLOCK.items():
        if landlock >= since and name in found:
            assert found[name].startswith("refused"), (name, found[name])
    if seccomp:
        for name in BY_SECCOMP + (["fork"] if "fork" in found else []):
            if name != "ptrace":
                assert found[name].startswith("refused"), (name, found[name])
    assert found["be dumped"].startswith("refused")
    for name in WORK:
        assert found[name] == "ok", (name, found[name])
    return landlock, seccomp


def test_nothing_leaves_and_the_work_is_done(place, server):
    place.write()
    outtray("init", config=place, check=True)
    landlock, seccomp = judge(leave(place, server.port))
    if not landlock or not seccomp:
        pytest.skip(f"this kernel has landlock={landlock} seccomp={seccomp}; what it has was held to the list")


def test_the_same_as_a_user_of_no_rights(server):
    if os.geteuid() != 0:
        pytest.skip("the tests run without root: the other test has shown it")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="outtray-sandbox-"))
    try:
        config = Config(directory / "home")
        config.account("relay", auth="basic", email="noreply@example.com", server="127.0.0.1", port=server.port, encryption="none",
                       password="secret")
        config.tenant("acme", account="relay")
        with_log(config)
        config.write()
        shutil.copy(LEAVE, directory / "leave")
        outtray("init", config=config, check=True)
        for path in [directory, *directory.rglob("*")]:
            os.chown(path, 65534, 65534)
        judge(leave(config, server.port, directory / "leave", user=65534, group=65534, extra_groups=[], cwd=config.directory))
    finally:
        shutil.rmtree(directory)


def threads(pid):
    texts = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status")]
    return [dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE)) for text in texts]


def test_every_thread_of_the_running_agent_is_inside(delivering):
    with Agent(delivering) as agent:
        agent.wait_ready()
        agent.spool.wait("acme", agent.spool.drop("acme", MESSAGE), "sent")
        said = agent.events("sandbox")[0]
        shown = agent.status()["sandbox"]
        assert str(shown["landlock"]) == said["landlock"].replace("none", "0")
        assert shown["seccomp"] is (said["seccomp"] == "yes")
        for thread in threads(agent.pid):
            assert thread["NoNewPrivs"] == "1", thread["Name"]
            assert thread["Seccomp"] == ("2" if shown["seccomp"] else "0"), thread["Name"]
        assert said["level"] == ("notice" if shown["landlock"] >= 4 and shown["seccomp"] else "warning")
        check, doctor = agent.verb("check"), agent.verb("doctor", "relay")
        for text in (check.stdout, doctor.stdout):
            assert re.search(rf"sandbox.*: .*Landlock {shown['landlock'] or ''}", text), text
        assert ("seccomp" in check.stdout) and check.returncode == 0


def test_switched_off_it_warns(delivering):
    delivering.set(sandbox=False)
    with Agent(delivering) as agent:
        agent.wait_ready()
        assert agent.events("sandbox", level="warning")
        assert agent.status()["sandbox"] == {"landlock": 0, "seccomp": False}
        assert {thread["Seccomp"] for thread in threads(agent.pid)} <= {"0", threads(os.getpid())[0]["Seccomp"]}
        agent.spool.wait("acme", agent.spool.drop("acme", MESSAGE), "sent")
        assert "sandbox: off" in agent.verb("check").stdout
        delivering.set(sandbox=True)
        delivering.write()
        agent.reload()
        assert "restart needed" in agent.wait_event("reload_refused")[0]["msg"]


def test_a_reload_within_the_sandbox_works(delivering):
    with Agent(delivering) as agent:
        agent.wait_ready()
        delivering.tenant("other", account="relay")
        delivering.data["accounts"]["spare"] = {"auth": "none", "server": "mail.example.com", "port": 587}
        delivering.write()
        agent.reload()
        agent.wait_event("reload")
        wait_until(lambda: "other" in agent.status()["tenants"], 20, "the new tenant")
        agent.spool.wait("other", agent.spool.drop("other", MESSAGE), "sent")


# A kernel that lacks one wall or both, played by a filter that answers for it.

PRCTL, SECCOMP, LANDLOCK = {"x86_64": (157, 317, 444), "aarch64": (167, 277, 444)}.get(os.uname().machine, (0, 0, 0))
PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
ENOSYS, EINVAL, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 38, 22, 22, 38


def without(landlock, seccomp):
    """A preexec function: from then on the kernel knows no Landlock, or no filters."""
    code = [(0x20, 0, 0, 0)]  # load the number
    if landlock:
        code += [(0x15, 0, 1, LANDLOCK), (0x06, 0, 0, 0x50000 | ENOSYS)]
    if seccomp:
        code += [(0x15, 0, 1, SECCOMP), (0x06, 0, 0, 0x50000 | ENOSYS),
                 (0x15, 0, 3, PRCTL), (0x20, 0, 0, 16), (0x15, 0, 1, PR_SET_SECCOMP), (0x06, 0, 0, 0x50000 | EINVAL)]
    code += [(0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("HBBI", *one) for one in code)

    def enter():
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(program)
        fprog = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        assert libc.prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(fprog), 0, 0) == 0
    return enter


@pytest.mark.parametrize("landlock, seccomp", [(True, False), (False, True), (True, True)])
def test_an_older_kernel_is_told_of_and_works(delivering, clock, landlock, seccomp):
    if not PRCTL:
        pytest.skip(f"the numbers of system calls on {os.uname().machine} are not known here")
    agent = Agent(delivering, clock=clock)
    agent.prepare()
    agent.spool.drop("acme", MESSAGE)
    clock.advance(10)
    done = subprocess.run([binary(), "run", "--once", "--config", str(delivering.path)], capture_output=True, text=True, timeout=60,
                          env=environment(clock), preexec_fn=without(landlock, seccomp), check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "event=sandbox" in line]
    assert len(said) == 1 and "level=warning" in said[0], done.stderr
    shown = agent.status()["sandbox"]
    assert not (landlock and shown["landlock"]) and not (seccomp and shown["seccomp"])
    assert len(agent.spool.names("acme", "sent")) == 1


def test_too_little_lockable_memory_is_a_warning(delivering):
    def little():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        if os.geteuid() == 0:  # who may lock as much as it likes, but for this
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) == 0
    agent = Agent(delivering)
    agent.prepare()
    done = subprocess.run([binary(), "run", "--once", "--config", str(delivering.path)], capture_output=True, text=True, timeout=60,
                          env=environment(agent.clock), preexec_fn=little, check=False)
    assert "event=secrets_unlocked" in done.stderr


def test_listening_for_metrics_stays_possible(delivering):
    port = free_port()
    delivering.set(metrics={"listen": f"127.0.0.1:{port}"})
    with Agent(delivering) as agent:
        agent.wait_ready()

        def scrape():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                    peer.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    return b"200" in peer.recv(64)
            except OSError:
                return False
        wait_until(scrape, 20, lambda: agent.log_text())
