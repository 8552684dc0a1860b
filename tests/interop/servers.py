"""The mail servers the agent is tried against: real ones, configured here, started on loopback in a private root.

Every server has start(), stop(), log_text(), and stored(): what it has delivered so far, as (recipient, data).
`endpoints` is what two accounts of the agent's configuration need to reach it.
"""

import json
import pathlib
import shutil

from support import debs, net
from support.child import Child
from support.mailers import (OPENSMTPD_RUN, OPENSMTPD_SET_UP, POSTFIX_MAIN, POSTFIX_RUN, POSTFIX_SERVICES, POSTFIX_SET_UP)
from support.private_root import PrivateRoot, obstacle

HERE = pathlib.Path(__file__).resolve().parent
USERS = {"one@interop.example": "first secret", "two@interop.example": "second $ecret; \"quoted\""}
NOBODY = 65534


class Missing(Exception):
    """This machine cannot run the server, with the reason."""


def maildir(path, recipient_header):
    """(recipient, data) of every message in path/new, the recipient from the header its server adds."""
    for entry in sorted((path / "new").glob("*")):
        data = entry.read_bytes()
        for line in data.split(b"\n\n", 1)[0].replace(b"\r\n", b"\n").split(b"\n"):
            name, _, value = line.partition(b":")
            if name.lower() == recipient_header.encode():
                yield value.strip().decode(), data
                break
        else:
            raise AssertionError(f"{entry}: no {recipient_header}")


class Packaged:
    """A server from Debian packages."""

    packages = ()
    recipient_header = "delivered-to"

    def __init__(self, directory, authority):
        if obstacle():
            raise Missing(obstacle())
        try:
            roots = [debs.unpack(package) for package in self.packages]
        except debs.Unavailable as problem:
            raise Missing(str(problem)) from None
        self.starttls_port, self.tls_port = net.free_ports(2)
        self.root = PrivateRoot(directory, roots, self.script())
        self.shared = self.root.shared
        self.authority = authority
        certificate, key = authority.issue(type(self).__name__.lower())
        shutil.copy(certificate, self.shared / "server.pem")
        shutil.copy(key, self.shared / "server.key")
        self.mail = self.shared / "mail"
        self.mail.mkdir()
        shutil.chown(self.mail, NOBODY, NOBODY)
        for name, text in self.files().items():
            (self.shared / name).write_text(text)

    def files(self):
        """{name: text} of configuration files, to be found in /shared."""
        raise NotImplementedError

    def script(self):
        """What makes the server run, in the private root."""
        raise NotImplementedError

    def start(self):
        self.root.start()
        self.root.wait_up(lambda: net.greets(self.starttls_port) and net.answers(self.tls_port))
        return self

    def stop(self):
        self.root.stop()

    def log_text(self):
        return self.root.log_text()

    def stored(self):
        return maildir(self.mail / "all", self.recipient_header)

    def count(self):
        return sum(1 for _ in (self.mail / "all" / "new").glob("*"))

    def endpoints(self):
        """Keys of two accounts: one over STARTTLS, one over implicit TLS."""
        tls = {"ca_file": str(self.authority.ca)}
        users = list(USERS.items())
        return [
            {"auth": "basic", "server": "localhost", "port": self.starttls_port, "encryption": "starttls", "tls": tls,
             "email": users[0][0], "password": users[0][1]},
            {"auth": "basic", "server": "127.0.0.1", "port": self.tls_port, "encryption": "tls", "tls": tls,
             "email": users[1][0], "password": users[1][1]},
        ]


class Postfix(Packaged):
    """smtpd with CHUNKING and PIPELINING, SASL through dovecot, virtual(8) into one Maildir."""

    packages = ("postfix", "dovecot-core")

    def files(self):
        return {
            "main.cf": POSTFIX_MAIN + """
myhostname = mx.interop.example
mynetworks =
virtual_mailbox_domains = interop.example
virtual_mailbox_maps = static:all/
virtual_mailbox_base = /shared/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_limit = 0
message_size_limit = 52428800
# Bcc and the others are for the agent to remove: nothing here may hide that it did not.
message_drop_headers = content-length, return-path
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access regexp:/shared/refused
smtpd_tls_cert_file = /shared/server.pem
smtpd_tls_key_file = /shared/server.key
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_tls_loglevel = 1
""",
            "master.cf": POSTFIX_SERVICES + f"""
127.0.0.1:{self.starttls_port} inet n - n - - smtpd
127.0.0.1:{self.tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
virtual unix - n n - - virtual
""",
            "dovecot.conf": """
base_dir = /run/dovecot
log_path = /shared/dovecot.log
protocols =
ssl = no
auth_mechanisms = plain login cram-md5
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%u /shared/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
""",
            "refused": "/^refused\\./ 550 5.1.1 no such user here\n",
            "users": "".join(f"{user}:{password}\n" for user, password in USERS.items()),
        }

    def script(self):
        return POSTFIX_SET_UP + """
echo 'dovecot:x:991:991::/nonexistent:/usr/sbin/nologin
dovenull:x:992:992::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
echo 'dovecot:x:991:
dovenull:x:992:' >> /etc/group
dovecot -F -c /shared/dovecot.conf &
while [ ! -S /var/spool/postfix/private/auth ]; do sleep 0.05; done
""" + POSTFIX_RUN + "\n"


class Exim(Packaged):
    """CHUNKING and PIPELINING through GnuTLS; recipients called refused.* get 550 in the middle of the pipeline."""

    packages = ("exim4-daemon-light",)
    recipient_header = "envelope-to"

    def files(self):
        return {
            "exim4.conf": f"""
primary_hostname = mx.interop.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.starttls_port} : {self.tls_port}
tls_on_connect_ports = {self.tls_port}
tls_advertise_hosts = *
tls_certificate = /shared/server.pem
tls_privatekey = /shared/server.key
chunking_advertise_hosts = *
pipelining_advertise_hosts = *
accept_8bitmime = true
smtputf8_advertise_hosts = *
log_file_path = /shared/exim-%s.log
message_size_limit = 50M
host_lookup =
rfc1413_query_timeout = 0s
queue_run_max = 2
smtp_accept_queue_per_connection = 0
smtp_accept_max = 50
smtp_accept_max_per_connection = 100000
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
never_users =
keep_environment =
exim_user = Debian-exim
exim_group = Debian-exim

begin acl
rcpt:
  deny !authenticated = *
       message = authentication required
  deny local_parts = ^refused\\N\\.\\N
       message = no such user here
  accept

begin routers
all:
  driver = accept
  transport = all

begin transports
all:
  driver = appendfile
  maildir_format
  directory = /shared/mail/all
  create_directory
  user = nobody
  group = nogroup
  envelope_to_add
  return_path_add

begin retry
* * F,1h,1m

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{/shared/users}}}}}}}}
  server_set_id = $auth2
""",
            "users": "".join(f'"{user}": {password}\n' for user, password in USERS.items()),
        }

    def script(self):
        return """
echo 'Debian-exim:x:990:990::/var/spool/exim4:/usr/sbin/nologin' >> /etc/passwd
echo 'Debian-exim:x:990:' >> /etc/group
mkdir -p /etc/exim4 /var/spool/exim4 /var/log/exim4
cp /shared/exim4.conf /etc/exim4/exim4.conf
chmod 644 /etc/exim4/exim4.conf /shared/server.pem /shared/users
chown Debian-exim /shared/server.key /var/spool/exim4 /var/log/exim4
chmod 777 /shared
chmod u+s /usr/sbin/exim4
/usr/sbin/exim4 -bdf -q10s
"""


class OpenSMTPD(Packaged):
    """No PIPELINING, no CHUNKING: one command at a time; mail.maildir into one Maildir.

    Without TLS: its release in Debian 12 cannot serve TLS with OpenSSL 3 ("missing private key" in every handshake), and
    it offers no AUTH without TLS. So both ports are plain, and this server stands for the relay in the own network.
    """

    packages = ("opensmtpd",)

    def files(self):
        return {
            "smtpd.conf": f"""
table anyone {{ "@" = "sink" }}
smtp max-message-size 50M
listen on 127.0.0.1 port {self.starttls_port} hostname mx.interop.example
listen on 127.0.0.1 port {self.tls_port} hostname mx.interop.example
action "all" maildir "/shared/mail/all" virtual <anyone>
match from any for rcpt-to regex "^refused\\." reject
match from any for any action "all"
""",
        }

    def script(self):
        return OPENSMTPD_SET_UP + f"""
echo 'sink:x:{NOBODY}:{NOBODY}::/shared/mail:/bin/sh' >> /etc/passwd
echo 'sink:x:{NOBODY}:' >> /etc/group
mkdir -p /var/spool/smtpd
echo mx.interop.example > /etc/mailname
chmod 711 /var/spool/smtpd
{OPENSMTPD_RUN}
"""

    def endpoints(self):
        users = list(USERS)
        return [{"auth": "none", "server": "127.0.0.1", "port": port, "encryption": "none", "email": email}
                for port, email in zip((self.starttls_port, self.tls_port), users)]


class NodeServer(Child):
    """npm's smtp-server: PIPELINING without CHUNKING, STARTTLS and TLS, AUTH PLAIN and LOGIN. Needs no root."""

    def __init__(self, directory, authority):
        node = shutil.which("node") or shutil.which("nodejs")
        if node is None:
            raise Missing("node is missing: run scripts/setup test")
        if not (HERE / "node" / "node_modules" / "smtp-server").is_dir():
            raise Missing("npm's smtp-server is missing: run scripts/setup test")
        self.directory = pathlib.Path(directory)
        self.mail = self.directory / "mail"
        self.mail.mkdir(parents=True)
        self.authority = authority
        self.starttls_port, self.tls_port = net.free_ports(2)
        certificate, key = authority.issue("node")
        settings = {"certificate": str(certificate), "key": str(key), "users": USERS, "mail": str(self.mail),
                    "starttlsPort": self.starttls_port, "tlsPort": self.tls_port}
        self.settings = self.directory / "settings.json"
        self.settings.write_text(json.dumps(settings))
        self.log = self.directory / "server.log"
        self.command = [node, HERE / "node" / "server.js", self.settings]

    def start(self):
        self.launch(*self.command)
        self.wait_up(lambda: "ready" in self.log_text())
        return self

    def envelopes(self):
        return [(json.loads(entry.read_text()), entry.with_suffix(".eml")) for entry in sorted(self.mail.glob("*.json"))]

    def stored(self):
        for envelope, path in self.envelopes():
            for recipient in envelope["to"]:
                yield recipient, f"Return-Path: <{envelope['from']}>\r\n".encode() + path.read_bytes()

    def count(self):
        return sum(len(envelope["to"]) for envelope, _ in self.envelopes())

    endpoints = Packaged.endpoints
