"""The demonstration behind scripts/demo: a real SMTP server, a real agent, four messages of two tenants.

    /usr/bin/python3 scripts/lib/demo.py build/outtray

The server asks for STARTTLS and a login, writes what it takes to a Maildir, refuses one message and defers another once.
"""

import email
import email.policy
import logging
import mailbox
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import warnings

# aiosmtpd warns of a deprecated attribute that it uses itself, before its loggers can be told.
warnings.simplefilter("ignore")
logging.getLogger("mail.log").setLevel(logging.ERROR)

from aiosmtpd.controller import Controller  # noqa: E402
from aiosmtpd.smtp import AuthResult  # noqa: E402

SECONDS = 25
USER, PASSWORD = "mailer@contoso.example", "correct horse battery"

CONFIG = """version: 1
spool: {home}/spool
state: {home}/state
domain: pbx.contoso.example
accounts:
  provider:
    auth: basic
    email: {user}
    server: 127.0.0.1
    port: {port}
    encryption: starttls
    password_file: {home}/provider.password
    tls: {{ca_file: {home}/server.pem}}
tenants:
  master:
    account: provider
    from: "Contoso PBX <pbx@contoso.example>"
  acme:
    parent: master
    from: "Acme Voicemail <voicemail@acme.example>"
retry: {{first: 1s, max: 1m, jitter: 0}}
log: {{file: {home}/outtray.log}}
"""

ATTACHMENT = """\
From: asterisk@localhost
To: Bob <bob@customer.example>
Bcc: archive@acme.example
Subject: Voicemail from 100
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=part

--part
Content-Type: text/plain

You have a new message.
--part
Content-Type: audio/x-wav; name="msg0001.wav"
Content-Disposition: attachment; filename="msg0001.wav"
Content-Transfer-Encoding: base64

UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=
--part--
"""


def plain(to, subject, text):
    return f"From: asterisk@localhost\nTo: {to}\nSubject: {subject}\n\n{text}\n"


# (tenant, name in the spool, message)
SAMPLES = [
    ("master", "plain", plain("alice@customer.example", "Trunk is up again", "The trunk to the provider is up again.")),
    ("acme", "attachment", ATTACHMENT),
    ("acme", "refused", plain("nobody@customer.example", "Voicemail from 200", "This one the receiver refuses.")),
    ("master", "deferred-once", plain("greylist@customer.example", "Daily report", "This one it defers at first.")),
]
ENDS = {"plain": "sent", "attachment": "sent", "refused": "failed", "deferred-once": "sent"}


class Receiver:
    """What the provider's server does with us."""

    def __init__(self, maildir):
        self.maildir = mailbox.Maildir(maildir)
        self.deferred = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        if address.startswith("greylist@") and address not in self.deferred:
            self.deferred.add(address)
            return "451 4.7.1 greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        trace = f"Return-Path: <{envelope.mail_from}>\r\nDelivered-To: {', '.join(envelope.rcpt_tos)}\r\n"
        key = self.maildir.add(trace.encode() + envelope.content)
        return f"250 2.0.0 Ok: queued as {key.split('.')[1]}"


def authenticate(server, session, envelope, mechanism, data):
    right = mechanism in ("PLAIN", "LOGIN") and data.login == USER.encode() and data.password == PASSWORD.encode()
    return AuthResult(success=right)


def certificate(home):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=demo", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", f"{home}/server.key", "-out", f"{home}/server.pem"], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{home}/server.pem", f"{home}/server.key")
    return context


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def heading(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def indent(text):
    return "\n".join("    " + line for line in text.rstrip("\n").splitlines())


def tree(spool):
    """Directories of the tenants with what lies in them, empty ones too."""
    lines = []
    for tenant in sorted(path for path in spool.iterdir() if not path.name.startswith(".")):
        lines.append(f"{tenant.name}/")
        for state in ("tmp", "new", "cur", "deferred", "sent", "failed", "hold"):
            files = [path for path in sorted((tenant / state).rglob("*")) if path.is_file()]
            lines.append(f"  {state + '/':<10}{'  '.join(path.name for path in files)}".rstrip())
    return "\n".join(lines)


def drop(spool, tenant, name, text):
    """What any producer does: write to tmp/, make it durable, rename into new/."""
    with open(spool / tenant / "tmp" / name, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.rename(spool / tenant / "tmp" / name, spool / tenant / "new" / name)


def through(spool):
    return all((spool / tenant / ENDS[name] / name).exists() for tenant, name, _ in SAMPLES)


def start_agent(program, home):
    with open(home / "outtray.stderr", "ab") as errors:
        return subprocess.Popen([program, "run", "--config", str(home / "outtray.yaml")], stdin=subprocess.DEVNULL, stdout=errors,
                                stderr=errors)


def stop_agent(agent):
    if agent.poll() is None:
        agent.send_signal(signal.SIGTERM)
    try:
        agent.wait(10)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()


def deliver(program, home, spool):
    """Runs the agent until every sample is where it belongs; whether that came about."""
    agent = start_agent(program, home)
    try:
        deadline = time.monotonic() + SECONDS
        while not through(spool) and agent.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        stop_agent(agent)
    return through(spool) and agent.returncode == 0


def show_received(maildir):
    for path in sorted(pathlib.Path(maildir, "new").iterdir()):
        parsed = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        print(f"    From: {parsed['From']}\n        Subject: {parsed['Subject']}\n        delivered to: {parsed['Delivered-To']}"
              f"; in its header To: {parsed['To']}, Bcc: {parsed['Bcc'] or 'none'}")


def demonstrate(program, home):
    spool = home / "spool"
    spool.mkdir()
    (home / "state").mkdir(mode=0o700)
    password = home / "provider.password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD + "\n")
    context = certificate(home)
    controller = Controller(Receiver(str(home / "Maildir")), hostname="127.0.0.1", port=free_port(), tls_context=context,
                            require_starttls=True, auth_required=True, authenticator=authenticate, ident="demo receiver")
    config = home / "outtray.yaml"
    config.write_text(CONFIG.format(home=home, user=USER, port=controller.port))
    heading("The configuration: one account at a provider, a master tenant, and a slave that mails through it")
    print(indent(config.read_text().replace(str(home), "/tmp/demo")))
    subprocess.run([program, "init", "--config", str(config)], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    for tenant, name, text in SAMPLES:
        drop(spool, tenant, name, text)
    heading("The spool before: four messages in new/, the agent is not running yet")
    print(indent(tree(spool)))

    controller.start()
    began = time.monotonic()
    try:
        done = deliver(program, home, spool)
    finally:
        controller.stop()
    heading(f"The spool after {time.monotonic() - began:.1f} s of `outtray run`")
    print(indent(tree(spool)))
    heading("What the receiver got")
    show_received(str(home / "Maildir"))
    status = spool / "acme" / "failed" / "refused.status"
    heading("The refused message's status file, spool/acme/failed/refused.status")
    print(indent(status.read_text() if status.exists() else "(missing)"))
    heading("The delivery log")
    log = home / "outtray.log"
    print(indent(log.read_text() if log.exists() else "(missing)"))
    errors = (home / "outtray.stderr").read_text()
    if not done:
        print(f"\nNot everything came through.\n{errors}", file=sys.stderr)
        return 1
    print("\nEvery message is where it belongs. Look around with: build/outtray --help, README.md")
    return 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="outtray-demo.") as directory:
        sys.exit(demonstrate(os.path.abspath(sys.argv[1]), pathlib.Path(directory)))
