"""A program in a terminal of its own: tmux, with a server that nobody else uses.

    with Terminal(["program", "argument"], columns=80, lines=24) as terminal:
        terminal.type("text", "Enter")
        terminal.wait(r"what shall appear")
        print(terminal.screen())
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile

from .wait import wait_until


class Terminal:
    def __init__(self, command, columns=80, lines=24, env=None, cwd=None):
        if not shutil.which("tmux"):
            import pytest
            pytest.skip("tmux is not installed (./scripts/setup test)")
        self.directory = tempfile.TemporaryDirectory(prefix="outtray-tmux.")
        self.socket = os.path.join(self.directory.name, "socket")
        self.env = {**(env or os.environ), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
        for name in ("TMUX", "TMUX_PANE", "LANGUAGE"):
            self.env.pop(name, None)
        self.exit = os.path.join(self.directory.name, "exit")
        line = f"{shlex.join(map(str, command))}; echo $? >{shlex.quote(self.exit)}"
        self.tmux("new-session", "-d", "-s", "test", "-x", str(columns), "-y", str(lines), "-c", str(cwd or "/"), "sh", "-c", line,
                  ";", "set-option", "-g", "status", "off", ";", "set-option", "-g", "escape-time", "0")
        self.resize(columns, lines)

    def tmux(self, *arguments, check=True):
        done = subprocess.run(["tmux", "-f", "/dev/null", "-u", "-S", self.socket, *arguments], env=self.env, text=True,
                              capture_output=True, timeout=30)
        assert not check or done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout

    def type(self, text, *keys):
        """Types the text, then keys by their names ("Enter", "Tab", "Down", "C-c")."""
        if text:
            self.tmux("send-keys", "-t", "test", "-l", text)
        for key in keys:
            self.tmux("send-keys", "-t", "test", key)

    def resize(self, columns, lines):
        self.tmux("resize-window", "-t", "test", "-x", str(columns), "-y", str(lines))

    def screen(self, colours=False):
        """What is on the screen, blanks at the ends of lines left out."""
        text = self.tmux("capture-pane", "-p", "-t", "test", *(["-e"] if colours else []))
        return "\n".join(line.rstrip() for line in text.splitlines())

    def wait(self, pattern, seconds=20.0):
        """Waits until the pattern (multi-line) is on the screen; returns the screen."""
        def there():
            screen = self.screen()
            return screen if re.search(pattern, screen, re.M) else None
        return wait_until(there, seconds, lambda: f"{pattern!r} on the screen\n{self.screen()}")

    def wait_end(self, seconds=20.0):
        """Waits until the program has ended; returns its exit code."""
        def ended():
            return os.path.exists(self.exit) and open(self.exit, encoding="ascii").read().strip()
        return int(wait_until(ended, seconds, lambda: "the program to end"))

    def close(self):
        self.tmux("kill-server", check=False)
        self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()
