"""Builds an outtray configuration file.

    config = Config(tmp_path)
    config.account("relay", auth="none", server="127.0.0.1", port=2525, encryption="none")
    config.tenant("master", account="relay", **{"from": "PBX <pbx@example.com>"})
    config.tenant("acme", parent="master")
    config.write()
"""

import pathlib

import yaml


class Config:
    """The file is DIRECTORY/outtray.yaml, the spool DIRECTORY/spool, the state DIRECTORY/state."""

    def __init__(self, directory, **keys):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path = self.directory / "outtray.yaml"
        self.spool = self.directory / "spool"
        self.state = self.directory / "state"
        self.data = {
            "version": 1,
            "spool": str(self.spool),
            "state": str(self.state),
            "domain": "pbx.example.com",
            "accounts": {},
            "tenants": {},
            # Retries are quick and exact, so that a test that needs none of the settable clock stays short.
            "retry": {"first": "1s", "max": "4h", "give_up_after": "5d", "jitter": 0},
        }
        self.data.update(keys)

    def account(self, name, **keys):
        """Adds an account. `password=TEXT` writes a password file of mode 0600 and names it."""
        keys.setdefault("auth", "none")
        keys.setdefault("email", f"{name}@example.com")
        password = keys.pop("password", None)
        if password is not None:
            keys["password_file"] = str(self.secret(f"{name}.password", password))
        self.data["accounts"][name] = keys
        return self

    def tenant(self, name, **keys):
        """Adds a tenant; `from_=` stands for the key `from`, which Python reserves."""
        if "from_" in keys:
            keys["from"] = keys.pop("from_")
        self.data["tenants"][name] = keys
        return self

    def secret(self, name, text):
        path = self.directory / name
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(text + "\n")
        return path

    def set(self, **keys):
        self.data.update(keys)
        return self

    def write(self):
        """Writes the file and makes the two directories' parent places; returns the path."""
        self.spool.mkdir(exist_ok=True)
        self.state.mkdir(exist_ok=True, mode=0o700)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.data, sort_keys=False, allow_unicode=True), encoding="utf-8")
        fresh.rename(self.path)
        return self.path
