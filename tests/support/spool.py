"""A spool as producers and operators see it: directories and files, nothing else."""

import itertools
import os
import pathlib
import socket
import time

import yaml

from .wait import wait_until

STATES = ("new", "cur", "deferred", "sent", "failed", "hold")
_serial = itertools.count(1)


class Spool:
    def __init__(self, root):
        self.root = pathlib.Path(root)

    def path(self, tenant, state="", name=""):
        return self.root / tenant / state / name

    def make(self, *tenants):
        """The tree made by hand, for tests that shall not depend on `outtray init`."""
        for tenant in tenants:
            for state in ("tmp",) + STATES:
                self.path(tenant, state).mkdir(parents=True, exist_ok=True)

    def drop(self, tenant, data, name=None, durable=False):
        """Submits a message as SPOOL.md tells producers to: tmp/, (fsync,) rename into new/. Returns its name."""
        if isinstance(data, str):
            data = data.encode()
        if name is None:
            name = f"{int(time.time())}.M{time.time_ns() % 10**9}P{os.getpid()}Q{next(_serial)}.{socket.gethostname()}"
        temporary = self.path(tenant, "tmp", name)
        with open(temporary, "wb") as out:
            out.write(data)
            out.flush()
            if durable:
                os.fsync(out.fileno())
        os.rename(temporary, self.path(tenant, "new", name))
        return name

    def names(self, tenant, state):
        """Names of the messages in a state, sorted; of all agents for cur. Status and dot files are left out."""
        base = self.path(tenant, state)
        found = base.glob("*/*") if state == "cur" else base.glob("*")
        return sorted(path.name for path in found if not path.name.startswith(".") and not path.name.endswith(".status"))

    def states(self, tenant):
        """{state: names} for every state but tmp."""
        return {state: self.names(tenant, state) for state in STATES}

    def counts(self, tenant):
        return {state: len(names) for state, names in self.states(tenant).items()}

    def where(self, tenant, name):
        """The states a message is in (one, when nothing moves). Names with ~N are other names here."""
        return [state for state, names in self.states(tenant).items() if name in names]

    def status(self, tenant, state, name):
        """NAME.status as a dict."""
        return yaml.safe_load(self.path(tenant, state, name + ".status").read_text(encoding="utf-8"))

    def read(self, tenant, state, name):
        return self.path(tenant, state, name).read_bytes()

    def quiet(self, tenant):
        """Whether nothing waits or is on its way."""
        return not any(self.names(tenant, state) for state in ("new", "cur", "deferred"))

    def wait(self, tenant, name, state, seconds=10.0):
        """Waits until the message is in `state` and nowhere else."""
        wait_until(lambda: self.where(tenant, name) == [state], seconds,
                   lambda: f"{tenant}/{name} in {state}; it is in {self.where(tenant, name)}, {self.counts(tenant)}")

    def wait_counts(self, tenant, seconds=10.0, **wanted):
        """Waits until the given states hold that many messages: wait_counts("acme", sent=3, new=0)."""
        def reached():
            counts = self.counts(tenant)
            return all(counts[state] == number for state, number in wanted.items())
        wait_until(reached, seconds, lambda: f"{tenant}: {wanted}; there is {self.counts(tenant)}")

    def tree(self):
        """The spool as text, one path below the root per line, directories with a slash."""
        lines = []
        for path in sorted(self.root.rglob("*")):
            relative = path.relative_to(self.root)
            if any(part.startswith(".") for part in relative.parts):
                continue
            lines.append(f"{relative}{'/' if path.is_dir() else ''}")
        return "\n".join(lines)
