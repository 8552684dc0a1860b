"""An SMTP server on 127.0.0.1 that takes XOAUTH2 only, and asks the provider about each token.

What it saw: `logins` (every AUTH), `connections`, `messages`. `refuse(reply, times)` scripts the next AUTHs: a reply such
as "535 5.7.3 Authentication unsuccessful", or "334" for a JSON challenge and then 535, as Google does; {token} and {initial} in
a reply stand for what the client sent.
"""

import base64
import dataclasses
import json
import re
import socket
import ssl
import threading

GREETING = b"220 smtp.provider.example ESMTP\r\n"
SHORT = 480  # octets: libcurl keeps to command lines of 512, so that longer tokens follow a 334
REFUSED = "535 5.7.3 Authentication unsuccessful"


@dataclasses.dataclass
class Login:
    connection: int
    user: str
    token: str
    problem: str  # "" where the token is good
    reply: str
    at: float     # by the provider's clock


@dataclasses.dataclass
class Message:
    connection: int
    sender: str
    recipients: list
    message_id: str
    data: bytes


class Server:
    def __init__(self, provider, certificate=None, key=None, mechanisms="XOAUTH2"):
        self.provider, self.mechanisms = provider, mechanisms
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate, key)
        self.lock = threading.Lock()
        self.connections, self.logins, self.messages, self.problems = 0, [], [], []
        self.opening = 0     # connections that have not come past AUTH yet
        self.scripted = []   # [reply, times left]
        self.keep_data = False
        self.on_login = None  # called with each Login before it is answered
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.open = set()

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        with self.lock:
            peers = list(self.open)
        for peer in peers:
            _shut(peer)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()

    def refuse(self, reply=REFUSED, times=1):
        with self.lock:
            self.scripted.append([reply, times])

    def accept_again(self):
        with self.lock:
            self.scripted.clear()

    def good_logins(self):
        return [login for login in self.logins if login.reply.startswith("235")]

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
                self.opening += 1
                self.open.add(peer)
                number = self.connections
            threading.Thread(target=self._serve, args=(peer, number), daemon=True).start()

    def _serve(self, peer, number):
        session = Session(self, peer, number)
        try:
            session.talk()
        except (OSError, EOFError, ValueError) as problem:
            if isinstance(problem, ValueError):
                self.problems.append(f"connection {number}: {problem}")
        finally:
            with self.lock:
                self.opening -= not session.past
                self.open.discard(peer)
            _shut(session.peer)

    def judge(self, number, user, token):
        """(reply, challenge) for an AUTH, which is remembered."""
        problem = self.provider.check_access(user, token)
        with self.lock:
            reply = REFUSED if problem else "235 2.7.0 Authentication successful"
            script = next((s for s in self.scripted if s[1] != 0), None)
            if script:
                script[1] -= 1
                reply = script[0]
            self.logins.append(Login(number, user, token, problem, reply, self.provider.now()))
        if self.on_login:
            self.on_login(self.logins[-1])
        return reply


class Session:
    def __init__(self, server, peer, number):
        self.server, self.peer, self.number = server, peer, number
        self.file = peer.makefile("rb", 1 << 16)
        self.secure, self.user, self.past = False, None, False
        self.sender, self.recipients, self.chunks = None, [], []

    def say(self, text):
        self.peer.sendall(text.encode() + b"\r\n")

    def line(self):
        line = self.file.readline(1 << 16)
        if not line.endswith(b"\r\n"):
            raise EOFError
        return line[:-2].decode()

    def talk(self):
        self.peer.sendall(GREETING)
        while True:
            line = self.line()
            verb = re.split("[ :]", line, maxsplit=1)[0].upper()
            if verb == "QUIT":
                self.say("221 2.0.0 bye")
                return
            handler = getattr(self, "do_" + verb.lower(), None)
            if handler is None:
                self.say("502 5.5.1 no such command")
            elif verb in ("MAIL", "RCPT", "DATA", "BDAT") and self.user is None:
                self.server.problems.append(f"connection {self.number}: {verb} before AUTH")
                self.say("530 5.7.57 Client not authenticated to send mail")
            else:
                handler(line)

    def do_ehlo(self, line):
        words = ["smtp.provider.example", "PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE 52428800"]
        if self.server.context and not self.secure:
            words.append("STARTTLS")
        else:
            words.append("AUTH " + self.server.mechanisms)
        self.say("\r\n".join(f"250{'-' if word is not words[-1] else ' '}{word}" for word in words))

    def do_starttls(self, line):
        self.say("220 2.0.0 go ahead")
        with self.server.lock:
            self.server.open.discard(self.peer)
        self.peer = self.server.context.wrap_socket(self.peer, server_side=True)
        with self.server.lock:
            self.server.open.add(self.peer)
        self.file, self.secure = self.peer.makefile("rb", 1 << 16), True

    def do_auth(self, line):
        words = line.split(" ")
        if words[1].upper() != "XOAUTH2":
            self.server.problems.append(f"connection {self.number}: AUTH {words[1]}")
            return self.say("504 5.5.4 Unrecognized authentication type")
        if len(words) > 2:
            initial = words[2]
        else:
            self.say("334 ")
            initial = self.line()
            if len(initial) < SHORT:
                self.server.problems.append(f"connection {self.number}: a short token, but no initial response")
        found = re.fullmatch(r"user=([^\x01]*)\x01auth=Bearer ([^\x01]*)\x01\x01", base64.b64decode(initial).decode())
        if not found:
            raise ValueError(f"no XOAUTH2 message: {base64.b64decode(initial)[:40]!r}")
        reply = self.server.judge(self.number, found[1], found[2])
        if "{" in reply:  # a server that repeats what it was sent
            reply = reply.format(token=found[2], initial=initial)
        if reply.startswith("334"):
            challenge = {"status": "400", "schemes": "bearer", "scope": "https://mail.google.com/"}
            self.say("334 " + base64.b64encode(json.dumps(challenge).encode()).decode())
            self.line()
            reply = "535 5.7.8 Username and Password not accepted. For more information, go to support"
        if reply.startswith("235"):
            self.user = found[1]
            with self.server.lock:
                self.server.opening -= not self.past
                self.past = True
        return self.say(reply)

    def do_mail(self, line):
        self.sender = re.match(r"MAIL FROM:<(.*?)>", line, re.I)[1]
        self.recipients, self.chunks = [], []
        self.say("250 2.1.0 Sender OK")

    def do_rcpt(self, line):
        self.recipients.append(re.match(r"RCPT TO:<(.*?)>", line, re.I)[1])
        self.say("250 2.1.5 Recipient OK")

    def do_rset(self, line):
        self.sender, self.recipients, self.chunks = None, [], []
        self.say("250 2.0.0 Resetting")

    def do_noop(self, line):
        self.say("250 2.0.0 OK")

    def do_data(self, line):
        self.say("354 Start mail input")
        data = []
        while (chunk := self.file.readline()) != b".\r\n":
            if not chunk:
                raise EOFError
            data.append(chunk[1:] if chunk.startswith(b".") else chunk)
        self.took(b"".join(data))

    def do_bdat(self, line):
        words = line.split(" ")
        chunk = self.file.read(int(words[1]))
        if len(chunk) != int(words[1]):
            raise EOFError
        self.chunks.append(chunk)
        if len(words) > 2:
            self.took(b"".join(self.chunks))
        else:
            self.say("250 2.0.0 chunk")

    def took(self, data):
        found = re.search(rb"^Message-ID:\s*(\S+)", data, re.I | re.M)
        message_id = found[1].decode() if found else ""
        with self.server.lock:
            kept = data if self.server.keep_data else b""
            self.server.messages.append(Message(self.number, self.sender, self.recipients, message_id, kept))
        self.sender, self.recipients, self.chunks = None, [], []
        self.say(f"250 2.6.0 {message_id} Queued mail for delivery")


def _shut(peer):
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    peer.close()
