"""A server that a test starts as a process of its own, with what it says in a file."""

import subprocess

from support.wait import wait_until

LOG_TAIL = 6000  # characters of a log that are shown


class Child:
    """log is the file of its output. Should the test itself be killed, its server goes too."""

    process = None
    log = None

    def launch(self, *command, **options):
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, **options)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log_text(self):
        return self.log.read_text(errors="replace")[-LOG_TAIL:]

    def wait_up(self, is_up, seconds=30.0, interval=0.1):
        """Returns when is_up says so; stops the server where that does not come about."""
        def up():
            assert self.running(), f"the server ended early\n{self.log_text()}"
            return is_up()
        try:
            wait_until(up, seconds, lambda: f"the server\n{self.log_text()}", interval=interval)
        except BaseException:
            self.stop()
            raise
