"""Other delivery agents from Debian's packages, each tuned, each in a throw-away root (tests/support/private_root.py).

A peer's queue lies on the same fresh journalled ext4 that outtray's spool lies on. It is filled while the peer is held, then
released; what counts is the time from the release to the last message at the sink.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import time

import rig
from rig import Failed, unpack
from support.mailers import (OPENSMTPD_RUN, OPENSMTPD_SET_UP, POSTFIX_MAIN, POSTFIX_RUN, POSTFIX_SERVICES, POSTFIX_SET_UP)
from support.net import answers, free_port
from support.private_root import PrivateRoot, obstacle

PATIENCE = 60  # seconds for being ready, and for filling


def processes_of(root):
    """Host process ids in the private root's PID namespace."""
    first = None
    for child in pathlib.Path(f"/proc/{root.process.pid}/task/{root.process.pid}/children").read_text().split():
        first = os.readlink(f"/proc/{child}/ns/pid")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if first and os.readlink(f"/proc/{entry}/ns/pid") == first:
                    found.append(entry)
            except OSError:
                pass
    return found


def cpu_of(root):
    """CPU seconds of all processes in there, those included that ended and were waited for."""
    total = 0
    for pid in processes_of(root):
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def memory_of(root):
    """(RSS, PSS) in KiB, summed over all processes in there."""
    rss = pss = 0
    for pid in processes_of(root):
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name == "Rss":
                rss += int(value.split()[0])
            elif name == "Pss":
                pss += int(value.split()[0])
    return rss, pss


class Peer:
    name = ""
    packages = ()
    messages = 1000  # by default: enough for some seconds
    settings = ""  # what was tuned, in a line

    def __init__(self, sink_port, count, size, connections):
        self.sink_port, self.count, self.size, self.connections = sink_port, count, size, connections
        self.port = free_port()

    def files(self):
        return {}

    def script(self):
        """Sets up, fills or waits to be filled, touches /shared/ready, waits for /shared/go, delivers, stays."""
        raise NotImplementedError

    def fill(self):
        """Fills the held queue from outside."""

    def version(self, roots):
        for line in (roots[0] / ".complete").read_text().splitlines():
            name, _, version = line.partition(" ")
            if name == self.packages[0]:
                return version
        return "unknown"


def by_smtp(peer, count):
    found, environment = smtp_source()
    subprocess.run([found, "-s", "20", "-m", str(count), "-l", str(peer.size), "-f", "bench@example.com", "-t", "sink@example.net",
                    f"127.0.0.1:{peer.port}"], env=environment, check=True, capture_output=True, timeout=PATIENCE)


def smtp_source():
    found = shutil.which("smtp-source", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found:
        return found, None
    root = unpack("postfix")
    return root / "usr/sbin/smtp-source", dict(os.environ, LD_LIBRARY_PATH=str(root / "usr/lib/postfix"))


WAIT = """
touch /shared/ready
while [ ! -e /shared/go ]; do sleep 0.02; done
"""
STAY = "while :; do sleep 1; done\n"


class Postfix(Peer):
    name = "Postfix"
    packages = ("postfix",)
    messages = 10000
    settings = ("smtp_destination_concurrency_limit 20, initial 20, qmgr_message_active_limit 50000, default_process_limit 100, "
                "smtp_connection_cache_on_demand, in_flow_delay 0, bounce and rewrite as small as they get; queue filled with "
                "defer_transports = smtp, then postqueue -f")

    def files(self):
        return {"main.cf": POSTFIX_MAIN + f"""
myhostname = peer.bench.example
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{self.sink_port}
defer_transports = smtp
default_destination_concurrency_limit = {self.connections}
initial_destination_concurrency = {self.connections}
default_process_limit = 100
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
smtp_connection_cache_on_demand = yes
in_flow_delay = 0
minimal_backoff_time = 4000s
queue_run_delay = 4000s
""", "master.cf": POSTFIX_SERVICES + f"""
127.0.0.1:{self.port} inet n - n - - smtpd
qmgr unix n - n 4000 1 qmgr
smtp unix - - n - {self.connections} smtp
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
scache unix - - n - 1 scache
"""}

    def script(self):
        return """
mkdir -p /shared/queue
rm -rf /var/spool/postfix
ln -s /shared/queue /var/spool/postfix
""" + POSTFIX_SET_UP + POSTFIX_RUN + """ &
touch /shared/open
while [ ! -e /shared/filled ]; do sleep 0.05; done
count() { find /shared/queue/deferred -type f | wc -l; }
while [ "$(count)" -lt %d ]; do sleep 0.1; done
postconf -e defer_transports=
postfix reload 2>/dev/null
sleep 1
""" % self.count + WAIT + "postqueue -f >/shared/zz.log 2>&1 || echo $? >>/shared/zz.log\n" + STAY

    def fill(self):
        by_smtp(self, self.count)


class OpenSMTPD(Peer):
    name = "OpenSMTPD"
    packages = ("opensmtpd",)
    messages = 300
    settings = ("mta limit max-conn-per-{host,route,source,connector,relay,domain} as many as the others have, conn-delay-* and "
                "session-transaction-delay 0, scheduler max-inflight 100000; filled under smtpctl pause mta, then resume")

    def files(self):
        limits = "".join(f"mta limit max-conn-per-{what} {self.connections}\n"
                         for what in ("host", "route", "source", "connector", "relay", "domain"))
        limits += "".join(f"mta limit conn-delay-{what} 0\n" for what in ("host", "route", "source", "connector", "relay", "domain"))
        return {"smtpd.conf": f"""
{limits}mta limit session-transaction-delay 0
scheduler limit max-inflight 100000
listen on 127.0.0.1 port {self.port} hostname peer.bench.example
action "out" relay host smtp://127.0.0.1:{self.sink_port}
match from any for any action "out"
"""}

    def script(self):
        return OPENSMTPD_SET_UP + """
rm -rf /var/spool/smtpd
mkdir -p /shared/queue
ln -s /shared/queue /var/spool/smtpd
chmod 711 /shared/queue
chgrp opensmtpq /usr/sbin/smtpctl
chmod g+s /usr/sbin/smtpctl
echo peer.bench.example > /etc/mailname
""" + OPENSMTPD_RUN + """ >/shared/smtpd.log 2>&1 &
while ! smtpctl pause mta >>/shared/smtpctl.log 2>&1; do sleep 0.1; done
sleep 0.5
touch /shared/open
while [ ! -e /shared/filled ]; do sleep 0.05; done
""" + WAIT + "smtpctl resume mta\n" + STAY

    def fill(self):
        by_smtp(self, self.count)


class Nullmailer(Peer):
    name = "nullmailer"
    packages = ("nullmailer",)
    messages = 60
    settings = "one remote, --port, pausetime 1; it delivers one message at a time over a connection each; queue files written while the daemon is not running"

    def script(self):
        return f"""
echo 'mail:x:8:8::/var/mail:/usr/sbin/nologin' >> /etc/passwd
rm -rf /var/spool/nullmailer
mkdir -p /shared/queue/queue /shared/queue/tmp /shared/queue/failed /etc/nullmailer
ln -s /shared/queue /var/spool/nullmailer
echo '127.0.0.1 smtp --port={self.sink_port}' > /etc/nullmailer/remotes
echo peer.bench.example > /etc/nullmailer/me
echo 1 > /etc/nullmailer/pausetime
i=0
while [ $i -lt {self.count} ]; do
    {{ printf 'bench@example.com\\nsink@example.net\\n\\n'; sed "s/NUMBER/$i/" /shared/message; }} > /shared/queue/queue/1764000000.$i
    i=$((i + 1))
done
mkfifo /shared/queue/trigger
chown -R mail:mail /shared/queue
sync -f /shared/queue
""" + WAIT + "nullmailer-send >/shared/nullmailer.log 2>&1 &\n" + STAY


class Msmtp(Peer):
    name = "msmtp"
    packages = ("msmtp",)
    messages = 600
    settings = "no queue of its own: a directory of files, xargs -P 20, one process and one connection a message, the file removed after success"

    def script(self):
        return f"""
mkdir -p /shared/queue
cat > /etc/msmtprc <<END
account default
host 127.0.0.1
port {self.sink_port}
from bench@example.com
auth off
tls off
END
i=0
while [ $i -lt {self.count} ]; do
    sed "s/NUMBER/$i/" /shared/message > /shared/queue/$i
    i=$((i + 1))
done
sync -f /shared/queue
""" + WAIT + f"""
find /shared/queue -type f | xargs -P {self.connections} -I FILE sh -c 'msmtp -C /etc/msmtprc sink@example.net < FILE && rm FILE'
""" + STAY


ALL = (Postfix, OpenSMTPD, Nullmailer, Msmtp)


def message(size):
    head = ("From: bench <bench@example.com>\nTo: sink@example.net\nSubject: message NUMBER\nDate: Mon, 23 Nov 2026 15:04:05 +0000\n"
            "Message-ID: <bench.NUMBER@example.com>\n\n")
    line = "The quick brown fox jumps over the lazy dog, then rests a while.\n"
    return (head + line * (size // len(line) + 1))[:size - 1] + "\n"


def wait_for(path, root, what):
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if not root.running() or time.monotonic() > deadline:
            raise Failed(f"{what}\n{root.log_text()[-1500:]}")
        time.sleep(0.02)


def measure(kind, settings, count=None, seconds=60):
    """One line of the table for a peer. Raises Failed or Unavailable with the reason."""
    if obstacle():
        raise Failed(obstacle())
    count = count or kind.messages
    settings = dataclasses.replace(settings, messages=count, files_each=4)
    with rig.temporary() as directory, rig.place_for(settings, directory) as place, \
            rig.Sink(settings, directory, duplicates=False) as sink:
        peer = kind(sink.port, count, settings.size, settings.connections)
        roots = [unpack(package) for package in peer.packages]
        root = PrivateRoot(place.path / "peer", roots, peer.script())
        root.shared.chmod(0o777)
        for name, text in peer.files().items():
            (root.shared / name).write_text(text)
        (root.shared / "message").write_text(message(settings.size))
        root.start()
        try:
            if type(peer).fill is not Peer.fill:
                wait_for(root.shared / "open", root, "it did not start")
                deadline = time.monotonic() + PATIENCE
                while not answers(peer.port):
                    if time.monotonic() > deadline:
                        raise Failed(f"it does not listen\n{root.log_text()[-1500:]}")
                    time.sleep(0.1)
                peer.fill()
                (root.shared / "filled").touch()
            wait_for(root.shared / "ready", root, "it did not get ready")
            cpu, begin = cpu_of(root), time.monotonic_ns()
            (root.shared / "go").touch()
            deadline, peak, seen = time.monotonic() + seconds, (0, 0), {"messages": 0}
            while seen["messages"] < count and time.monotonic() < deadline:
                time.sleep(0.1)
                seen = sink.look()
                peak = max(peak, memory_of(root))
            time.sleep(0.3)
            cpu = cpu_of(root) - cpu
            if not seen["messages"]:
                raise Failed(f"nothing arrived\n{root.log_text()[-1500:]}")
            elapsed = (seen["last_ns"] - begin) / 1e9
            return {"name": peer.name, "version": peer.version(roots), "settings": peer.settings, "messages": seen["messages"],
                    "complete": seen["messages"] == count, "seconds": elapsed, "messages_per_s": seen["messages"] / elapsed,
                    "cpu_ms": cpu / seen["messages"] * 1000, "rss_peak_kib": peak[0], "pss_peak_kib": peak[1],
                    "connections": seen["connections"], "connections_most": seen["connections_most"], "delay": None}
        finally:
            root.stop()
            for _ in range(100):  # the namespace's last mounts go with its last process
                if subprocess.run(["fuser", "-sm", place.path], check=False, capture_output=True).returncode != 0:
                    break
                time.sleep(0.05)
