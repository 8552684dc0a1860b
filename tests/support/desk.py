"""What the tests of `outtray oauth` share: an administrator at a desk, with an account and its provider."""

import json
import subprocess
import urllib.parse

from support.agent import binary, environment, outtray
from support.wait import wait_until

PENDING_S = 15 * 60


class Desk:
    """An administrator: a configuration with the account `office`, its provider, and the verb."""

    def __init__(self, config, clock, provider):
        self.config, self.clock, self.provider = config, clock, provider
        self.running = []
        self.account()

    def account(self, oauth=None, **more):
        self.config.account("office", **self.provider.account(oauth=oauth, **more))
        self.config.tenant("acme", account="office")
        self.config.write()
        outtray("init", config=self.config, check=True)

    def run(self, *arguments, **options):
        env = {"DISPLAY": "", "WAYLAND_DISPLAY": "", **options.pop("env", {})}
        done = outtray("oauth", *arguments, config=self.config, clock=self.clock, env=env, **options)
        self.no_secret(done.stdout + done.stderr)
        return done

    def no_secret(self, text):
        for secret in self.provider.secrets:
            assert secret not in text
            assert urllib.parse.quote(secret, safe="") not in text

    def start(self, *arguments, env=None, stdin=subprocess.DEVNULL):
        process = subprocess.Popen(
            [binary(), "oauth", arguments[0], "--config", str(self.config.path), *arguments[1:]], stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(self.clock, **{"DISPLAY": "", "WAYLAND_DISPLAY": "", **(env or {})}))
        self.running.append(process)
        return process

    def end(self, process, seconds=30):
        """(exit code, all that was said)"""
        out, err = process.communicate(timeout=seconds)
        self.no_secret(out + err)
        assert "Sanitizer" not in err, err
        return process.returncode, out + err

    def close(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def get_code(self):
        done = self.run("get-code", "office")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def authorize(self):
        done = self.run("get-token", "office", self.provider.consent(self.get_code()))
        assert done.returncode == 0, done.stderr
        return self

    @property
    def tokens(self):
        return self.config.state / "tokens"

    def stored(self):
        try:
            return json.loads((self.tokens / "office.json").read_text())
        except FileNotFoundError:
            return None

    def status(self, code=0):
        done = self.run("status", "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)["accounts"][0]


def step_until(desk, condition, seconds=600):
    """Moves the clock on by a second until the condition holds, and tells where it stands then."""
    for _ in range(seconds):
        if condition():
            return desk.clock.offset
        desk.clock.advance(1)
        try:
            wait_until(condition, 0.1)
            return desk.clock.offset
        except AssertionError:
            pass
    raise AssertionError("the clock was moved far enough")
