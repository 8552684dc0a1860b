"""The token store under fire: several processes at once, and kill -9 between the provider's answer and the disk."""

import pathlib
import shutil
import subprocess

import pytest

from office import ACCOUNT, FIX, Office
from support.agent import binary, environment, sanitizer_report
from support.wait import wait_until


def start_refresh(office):
    return subprocess.Popen([binary(), "oauth", "--config", str(office.config.path), "refresh", ACCOUNT], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(office.clock), text=True)


def finish(process):
    out, err = process.communicate(timeout=60)
    assert not sanitizer_report(err), err
    return process.returncode, out, err


SLEEPS = ("35", "230")  # nanosleep, clock_nanosleep: between two looks at a lock that another process holds


def waits_for_lock(pid):
    """Whether a verb sleeps; it has nothing else to sleep for."""
    try:
        return pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[0] in SLEEPS
    except OSError:
        return False


@pytest.mark.parametrize("rotation", ("none", "replace", "strict"))
def test_many_ask_at_once(program, tmp_path, rotation):
    """Five verbs want a fresh token at the same time: the provider sees one request, all of them are content."""
    with Office(tmp_path, "microsoft", rotation=rotation) as office:
        office.store(age=4000)
        running = []

        def hold(request):  # until everybody else stands at the lock
            waiting = set()

            def others_wait():
                waiting.update(process.pid for process in running if waits_for_lock(process.pid))
                return len(waiting) == 4
            wait_until(others_wait, 20, lambda: f"4 processes at the lock, {len(waiting)} so far", interval=0.001)
        office.provider.answer("token", hold)
        for _ in range(5):
            running.append(start_refresh(office))
        results = [finish(process) for process in running]
        assert [code for code, _, _ in results] == [0] * 5, results
        assert office.provider.count() == 1
        assert office.token()["access_token"] == list(office.provider.access)[-1]


def test_agent_and_verb_at_once(program, tmp_path):
    """A verb asks while the agent's own refresh is under way, and the other way round: one request each time."""
    with Office(tmp_path, "microsoft", rotation="strict") as office:
        office.store(age=4000)
        running = []

        def hold_for_verb(request):
            running.append(start_refresh(office))
            wait_until(lambda: waits_for_lock(running[0].pid), 20, "the verb at the lock", interval=0.001)
        office.provider.answer("token", hold_for_verb)
        office.agent.start()
        office.send()
        office.wait_sent()
        assert finish(running.pop())[0] == 0
        assert office.provider.count() == 1

        def hold_for_agent(request):
            # The agent's refresh is overdue by far; it must not ask beside this verb.
            office.clock.advance(3500)
            office.wait_seen()
        office.provider.answer("token", hold_for_agent)
        code, _, err = finish(start_refresh(office))
        assert code == 0, err
        wait_until(lambda: 3000 < (office.account_status().get("token_expires_s") or 0) <= 3600, 15,
                   lambda: f"the verb's token in use: {office.account_status()}")
        office.send()
        office.wait_sent()
        assert office.provider.count() == 2
        assert all(not login.problem for login in office.server.logins)


SURVIVES = {"none": True, "replace": True, "strict": False}


@pytest.mark.parametrize("rotation", SURVIVES)
def test_agent_killed_before_it_has_the_answer(program, tmp_path, rotation):
    """The provider has answered, the agent dies before the answer is stored."""
    with Office(tmp_path, "microsoft", rotation=rotation) as office:
        office.store(age=4000)
        before = office.token()

        def answer_and_kill(request):
            with office.provider._lock:
                answer = office.provider._token(request.form)
            assert answer.status == 200
            office.agent.kill()
            return answer
        office.provider.answer("token", answer_and_kill)
        office.agent.start()
        names = office.send(2)
        wait_until(lambda: not office.agent.running(), 15, "the kill")
        assert office.token() == before
        office.agent.start()
        if SURVIVES[rotation]:
            office.wait_sent()
        else:  # this provider takes an old refresh token for theft: only a person can help, and is told
            assert FIX in office.wait_breaker("open_credentials")["fix"]
            office.wait_new(names)
            assert office.token()["refresh_token"] == before["refresh_token"]
            assert office.provider.count() == 2
            assert office.authorize().returncode == 0
            office.wait_sent()


# Where store_write does something that a crash can cut off, in its order; and whether the new token counts already.
POINTS = [("openat", False), ("write", False), ("fsync", False), ("renameat", False), ("fsync+", True)]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: run scripts/setup test")
@pytest.mark.parametrize("rotation", SURVIVES)
@pytest.mark.parametrize("point, stored", POINTS)
def test_killed_while_storing(program, tmp_path, rotation, point, stored):
    """kill -9 at each step between the provider's answer and the durable file: never half a token, and the account lives on
    wherever the provider allows."""
    with Office(tmp_path, "microsoft", rotation=rotation) as office:
        office.store(age=4000)
        before = office.token()
        tokens = office.path.parent
        temporary = tokens / f".{office.path.name}.new"
        call = point.rstrip("+")
        paths = [str(tokens)] if call == "renameat" or point == "fsync+" else [str(temporary), temporary.name]
        trace = tmp_path / "trace"
        done = subprocess.run(
            ["strace", "-f", "-o", str(trace), *(word for path in paths for word in ("-P", path)), "-e", f"trace={call}",
             "-e", f"inject={call}:signal=SIGKILL:when=1", binary(), "oauth", "--config", str(office.config.path), "refresh", ACCOUNT],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            env=environment(office.clock, ASAN_OPTIONS="detect_leaks=0"))
        assert done.returncode in (-9, 137), f"strace did not hit {point}: {done}\n{trace.read_text()}"
        assert office.provider.count() == 1
        after = office.token()
        if stored:
            assert after["access_token"] == list(office.provider.access)[-1]
        else:
            assert after == before
        office.agent.start()
        names = office.send()
        if stored or SURVIVES[rotation]:
            office.wait_sent()
        else:
            assert FIX in office.wait_breaker("open_credentials")["fix"]
            office.wait_new(names)
        left = sorted(path.name for path in tokens.iterdir())
        assert set(left) <= {f"{ACCOUNT}.json", f"{ACCOUNT}.lock", temporary.name}, left


def test_disk_full(program, tmp_path):
    """The new token cannot be stored: it must not be used and lost; what was stored before stays."""
    with Office(tmp_path, "microsoft", rotation="replace") as office:
        office.store(age=4000)
        before = office.token()
        temporary = office.path.parent / f".{office.path.name}.new"
        done = subprocess.run(
            ["strace", "-f", "-o", "/dev/null", "-P", str(temporary), "-e", "trace=write", "-e", "inject=write:error=ENOSPC",
             binary(), "oauth", "--config", str(office.config.path), "refresh", ACCOUNT], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, env=environment(office.clock, ASAN_OPTIONS="detect_leaks=0"))
        assert done.returncode not in (0, 1) and "No space left" in done.stderr, done
        assert office.token() == before and not temporary.exists()


def test_stored_file_is_closed_to_others(program, tmp_path):
    with Office(tmp_path, "google") as office:
        assert office.authorize().returncode == 0
        assert office.path.stat().st_mode & 0o7777 == 0o600
        assert office.path.parent.stat().st_mode & 0o7777 == 0o700
        assert all(path.stat().st_mode & 0o077 == 0 for path in office.path.parent.iterdir())
