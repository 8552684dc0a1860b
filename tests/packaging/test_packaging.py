"""make install, the Debian packages, the RPM spec and the container file."""

import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

from support import private_root
from support.agent import ROOT, outtray
from support.debs import Unavailable, library_path, unpack

PACKAGING = ROOT / "scripts" / "packaging"
VERSION = re.search(r"^VERSION := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE).group(1)
MISSING = "{} is missing: ./scripts/setup test installs it"


def run(*command, cwd=ROOT, check=True, timeout=900, **env):
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "DESTDIR", "PREFIX")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=timeout,
                          env=dict(environment, **env), stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"
    return done


def place(verb, directory, prefix):
    """make install or uninstall of the program under test; the sanitized one is as good for this."""
    return run("make", "-s", verb, f"BUILD={pathlib.Path(os.environ.get('OUTTRAY', 'build-asan/outtray')).parent}",
               f"DESTDIR={directory}", f"PREFIX={prefix}", "-o", f"{pathlib.Path(os.environ.get('OUTTRAY', 'build-asan/outtray'))}")


def files(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local", "/opt/outtray"])
def test_make_install_and_uninstall(program, tmp_path, prefix):
    place("install", tmp_path, prefix)
    there = files(tmp_path)
    below = prefix.lstrip("/")
    for manual in (ROOT / "docs").glob("*.[1-8]"):
        assert f"{below}/share/man/man{manual.suffix[1:]}/{manual.name}" in there
    for verb in re.findall(r"^  ([a-z]+) ", outtray("--help", check=True).stdout, re.MULTILINE):
        page = tmp_path / below / "share/man/man8" / f"outtray-{verb}.8"
        assert re.search(rf"^\.Nm outtray-{verb}\b", page.read_text(encoding="utf-8"), re.MULTILINE), verb
    for name in ("bin/outtray", "lib/systemd/system/outtray.service", "lib/sysusers.d/outtray.conf", "lib/tmpfiles.d/outtray.conf",
                 "share/doc/outtray/README.md", "share/doc/outtray/examples/example.yaml",
                 "share/doc/outtray/examples/monitoring/check_outtray", "share/doc/outtray/examples/producers/outtray.py"):
        assert f"{below}/{name}" in there, name
    for shell, name in (("bash", "share/bash-completion/completions/outtray"), ("zsh", "share/zsh/vendor-completions/_outtray"),
                        ("fish", "share/fish/vendor_completions.d/outtray.fish")):
        if list((ROOT / "scripts" / "completions").glob("*")):
            assert f"{below}/{name}" in there, shell
    assert {"etc/outtray/outtray.yaml", "etc/logrotate.d/outtray"} <= there
    assert not any("sendmail" in name for name in there), "the machine's sendmail is not ours to replace"
    unit = (tmp_path / below / "lib/systemd/system/outtray.service").read_text(encoding="utf-8")
    assert f"ExecStart={prefix}/bin/outtray run" in unit
    for name in there:
        mode = (tmp_path / name).lstat().st_mode
        assert stat.S_ISLNK(mode) or stat.S_IMODE(mode) in (0o644, 0o755), name
    assert os.access(tmp_path / below / "bin/outtray", os.X_OK)
    # A second time nothing of the operator's is overwritten; the way back leaves only that.
    config = tmp_path / "etc/outtray/outtray.yaml"
    config.write_text("mine\n")
    place("install", tmp_path, prefix)
    assert config.read_text() == "mine\n" and files(tmp_path) == there
    place("uninstall", tmp_path, prefix)
    assert files(tmp_path) == {"etc/outtray/outtray.yaml"}
    shutil.copy(PACKAGING / "outtray.yaml", config)
    place("uninstall", tmp_path, prefix)
    assert files(tmp_path) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories to another user")
def test_systemd_makes_user_and_directories(tmp_path):
    """systemd's own programs read what is shipped for them; another tree stands for the machine's."""
    for tool in ("systemd-sysusers", "systemd-tmpfiles"):
        if shutil.which(tool) is None:
            pytest.skip(MISSING.format(tool))
    (tmp_path / "etc").mkdir()
    run("systemd-sysusers", f"--root={tmp_path}", PACKAGING / "outtray.sysusers")
    name, _, uid, gid, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home, shell) == ("outtray", "/var/lib/outtray", "/usr/sbin/nologin")
    run("systemd-tmpfiles", f"--root={tmp_path}", "--create", PACKAGING / "outtray.tmpfiles")
    for path, mode in (("var/spool/outtray", 0o755), ("var/lib/outtray", 0o750), ("var/log/outtray", 0o750)):
        there = (tmp_path / path).stat()
        assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (int(uid), int(gid), mode), path


def test_links_between_installed_documents_hold(program, tmp_path):
    place("install", tmp_path, "/usr")
    base = tmp_path / "usr/share/doc/outtray"
    checked = 0
    for document in base.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            if re.search(r"\.[1-8]$|/$|^LICENSE$", target) or target.startswith("../tests/") or target.startswith("tests/"):
                continue
            assert (document.parent / target).exists(), f"{document.relative_to(base)} links to {target}"
            checked += 1
    assert checked > 20


def test_shipped_configuration(config):
    """As it is, `check` says what to fill in; with the password there it is right."""
    text = (PACKAGING / "outtray.yaml").read_text(encoding="utf-8")
    text = text.replace("/etc/outtray/relay.password", str(config.directory / "relay.password"))
    config.path.write_text(text)
    done = outtray("check", config=config)
    assert done.returncode == 1 and "relay.password does not exist" in done.stderr, done.stderr
    assert "1 error (see above)" in done.stderr
    config.secret("relay.password", "secret")
    assert outtray("check", config=config).returncode == 0


def test_versions_agree():
    for path, pattern in (("scripts/packaging/outtray.spec", r"^Version: +(\S+)"), ("CHANGELOG.md", r"^## (\S+)"),
                          ("scripts/packaging/debian/changelog", r"^outtray \((\S+)\)")):
        assert re.search(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE).group(1) == VERSION, path


@pytest.mark.timeout(1200)
def test_debian_packages(program):
    """Built from the tracked files; lintian says nothing; then their life in a clean root, as root."""
    for tool in ("dpkg-buildpackage", "dh", "lintian"):
        if shutil.which(tool) is None:
            pytest.skip(MISSING.format(tool))
    said = run(PACKAGING / "build-deb").stdout
    assert "lintian: no errors, no warnings" in said
    packages = list((ROOT / "build" / "deb").glob("*.deb"))
    fields = {name: run("dpkg-deb", "-f", path).stdout for path in packages for name in [path.name.split("_")[0]]}
    assert {"outtray", "outtray-mta"} <= set(fields)
    for field in ("Provides", "Conflicts", "Replaces"):
        assert f"{field}: mail-transport-agent" in fields["outtray-mta"]
    if private_root.obstacle():
        pytest.skip(f"built and held to lintian; not installed, since it {private_root.obstacle()}")
    if shutil.which("debootstrap") is None:
        pytest.skip("built and held to lintian; not installed: " + MISSING.format("debootstrap"))
    said = run(PACKAGING / "test-deb").stdout
    assert said.rstrip().endswith("== done"), said


@pytest.fixture(scope="module")
def rpm():
    """(directory of programs, environment) of Debian's rpm."""
    try:
        root = unpack("rpm")
    except Unavailable as reason:
        pytest.skip(f"rpm: {reason}")
    return root / "usr/bin", {"LD_LIBRARY_PATH": library_path(root), "RPM_CONFIGDIR": str(root / "usr/lib/rpm"), "HOME": "/nonexistent",
                              "PATH": f"{root}/usr/bin:{root}/usr/lib/rpm:{os.environ['PATH']}"}


def test_rpm_spec(rpm, tmp_path):
    """rpm itself reads it, whole and for a build: every macro that Fedora defines is given here."""
    programs, env = rpm
    macros = ["--define", f"_topdir {tmp_path}", "--define", "_unitdir /usr/lib/systemd/system",
              "--define", "_prefix /usr", "--define", "systemd_post() %nil", "--define", "systemd_preun() %nil",
              "--define", "systemd_postun_with_restart() %nil", "--define", "make_build make", "--define",
              "make_install make install DESTDIR=%{buildroot}", "--define", "autosetup() %setup -q"]
    spec = PACKAGING / "outtray.spec"
    parsed = run(programs / "rpmspec", *macros, "-P", spec, cwd=tmp_path, **env)
    assert "warning:" not in parsed.stderr and "error:" not in parsed.stderr, parsed.stderr
    assert f"Version:        {VERSION}" in parsed.stdout
    told = run(programs / "rpmspec", *macros, "-q", "--qf", "%{name} %{version} %{license}\n", spec, cwd=tmp_path, **env)
    assert told.stdout.splitlines()[0] == f"outtray {VERSION} Apache-2.0"
    (tmp_path / "SOURCES").mkdir()
    with open(tmp_path / "SOURCES" / f"outtray-{VERSION}.tar.gz", "wb") as archive:
        names = subprocess.run(["tar", "-czf", "-", "--transform", f"s,^,outtray-{VERSION}/,", "Makefile", "LICENSE"], cwd=ROOT,
                               check=True, stdout=archive)
    assert names.returncode == 0
    run(programs / "rpmbuild", *macros, "--nodeps", "--nobuild", "-bp", spec, cwd=tmp_path, **env)
    broken = tmp_path / "broken.spec"
    broken.write_text(spec.read_text(encoding="utf-8").replace("%files", "%fils"))
    assert run(programs / "rpmspec", *macros, "-P", broken, cwd=tmp_path, check=False, **env).returncode != 0 or \
        "%fils" in run(programs / "rpmspec", *macros, "-P", broken, cwd=tmp_path, check=False, **env).stdout
    # What %files names is what `make install` puts there.
    listed = re.search(r"%files\n(.*?)\n\n", spec.read_text(encoding="utf-8"), re.DOTALL).group(1)
    for name in ("outtray.service", "sysusers.d/outtray.conf", "tmpfiles.d/outtray.conf", "outtray.yaml", "logrotate.d/outtray"):
        assert name in listed


INSTRUCTIONS = {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


def instructions(path):
    """[(instruction, argument)] with continued lines joined."""
    text = re.sub(r"\s*\\\n\s*", " ", "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_container_file():
    found = instructions(PACKAGING / "Containerfile")
    assert {name for name, _ in found} <= INSTRUCTIONS
    bases = [argument.split()[0] for name, argument in found if name == "FROM"]
    assert len(bases) == 2 and all(base.startswith("debian:") and not base.endswith("latest") for base in bases)
    packages = set()
    for name, argument in found:
        if name == "RUN" and "apt-get install" in argument:
            assert "--no-install-recommends" in argument and "apt-get update &&" in argument
            assert "rm -rf /var/lib/apt/lists/*" in argument
            packages |= set(re.search(r"install -y --no-install-recommends (.*?) &&", argument).group(1).split())
        if name == "RUN":
            assert not re.search(r"\b(curl|wget|pip|npm|git clone)\b", argument), argument
        if name in ("ENTRYPOINT", "CMD"):
            assert argument.startswith('["'), "the shell form takes the signals away"
        if name == "COPY" and "--from" not in argument:
            assert all((ROOT / source).exists() for source in argument.split()[:-1])
    last_user = [argument for name, argument in found if name == "USER"][-1]
    assert last_user == "outtray"
    setup = (ROOT / "scripts/setup").read_text(encoding="utf-8")
    needed = set(re.search(r"^packages=\((.*?)\)", setup, re.MULTILINE | re.DOTALL).group(1).split())
    assert needed <= packages, needed - packages
    if shutil.which("apt-cache") and run("apt-cache", "stats", check=False).returncode == 0:
        for package in packages:
            policy = run("apt-cache", "policy", package).stdout
            assert "Candidate: (none)" not in policy and policy.strip(), f"Debian has no package {package}"
