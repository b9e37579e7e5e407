"""Connections between processes on several machines: open to whoever has the key, and noticed to be broken within half
a minute where the other machine is gone without a word.
"""

import fcntl
import queue
import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait
from typing import Any

SILENCE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # seconds, seconds, times: until a link is broken
UNSENT_SECONDS = 25  # likewise for what the other machine does not acknowledge
CONNECT_SECONDS = 5.0
SIOCGIFADDR = 0x8915  # Linux: the address of an interface


class LostNodeError(Exception):
    """Another machine that computes a run is gone; what was saved last is where the run goes on."""


@dataclass(frozen=True)
class Door:
    """Where processes of other nodes come in: the first of each of `nodes` - 1, and the ranks of runs. Who waits at it
    is let in by whoever looks next: this process, or one that it has given the door to."""

    server: socket.socket
    key: bytes
    nodes: int

    @property
    def port(self) -> int:
        return int(self.server.getsockname()[1])

    @contextmanager
    def arrivals(self) -> Iterator["Arrivals"]:
        """Whoever comes in while this is open."""
        found = Arrivals(self)
        try:
            yield found
        finally:
            found.close()


def opened(nodes: int) -> Door:
    """A door on a free port of all addresses of this machine (IPv4)."""
    server = socket.create_server(("", 0), backlog=512)
    server.setblocking(False)  # for all who share it
    return Door(server, secrets.token_bytes(32), nodes)


class Arrivals:
    """Links as they come in, with the first thing that each said."""

    def __init__(self, door: Door):
        self.door, self.over = door, False
        self.waiting: queue.SimpleQueue[tuple[Any, Connection]] = queue.SimpleQueue()
        self.doorman = threading.Thread(target=self._let_in, daemon=True)
        self.doorman.start()

    def next(self, seconds: float) -> tuple[Any, Connection] | None:
        """The next link, or None where none comes within the seconds."""
        try:
            return self.waiting.get(timeout=seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        self.over = True
        self.doorman.join()
        while (late := self.next(0.0)) is not None:
            late[1].close()

    def _let_in(self) -> None:
        while not self.over:
            if not wait([self.door.server], timeout=0.2):
                continue
            with suppress(OSError):  # who came may be gone again
                came, _ = self.door.server.accept()
                threading.Thread(target=self._greet, args=(came,), daemon=True).start()

    def _greet(self, came: socket.socket) -> None:
        """Strangers may stay silent for ever, so each has a thread."""
        keep_alive(came)
        link = Connection(came.detach())
        try:
            deliver_challenge(link, self.door.key)
            answer_challenge(link, self.door.key)
            said = link.recv()
        except (AuthenticationError, EOFError, OSError):
            link.close()
        else:
            self.waiting.put((said, link))


def connect(address: str, port: int) -> Connection:
    """A link to a door, at which nobody has let us in yet. Raises OSError where there is no door."""
    came = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
    came.settimeout(None)
    keep_alive(came)
    return Connection(came.detach())


def come_in(link: Connection, key: bytes, said: Any) -> None:
    """Shows the key, once somebody asks for it, and says who we are. Raises OSError, EOFError, AuthenticationError."""
    answer_challenge(link, key)
    deliver_challenge(link, key)
    link.send(said)


def our_address(link: Connection) -> str:
    """The address of this machine by which the other end of a link knows it."""
    with socket.fromfd(link.fileno(), socket.AF_INET, socket.SOCK_STREAM) as ours:
        return str(ours.getsockname()[0])


def keep_alive(came: socket.socket) -> None:
    """Has the system find out by itself whether the other machine is still there."""
    came.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    came.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in SILENCE.items():
        if hasattr(socket, name):
            came.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        came.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_SECONDS * 1000)


def interface(address: str) -> str | None:
    """The network interface of this machine that has an address; None where that is not to be found out."""
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                found = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return None


def until(seconds: float) -> Iterator[float]:
    """What is left of so many seconds, again and again until nothing is."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield left
