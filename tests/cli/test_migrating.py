"""docs/MIGRATING.md: every command of it, as it stands there.

The commands run in a root of their own: paths below /etc, /usr and /var are replaced, `sudo` runs what follows it, and the programs of
other packages (systemctl, dma, postqueue) and chown are stand-ins that must be called and do nothing.
"""

import os
import pathlib
import re
import subprocess

import pytest
import yaml

from support.agent import binary, environment

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "MIGRATING.md"
STANDINS = ("systemctl", "chown", "dma", "postqueue")
SECTIONS = {
    "nullmailer": {"etc/nullmailer/remotes": "mail.example.com smtp starttls user=me@example.com pass=secret\n",
                   "etc/nullmailer/me": "host.example.com\n",
                   "var/spool/nullmailer/queue/1": "me@example.com\na@example.net\n\nTo: a@example.net\n\ntext\n"},
    "msmtp (and msmtpq)": {"etc/msmtprc": "account default\nhost mail.example.com\ntls on\nport 587\nauth on\nuser me\npassword secret\nfrom me@example.com\n"},
    "sSMTP": {"etc/ssmtp/ssmtp.conf": "mailhub=mail.example.com:587\nUseSTARTTLS=YES\nAuthUser=me@example.com\nAuthPass=secret\n",
              "etc/ssmtp/revaliases": "root:root@example.com\n"},
    "dma": {"etc/dma/dma.conf": "SMARTHOST mail.example.com\nPORT 587\nSECURETRANSFER\nSTARTTLS\n",
            "etc/dma/auth.conf": "me@example.com|mail.example.com:secret\n"},
    "Postfix as a null client": {
        "etc/postfix/main.cf": "myhostname = host.example.com\nrelayhost = [mail.example.com]:587\nsmtp_sasl_auth_enable = yes\n"
                               "smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd\nsmtp_tls_security_level = encrypt\n",
        "etc/postfix/sasl_passwd": "[mail.example.com]:587 me@example.com:secret\n"},
}


def blocks():
    """{section: its commands}"""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.M)[1:]
    return {title: "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)) for title, text in zip(parts[::2], parts[1::2])}


def moved(text, root):
    return re.sub(r"(?<![\w./-])/(etc|var|usr)/", rf"{root}/\1/", text)


def test_every_section_is_known():
    assert {title for title, commands in blocks().items() if commands} == {*SECTIONS, "After each of them"}


@pytest.mark.parametrize("section", SECTIONS)
def test_recipe(program, tmp_path, section):
    for directory in ("etc", "var/spool", "var/lib", "usr/sbin", "bin", "work"):
        (tmp_path / directory).mkdir(parents=True)
    for path, text in SECTIONS[section].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(moved(text, tmp_path))
    programs = {name: f'echo "{name} $*" >>{tmp_path}/called' for name in STANDINS}
    programs["sudo"] = '[ "$1" = -u ] && shift 2\nexec "$@"'
    # The printed configuration gets this root's spool; init makes it for whoever runs the tests.
    programs["outtray"] = f"""case "$*" in
        import*--queue*) exec {binary()} "$@" ;;
        import*) {binary()} "$@" && printf 'spool: {tmp_path}/var/spool/outtray\\nstate: {tmp_path}/var/lib/outtray\\n' ;;
        init) exec {binary()} init --user "$(id -un)" ;;
        *) exec {binary()} "$@" ;;
        esac"""
    for name, text in programs.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    commands = moved(blocks()[section] + blocks()["After each of them"], tmp_path)
    env = environment(OUTTRAY_CONFIG=tmp_path / "etc/outtray/outtray.yaml")
    env["PATH"] = f"{tmp_path}/bin:{env['PATH']}"
    done = subprocess.run(["sh", "-exuc", commands], cwd=tmp_path / "work", env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "secret" not in done.stdout.replace("--secrets", "")
    config = yaml.safe_load((tmp_path / "etc/outtray/outtray.yaml").read_text())
    [account, *_] = config["accounts"].values()
    assert (account["server"], account["encryption"]) == ("mail.example.com", "starttls")
    assert pathlib.Path(account["password_file"]).read_text() == "secret\n"
    assert (tmp_path / "usr/sbin/sendmail").is_symlink()
    called = (tmp_path / "called").read_text()
    assert f"chown outtray {tmp_path}/etc/outtray/" in called
    if section == "nullmailer":
        assert len(os.listdir(tmp_path / "var/spool/outtray/main/new")) == 1
        assert os.listdir(tmp_path / "var/spool/nullmailer/queue") == []
