"""The systemd unit: held against systemd's own judgement, where Debian's systemd package is there (it need not run)."""

import re
import shutil
import subprocess

import pytest

from support.agent import ROOT, binary

UNIT = ROOT / "scripts" / "outtray.service"
ANALYZE = shutil.which("systemd-analyze")

# What docs/RELIABILITY.md says the unit asks for.
DIRECTIVES = """User NoNewPrivileges CapabilityBoundingSet ProtectSystem=strict ReadWritePaths ProtectHome PrivateTmp PrivateDevices
ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups ProtectClock ProtectHostname
ProtectProc=invisible RestrictNamespaces RestrictSUIDSGID LockPersonality MemoryDenyWriteExecute
SystemCallFilter=@system-service UMask=0077 LoadCredential LimitCORE=0 Type=notify WatchdogSec""".split()


@pytest.fixture
def unit(tmp_path):
    """The unit as it would stand on this machine: with the binary that is there."""
    if ANALYZE is None:
        pytest.skip("systemd-analyze is missing (apt-get install systemd)")
    path = tmp_path / "outtray.service"
    path.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/bin/outtray", binary()), encoding="utf-8")
    return path


def analyze(*arguments):
    return subprocess.run([ANALYZE, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_every_promised_directive_is_there():
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    for directive in DIRECTIVES:
        wanted = directive if "=" in directive else directive + "="
        assert any(line.startswith(wanted) for line in lines), directive
    families = next(line for line in lines if line.startswith("RestrictAddressFamilies="))
    assert set(families.partition("=")[2].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}


def test_systemd_takes_the_unit_without_a_word(unit):
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_wrong_unit_is_noticed(unit):
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome=yes", "ProtectHomes=yes"), encoding="utf-8")
    done = analyze("verify", "--man=no", unit)
    assert "ProtectHomes" in done.stdout + done.stderr


def test_the_exposure_is_at_most_1_5(unit):
    done = analyze("security", "--offline=true", "--no-pager", unit)
    if "offline" in done.stderr:
        pytest.skip(f"this systemd-analyze knows no --offline: {done.stderr.strip()}")
    found = re.search(r"exposure level for outtray.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 1.5, done.stdout
