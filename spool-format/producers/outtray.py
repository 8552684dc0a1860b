"""Puts mail into an outtray spool (SPOOL.md) from Python 3.6 or later, with its standard library alone.

Copy this file. License: Apache-2.0.

submit(directory, message, name=None) writes message (bytes) into the spool of the tenant whose directory that is, such
as /var/spool/outtray/acme, and returns its name. When it has returned, the message is on the disk and will not be lost.
Where it raises OSError or ValueError nothing was accepted and nothing is left behind; only where new/ cannot be synced may
the message go out all the same.

Usage:
  import sys
  import outtray
  outtray.submit(sys.argv[1], sys.stdin.buffer.read(), sys.argv[2])
"""

import os
import secrets
import socket
import time


def make_name():
    """A name as maildir has them: time, process, random number, host."""
    host = "".join("_" if character in "/:~ " or not character.isprintable() else character for character in socket.gethostname())
    return "%d.P%dR%s.%s" % (time.time(), os.getpid(), secrets.token_hex(8), host)


def name_is_valid(name):
    """Which names (text or bytes) a message may have."""
    octets = os.fsencode(name)
    return (0 < len(octets) <= 200 and not octets.startswith(b".") and not octets.endswith(b".status") and b"/" not in octets
            and not any(octet < 32 or octet == 127 for octet in octets))


def submit(directory, message, name=None):
    """Returns the message's name once it is accepted; see above."""
    name = make_name() if name is None else name
    if not name_is_valid(name):
        raise ValueError("a message cannot have the name %r" % (name,))
    directory, octets = os.fsencode(directory), os.fsencode(name)
    tmp, new = (os.path.join(directory, place, octets) for place in (b"tmp", b"new"))
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:  # its close is checked, too
            rest = memoryview(message)
            while rest:
                rest = rest[file.write(rest):]
            os.fsync(fd)
        os.link(tmp, new)  # fails where the name is taken
    finally:
        os.unlink(tmp)
    fd = os.open(os.path.join(directory, b"new"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)  # accepted
    finally:
        os.close(fd)
    return name
