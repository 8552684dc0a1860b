"""A service manager to talk to: the end of NOTIFY_SOCKET that systemd would hold."""

import socket

from .wait import wait_until


class Manager:
    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.setblocking(False)
        self.heard = []

    def listen(self):
        """Everything that was said so far, one dict for each datagram, in order."""
        while True:
            try:
                text = self.socket.recv(65536).decode()
            except BlockingIOError:
                return self.heard
            self.heard.append(dict(line.split("=", 1) for line in text.splitlines()))

    def said(self, key, value=None):
        return [one for one in self.listen() if key in one and value in (None, one[key])]

    def wait(self, key, value=None, count=1, seconds=20):
        wait_until(lambda: len(self.said(key, value)) >= count, seconds, lambda: f"{count} × {key}={value}: {self.heard}")
        return self.said(key, value)
