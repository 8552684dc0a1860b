"""A scripted SMTP server: well-behaved until its script says otherwise, and it remembers what it read.

Script lines:

ehlo WORD…                the extensions offered, one per word (SIZE=1000 is sent as "SIZE 1000"); `ehlo` alone: none
tls starttls|implicit [CERT [client]]   CERT: good (default) | expired | wrongname; client: asks for a client certificate
auth MECH… [plain]        AUTH is offered (inside TLS only, unless `plain` or there is no TLS); user "user", password "secret"
[conn N] on EVENT [TEXT]: [once|xN] ACTION [& ACTION…]
                          at that event, where the command line holds TEXT; conn N: only on that connection (N+ and later);
                          the first line that fits and is not used up counts

Events: CONNECT EHLO STARTTLS SECURE (TLS is up) AUTH-START AUTH MAIL RCPT DATA DATA-START (before the body is read) BDAT (the command
was read) CHUNK (a chunk but not the last) BODY (the whole message was read) RSET NOOP QUIT.

Actions: a reply ("550 5.1.1 no", with \\r\\n \\0 \\xNN escapes; the final CRLF is added) · default · nothing · drop · rst ·
silence (no reply any more, reading goes on) · stop-reading · raw TEXT (no CRLF added) · hold EVENT N (later replies wait until
N such events happened on this connection) · endless-line · endless-continuation CODE · drip TEXT (a byte per 20 ms, then
the last of them again and again) · tls (the handshake now) · pause (replies and reading wait for the step
`release`) · quiet (a complaint where the client sends anything within 0.1 s, before it has the reply) · loop TEXT (after AUTH-START:
every line of the client is answered by TEXT).
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import socket
import ssl
import struct
import threading

logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it remarks on connections that end the way a script wants
DEFAULT_EHLO = ["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "SIZE=52428800"]
USER, PASSWORD = "user", "secret"
FLOOD = b"x" * 65536
FLOOD_TOTAL = 64 << 20  # an endless line ends here; nobody who bounds replies reads as much

LAST_OF_GROUP = {"EHLO", "STARTTLS", "AUTH", "DATA", "CONNECT"}  # RFC 2920 section 3.1: nothing may follow before the reply
LOCKSTEP = {"MAIL", "RCPT", "CHUNK", "BODY", "RSET", "NOOP"}


class Rule:
    PATTERN = re.compile(r"(?:conn (\d+)(\+)? )?on ([A-Z-]+)(?: (.*?))?: (?:(once|x\d+) )?(.*)")

    def __init__(self, line):
        match = self.PATTERN.fullmatch(line)
        if not match:
            raise ValueError(f"not a line of a server script: {line}")
        first, open_end, self.event, self.text, uses, actions = match.groups()
        self.first = int(first) if first else 1
        self.last = self.first if first and not open_end else 1 << 30
        self.left = 1 << 30 if uses is None else 1 if uses == "once" else int(uses[1:])
        self.actions = actions.split(" & ")

    def fits(self, conn, event, line):
        return (self.left > 0 and self.event == event and self.first <= conn <= self.last
                and (self.text is None or self.text.lower() in line.lower()))


class Accepted:
    def __init__(self, conn, mail, rcpts, data, params):
        self.conn, self.mail, self.rcpts, self.data, self.params = conn, mail, rcpts, data, params


class Connection:
    """One connection: a reader that parses at once and a writer that answers in order, so that replies can be held back."""

    def __init__(self, server, number, reader, writer):
        self.server, self.number, self.reader, self.writer = server, number, reader, writer
        self.commands = []  # what was read: lines as text, "." for the end of a DATA body
        self.problems = []
        self.counts = {}
        self.happened = asyncio.Condition()
        self.queue = asyncio.Queue()
        self.secure = server.tls == "implicit"
        self.reset()

    def reset(self):
        self.mail, self.rcpts, self.data, self.params = None, [], [], ""

    def extensions(self):
        words = [w.replace("=", " ", 1) for w in self.server.ehlo]
        if self.server.tls == "starttls" and not self.secure:
            words.append("STARTTLS")
        if self.server.auth and (self.secure or self.server.auth_plain or not self.server.tls):
            words.append("AUTH " + " ".join(self.server.auth))
        return words

    async def event(self, event, default, line=""):
        """Answers an event by the script or by default; tells the code of the reply (0: none)."""
        async with self.happened:
            self.counts[event] = self.counts.get(event, 0) + 1
            self.happened.notify_all()
        self.server.count(event)
        if self.reader._buffer and (event in LAST_OF_GROUP or (event in LOCKSTEP and "PIPELINING" not in map(str.upper, self.server.ehlo))):
            self.problems.append(f"more was sent before {event} was answered: {bytes(self.reader._buffer[:80])!r}")
        rule = next((r for r in self.server.rules if r.fits(self.number, event, line)), None)
        actions = ["default"]
        if rule:
            rule.left -= 1
            actions = rule.actions
        code = 0
        for action in actions:
            if action == "default":
                if default is None:
                    continue
                action = default
            text = action.removeprefix("raw ")
            if text[:3].isdigit() and not code:
                code = int(text[:3])
            if action == "tls":
                await self.handshake()
            elif action == "stop-reading":
                self.writer.transport.pause_reading()
                await asyncio.Event().wait()
            elif action == "pause":
                await self.queue.join()
                self.writer.transport.pause_reading()
                await self.server.released.wait()
                self.writer.transport.resume_reading()
            elif action == "quiet":
                await asyncio.sleep(0.1)
                if self.reader._buffer:
                    self.problems.append(f"more was sent before the reply to {event}: {bytes(self.reader._buffer[:80])!r}")
            elif action.startswith("loop "):
                while True:
                    self.queue.put_nowait(action[5:])
                    await self.line()
            else:
                self.queue.put_nowait(action)
        return code

    async def handshake(self):
        await self.queue.join()
        await self.writer.start_tls(self.server.context())
        self.secure = True
        self.reset()

    async def answer(self):
        while True:
            action = await self.queue.get()
            try:
                await self.act(action)
            finally:
                self.queue.task_done()

    async def act(self, action):
        write = self.writer.write
        word, _, rest = action.partition(" ")
        if re.match(r"\d{3}[ -]|\d{3}$", action) or "\r\n" in action:
            write(unescape(action) + b"\r\n")
        elif word == "raw":
            write(unescape(rest))
        elif word == "nothing":
            return
        elif word == "hold":
            event, count = rest.split()
            async with self.happened:
                await self.happened.wait_for(lambda: self.counts.get(event, 0) >= int(count))
            return
        elif word == "silence":
            await asyncio.Event().wait()
        elif word == "drop":
            await self.writer.drain()
            self.close()
        elif word == "rst":
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            raise ConnectionResetError
        elif word == "endless-line":
            for _ in range(FLOOD_TOTAL // len(FLOOD)):
                write(FLOOD)
                await self.writer.drain()
        elif word == "endless-continuation":
            for number in range(FLOOD_TOTAL // 64):
                write(f"{rest}-line {number} of an answer that never ends\r\n".encode())
                await self.writer.drain()
        elif word == "drip":
            text = unescape(rest)
            while True:
                write(text[:1])
                text = text[1:] or text
                await self.writer.drain()
                await asyncio.sleep(0.02)
        else:
            raise ValueError(f"no action is called {action}")
        await self.writer.drain()

    def close(self):
        self.writer.close()
        raise ConnectionResetError

    async def line(self):
        line = await self.reader.readuntil(b"\n")
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self.problems.append(f"a command with a bare CR or LF: {line!r}")
        if b"\0" in line:
            self.problems.append(f"a command with NUL: {line!r}")
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")

    async def talk(self):
        await self.event("CONNECT", "220 mail.example.com ESMTP")
        while True:
            line = await self.line()
            self.commands.append(line)
            verb = line.split(" ")[0].split(":")[0].upper()
            handler = getattr(self, "do_" + verb.lower(), None)
            if handler is None:
                await self.event(verb, "502 5.5.2 no such command", line)
            else:
                await handler(line)

    async def do_ehlo(self, line):
        self.reset()
        words = ["mail.example.com"] + self.extensions()
        text = "\\r\\n".join(f"250{'-' if i + 1 < len(words) else ' '}{w}" for i, w in enumerate(words))
        await self.event("EHLO", text, line)

    async def do_helo(self, line):
        self.reset()
        await self.event("EHLO", "250 mail.example.com", line)

    async def do_starttls(self, line):
        code = await self.event("STARTTLS", "220 2.0.0 go ahead" if self.server.tls == "starttls" else "502 5.5.1 no", line)
        if code == 220 and not self.secure:
            await self.handshake()
            await self.event("SECURE", None)

    async def challenge(self, text):
        self.queue.put_nowait("334 " + base64.b64encode(text).decode())
        return base64.b64decode(await self.line())

    async def do_auth(self, line):
        words = line.split(" ")
        mech, initial = words[1].upper(), base64.b64decode(words[2]) if len(words) > 2 and words[2] != "=" else None
        self.commands[-1] = "AUTH " + mech
        await self.event("AUTH-START", None, line)
        if mech == "PLAIN":
            got = (initial or await self.challenge(b"")).split(b"\0")[1:]
        elif mech == "LOGIN":
            got = [initial or await self.challenge(b"Username:"), await self.challenge(b"Password:")]
        elif mech == "CRAM-MD5":
            nonce = b"<1.2@mail.example.com>"
            user, _, digest = (await self.challenge(nonce)).rpartition(b" ")
            right = hmac.new(PASSWORD.encode(), nonce, hashlib.md5).hexdigest().encode()
            got = [user, PASSWORD.encode() if digest == right else b""]
        else:
            got = []
        good = mech in self.server.auth and got == [USER.encode(), PASSWORD.encode()]
        await self.event("AUTH", "235 2.7.0 welcome" if good else "535 5.7.8 authentication failed", line)

    async def do_mail(self, line):
        default = "503 5.5.1 nested MAIL" if self.mail is not None else "250 2.1.0 ok"
        code = await self.event("MAIL", default, line)
        if code // 100 == 2:
            self.mail, _, self.params = line[len("MAIL FROM:"):].partition(" ")

    async def do_rcpt(self, line):
        code = await self.event("RCPT", "503 5.5.1 MAIL first" if self.mail is None else "250 2.1.5 ok", line)
        if code // 100 == 2:
            self.rcpts.append(re.match(r"RCPT TO:<(.*?)>(?: |$)", line, re.I)[1])

    async def do_rset(self, line):
        self.reset()
        await self.event("RSET", "250 2.0.0 ok", line)

    async def do_noop(self, line):
        await self.event("NOOP", "250 2.0.0 ok", line)

    async def do_quit(self, line):
        await self.event("QUIT", "221 2.0.0 bye", line)
        self.queue.put_nowait("drop")

    async def do_data(self, line):
        default = "354 go ahead" if self.rcpts else "554 5.5.1 no valid recipients"
        code = await self.event("DATA", default, line)
        if code != 354:
            return
        await self.event("DATA-START", None, line)
        data = bytearray()
        while True:
            chunk = await self.reader.readuntil(b"\n")
            if chunk == b".\r\n" and (not data or data.endswith(b"\r\n")):
                break
            data += chunk[1:] if chunk.startswith(b".") and (not data or data.endswith(b"\n")) else chunk
        self.commands.append(".")
        await self.body(bytes(data))

    async def do_bdat(self, line):
        words = line.split(" ")
        size, last = int(words[1]), len(words) > 2
        await self.event("BDAT", None, line)
        self.data.append(await self.reader.readexactly(size))
        default = None if self.rcpts else "503 5.5.1 no valid recipients"
        if last:
            await self.body(b"".join(self.data), default)
        else:
            await self.event("CHUNK", default or "250 2.0.0 chunk", line)

    async def body(self, data, refusal=None):
        size = re.search(r"SIZE=(\d+)", self.params or "")
        if size and int(size[1]) != len(data):
            self.problems.append(f"MAIL said SIZE={size[1]}, the message had {len(data)} octets")
        self.server.bodies.append(data)
        text = data.replace(b"\r\n", b"")
        if b"\r" in text or b"\n" in text:
            self.problems.append("a message with a bare CR or LF on the wire")
        number = len(self.server.accepted) + 1
        if not self.rcpts and refusal is None:
            refusal = "554 5.5.1 no valid recipients"
        code = await self.event("BODY", refusal or f"250 2.0.0 Ok: queued as Q{number}", "")
        if code // 100 == 2 and self.rcpts:
            self.server.accepted.append(Accepted(self.number, self.mail, self.rcpts, data, self.params))
        self.reset()


def unescape(text):
    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", lambda m: {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"e": b"\x1b", b"t": b"\t"}.get(
        m[1]) or (bytes([int(m[1][1:], 16)]) if m[1][:1] == b"x" and len(m[1]) == 3 else m[1]), text.encode())


class Server:
    """Start, read `port`, let the agent talk, stop; everything seen is in `connections` and `accepted`."""

    connection = Connection

    def __init__(self, script=(), certs=None):
        self.ehlo, self.tls, self.cert, self.auth, self.auth_plain = DEFAULT_EHLO, "", "good", [], False
        self.rules, self.certs, self.client = [], certs, False
        self.connections, self.accepted, self.bodies, self.errors = [], [], [], []
        self.counts, self.lock = {}, threading.Lock()
        for line in script:
            word, _, rest = line.partition(" ")
            words = rest.split()
            if word == "ehlo":
                self.ehlo = words
            elif word == "tls":
                self.tls, self.cert = words[0], words[1] if len(words) > 1 else "good"
                self.client = "client" in words
            elif word == "auth":
                self.auth, self.auth_plain = [w for w in words if w != "plain"], "plain" in words
            else:
                self.rules.append(Rule(line))
        self.loop = asyncio.new_event_loop()
        self.released = asyncio.Event()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.listener = None

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{self.certs}/{self.cert}.pem", f"{self.certs}/{self.cert}.key")
        if self.client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(f"{self.certs}/ca.pem")
        return context

    def count(self, event):
        with self.lock:
            self.counts[event] = self.counts.get(event, 0) + 1

    def seen(self, event):
        with self.lock:
            return self.counts.get(event, 0)

    async def _serve(self, reader, writer):
        conn = self.connection(self, len(self.connections) + 1, reader, writer)
        self.connections.append(conn)
        answering = asyncio.ensure_future(conn.answer())
        talking = asyncio.ensure_future(conn.talk())
        done, pending = await asyncio.wait({answering, talking}, return_when=asyncio.FIRST_COMPLETED)
        if talking in done and answering in pending:  # the client went away: replies already due are still acted on
            await asyncio.wait({answering}, timeout=0.2)
        for task in (answering, talking):
            if not task.done():
                task.cancel()
            elif task.exception() and not isinstance(task.exception(), (OSError, EOFError)):
                self.errors.append(repr(task.exception()))
        self.count("CLOSED")
        writer.close()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _listen(self):
        context = self.context() if self.tls == "implicit" else None
        self.listener = await asyncio.start_server(self._serve, sock=self.socket, ssl=context, limit=2 << 20)

    def start(self):
        self.loop.set_exception_handler(lambda loop, context: None)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(10)

    def release(self):
        self.loop.call_soon_threadsafe(self.released.set)

    def pause(self):
        """Nobody listens any more at this port (the port stays ours to come back to)."""
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(10)

    def resume(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", self.port))
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(10)

    async def _close(self):
        if self.listener:
            self.listener.close()
            self.listener = None

    def stop(self):
        async def end():
            await self._close()
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
