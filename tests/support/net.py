"""Ports on the loopback interface."""

import contextlib
import socket


def free_port():
    """A port nobody listens on now. The kernel hands out others first, so that the short race is harmless."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_ports(count):
    """Several different ones."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def answers(port, host="127.0.0.1"):
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


def greets(port, host="127.0.0.1"):
    """Whether an SMTP server says 220 there; polite enough to say QUIT."""
    try:
        with socket.create_connection((host, port), timeout=5) as peer:
            if not peer.recv(512).startswith(b"220"):
                return False
            peer.sendall(b"QUIT\r\n")
            peer.recv(512)
            return True
    except OSError:
        return False
