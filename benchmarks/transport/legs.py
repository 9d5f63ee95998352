"""What the relay asks of a candidate, and the descriptor that three of them share.

Source: Twisted's `IReadWriteDescriptor`; epoll(7).
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, cast

from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpproxy.transport.connection import Reactor

reactor = cast("Reactor", _reactor)
HOST = "127.0.0.1"
READ_OCTETS = 256 * 1024
RECORD_OCTETS = 16 * 1024
HIGH_OCTETS = 256 * 1024


class Leg(Protocol):
    """One of a relay's two connections."""

    def collect_hello(self) -> None:
        """Read until the ClientHello has come."""

    def start_tls(self, *, server: bool) -> None:
        """Begin the handshake."""

    def send(self, data: bytes) -> None:
        """Send plaintext."""

    def is_blocked(self) -> bool:
        """Whether too much is unsent."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read on."""

    def close(self) -> None:
        """Send what is unsent, end TLS, close."""


class LegOwner(Protocol):
    """What a leg reports to its relay."""

    def hello(self, leg: Leg) -> None:
        """The ClientHello has come."""

    def dialled(self, leg: Leg) -> None:
        """Upstream's connection stands."""

    def secured(self, leg: Leg) -> None:
        """The handshake is done."""

    def received(self, leg: Leg, data: bytes) -> None:
        """Plaintext came."""

    def drained(self, leg: Leg) -> None:
        """Nothing is unsent any more."""

    def ended(self, leg: Leg) -> None:
        """The connection is gone."""


MakeLeg = Callable[[socket.socket, LegOwner], Leg]


def finished_contexts(folder: str) -> tuple[SSL.Context, SSL.Context]:
    """Return the contexts of both ends, without resumption."""
    server, client = SSL.Context(SSL.TLS_METHOD), SSL.Context(SSL.TLS_METHOD)
    server.use_certificate_chain_file(f"{folder}/leaf.pem")
    server.use_privatekey_file(f"{folder}/leaf.pem")
    client.load_verify_locations(f"{folder}/ca.pem")
    client.set_verify(SSL.VERIFY_PEER)
    for context in (server, client):
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return server, client


def is_whole(hello: bytes | bytearray) -> bool:
    """Whether one record holds all of the ClientHello, which is enough here."""
    return len(hello) > 5 and len(hello) >= 5 + int.from_bytes(hello[3:5])


@implementer(IReadWriteDescriptor)
class Descriptor(ABC):
    """A socket that sends at once and asks for EPOLLOUT only after a short write."""

    def __init__(self, connection: socket.socket, owner: LegOwner) -> None:
        self.socket, self.owner = connection, owner
        self.unsent = bytearray()
        self.closing = self.gone = False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @abstractmethod
    def doRead(self) -> Any:  # noqa: ANN401, N802 - Twisted's, whose types say Failure and mean Exception
        """Octets can be read."""

    @abstractmethod
    def try_to_send(self, octets: bytes | bytearray) -> int:
        """Return how many octets went out."""

    def fileno(self) -> int:
        """For the reactor."""
        return self.socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """For the reactor."""
        return "-"

    def resume(self) -> None:
        """Read on."""
        reactor.addReader(cast("Any", self))

    def pause(self) -> None:
        """Stop reading."""
        reactor.removeReader(cast("Any", self))

    def is_blocked(self) -> bool:
        """Whether too much is unsent."""
        return len(self.unsent) > HIGH_OCTETS

    def send_or_keep(self, octets: bytes) -> None:
        """Send now what can be sent."""
        sent = 0 if self.unsent else self.try_to_send(octets)
        if sent < len(octets) and not self.gone:
            self.unsent += memoryview(octets)[sent:]
            reactor.addWriter(cast("Any", self))

    def doWrite(self) -> Any:  # noqa: ANN401, N802 - as doRead
        """Octets can be sent again."""
        del self.unsent[: self.try_to_send(self.unsent)]
        if self.unsent or self.gone:
            return None
        reactor.removeWriter(cast("Any", self))
        self.owner.drained(cast("Leg", self))
        return ConnectionDone() if self.closing else None

    def finish(self) -> None:
        """Close once all is sent."""
        self.closing = True
        if not self.unsent:
            self.connectionLost()

    def connectionLost(self, _reason: Failure | None = None) -> None:  # noqa: N802 - Twisted's name
        """Close and report."""
        if self.gone:
            return
        self.gone = True
        self.pause()
        reactor.removeWriter(cast("Any", self))
        self.forget()
        self.socket.close()
        self.owner.ended(cast("Leg", self))

    def forget(self) -> None:  # noqa: B027 - most have nothing to drop
        """Drop what must not outlive the descriptor."""

    @staticmethod
    def lost() -> Exception:
        """Return what tells the reactor to close."""
        return ConnectionLost()


@implementer(IReadWriteDescriptor)
class Listener:
    """Accepts, and dials, for legs that are descriptors."""

    def __init__(self, make_leg: MakeLeg, target: int, make_owner: Callable[[], Any]) -> None:
        self.make_leg, self.target, self.make_owner = make_leg, target, make_owner
        self.socket = socket.create_server((HOST, 0), backlog=1024)
        self.socket.setblocking(False)
        self.fileno = self.socket.fileno
        reactor.addReader(self)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.socket.getsockname()[1])

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """For the reactor."""
        return "-"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Accept all that wait."""
        for _ in range(100):
            try:
                connection, _address = self.socket.accept()
            except BlockingIOError:
                return
            owner = self.make_owner()
            owner.client = self.make_leg(connection, owner)
            owner.client.collect_hello()

    def doWrite(self) -> None:  # noqa: N802 - Twisted's name
        """Never asked for."""

    def dial(self, owner: LegOwner) -> None:
        """Connect upstream."""
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((HOST, self.target))
        reactor.addWriter(_Dial(connection, self.make_leg, owner))

    def connectionLost(self, _reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Close."""
        self.socket.close()


@implementer(IReadWriteDescriptor)
class _Dial:
    """Waits until a connection stands."""

    def __init__(self, connection: socket.socket, make_leg: MakeLeg, owner: LegOwner) -> None:
        self.socket, self.make_leg, self.owner = connection, make_leg, owner
        self.fileno = connection.fileno

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        return "-"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Never asked for."""

    def doWrite(self) -> None:  # noqa: N802 - Twisted's name
        reactor.removeWriter(self)
        self.owner.dialled(self.make_leg(self.socket, self.owner))

    def connectionLost(self, _reason: Failure) -> None:  # noqa: N802 - Twisted's name
        self.socket.close()
