"""init and check."""

import os
import stat

import pytest

STATES = {"tmp": 0o2770, "new": 0o2770, "cur": 0o2750, "deferred": 0o2750, "sent": 0o2750, "failed": 0o2750, "hold": 0o2750}


def modes(box, tenant="acme"):
    return {state: stat.S_IMODE(os.stat(box.spool.path(tenant, state)).st_mode) for state in STATES}


def test_init_makes_the_tree(box):
    box.config.write()
    done = box.run("init")
    assert done.returncode == 0, done.stderr
    assert modes(box) == STATES


def test_init_is_not_disturbed_by_umask(box):
    box.config.write()
    old = os.umask(0o077)
    try:
        box.run("init", check=True)
    finally:
        os.umask(old)
    assert modes(box) == STATES


def test_init_twice_keeps_everything(box):
    box.ready()
    box.spool.drop("acme", b"To: a@example.net\n\ntext\n", name="one")
    os.chmod(box.spool.path("acme", "new"), 0o700)
    box.run("init", check=True)
    assert modes(box) == STATES
    assert box.spool.names("acme", "new") == ["one"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a directory to a group it is not in")
def test_init_gives_the_group(box):
    box.config.data["tenants"]["acme"]["group"] = "daemon"
    box.ready()
    import grp
    assert os.stat(box.spool.path("acme", "new")).st_gid == grp.getgrnam("daemon").gr_gid


def test_init_unknown_group(box):
    box.config.data["tenants"]["acme"]["group"] = "no-such-group-here"
    box.config.write()
    done = box.run("init")
    assert done.returncode != 0
    assert "no-such-group-here" in done.stderr


def test_init_cannot_create(box):
    blocker = box.config.directory / "file"
    blocker.write_text("")
    box.config.data["spool"] = str(blocker / "spool")
    box.config.write()
    done = box.run("init")
    assert done.returncode in (73, 78)
    assert str(blocker) in done.stderr


def test_init_never_follows_a_symlink(box):
    box.config.write()
    elsewhere = box.config.directory / "elsewhere"
    elsewhere.mkdir()
    (box.config.spool / "acme").symlink_to(elsewhere)
    assert box.run("init").returncode != 0
    assert list(elsewhere.iterdir()) == []


def test_check_shows_every_tenant_resolved(box):
    box.config.tenant("slave", parent="acme")
    box.config.tenant("plain", account="relay")
    box.ready()
    done = box.run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("acme", "slave", "plain", "relay", f"127.0.0.1:{box.server.port}", "none", "voicemail@acme.example",
                 "root@pbx.example.com"):
        assert text in done.stdout, done.stdout


@pytest.mark.parametrize("encryption,port", [("none", 25), ("starttls", 587), ("tls", 465)])
def test_check_port_from_encryption(box, encryption, port):
    relay = box.config.data["accounts"]["relay"]
    relay.update(encryption=encryption, server="mail.example.com")
    del relay["port"]
    box.ready()
    done = box.run("check")
    assert done.returncode == 0
    assert f"mail.example.com:{port}" in done.stdout


def test_check_presets(box):
    box.config.account("g", auth="google", email="a@workspace.example", oauth={"client_id": "x"})
    box.config.account("m", auth="microsoft", email="a@contoso.example", oauth={"client_id": "x"})
    box.config.tenant("gt", account="g", from_="a@workspace.example")
    box.config.tenant("mt", account="m", from_="a@contoso.example")
    box.ready()
    done = box.run("check")
    assert "smtp.gmail.com:" in done.stdout
    assert "smtp.office365.com:587" in done.stdout


def test_check_warns_of_basic_at_microsoft(box):
    box.config.account("m", auth="basic", email="a@contoso.example", server="smtp.office365.com", password="x")
    box.config.tenant("mt", account="m", from_="a@contoso.example")
    box.ready()
    done = box.run("check")
    assert done.returncode == 0, "a warning is no error"
    assert "warning" in (done.stdout + done.stderr).lower()
    assert "microsoft" in (done.stdout + done.stderr).lower()


def test_check_warns_of_a_password_in_the_clear(box):
    box.config.account("relay", auth="basic", email="a@example.com", server="127.0.0.1", port=2525, encryption="none", password="x")
    box.ready()
    done = box.run("check")
    assert done.returncode == 0
    assert "warning" in (done.stdout + done.stderr).lower()


def test_check_says_which_hooks_cannot_be_run(box):
    box.config.data["hooks"] = {"failed": ["/bin/true"], "sent": [str(box.config.directory / "nothing"), "x"]}
    box.ready()
    done = box.run("check")
    assert done.returncode == 0
    said = done.stdout + done.stderr
    assert "hooks.sent" in said and "cannot be run" in said and "hooks.failed" not in said


def test_check_of_a_broken_file(box):
    """Findings: exit 1, with the place."""
    box.ready()
    box.config.path.write_text(box.config.path.read_text() + "colour: red\n")
    done = box.run("check")
    assert done.returncode == 1
    assert "outtray.yaml:" in done.stdout + done.stderr
    assert "colour" in done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["mode", "missing", "symlink", "empty", "directory"])
def test_check_secret_files(box, fault):
    box.config.account("relay", auth="basic", email="a@example.com", server="127.0.0.1", port=2525, encryption="none", password="x")
    box.ready()
    path = box.config.directory / "relay.password"
    if fault == "mode":
        path.chmod(0o644)
    elif fault == "missing":
        path.unlink()
    elif fault == "symlink":
        path.rename(path.with_name("real"))
        path.symlink_to("real")
    elif fault == "empty":
        path.write_text("")
    else:
        path.unlink()
        path.mkdir()
    done = box.run("check")
    assert done.returncode == 1
    assert "relay.password" in done.stdout + done.stderr


def test_check_secret_in_the_credentials_directory(box):
    box.config.account("relay", auth="basic", email="a@example.com", server="127.0.0.1", port=2525, encryption="none")
    box.config.data["accounts"]["relay"]["password_file"] = "relay-secret"
    credentials = box.config.directory / "credentials"
    credentials.mkdir()
    (credentials / "relay-secret").write_text("x")
    box.ready()
    assert box.run("check", env={"CREDENTIALS_DIRECTORY": credentials}).returncode == 0
    assert box.run("check").returncode == 1


def test_check_never_shows_a_secret(box):
    box.config.account("relay", auth="basic", email="a@example.com", server="127.0.0.1", port=2525, encryption="none",
                       password="hunter2-hunter2")
    box.ready()
    done = box.run("check")
    assert "hunter2" not in done.stdout + done.stderr
