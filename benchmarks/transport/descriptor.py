"""Candidate b: pyOpenSSL's Connection on the socket itself, the hello looked at with MSG_PEEK.

Source: OpenSSL's SSL_set_fd(3); socket(7) SO_RCVLOWAT, without which epoll spins on a hello that has partly come.
"""

from __future__ import annotations

import contextlib
import socket

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone

from benchmarks.transport.legs import (
    READ_OCTETS,
    RECORD_OCTETS,
    Descriptor,
    LegOwner,
    MakeLeg,
    finished_contexts,
    is_whole,
)


class SocketLeg(Descriptor):
    """OpenSSL reads and writes the descriptor."""

    def __init__(self, connection: socket.socket, owner: LegOwner, contexts: tuple[SSL.Context, SSL.Context]) -> None:
        super().__init__(connection, owner)
        self.server_context, self.client_context = contexts
        self.connection: SSL.Connection | None = None
        self.secured = False

    def collect_hello(self) -> None:
        """Read until the ClientHello has come."""
        self.resume()

    def start_tls(self, *, server: bool) -> None:
        """Begin the handshake."""
        self.connection = SSL.Connection(self.server_context if server else self.client_context, self.socket)
        (self.connection.set_accept_state if server else self.connection.set_connect_state)()
        self._shake(self.connection)

    def doRead(self) -> Exception | None:  # noqa: N802 - Twisted's name
        """Octets can be read."""
        if self.connection is None:
            return self._peek()
        return self._decrypt(self.connection) if self.secured else self._shake(self.connection)

    def try_to_send(self, octets: bytes | bytearray) -> int:
        """Return how many octets of plaintext went out; a record a call."""
        sent, view = 0, memoryview(bytes(octets))
        with contextlib.suppress(SSL.WantWriteError, SSL.WantReadError):
            while self.connection is not None and sent < len(view):
                sent += self.connection.send(view[sent:])
        return sent

    def send(self, data: bytes) -> None:
        """Send plaintext."""
        self.send_or_keep(data)

    def close(self) -> None:
        """Send what is unsent, end TLS, close."""
        if self.connection is not None and not self.gone:
            with contextlib.suppress(SSL.Error):
                self.connection.shutdown()
        self.finish()

    def forget(self) -> None:
        """A connection that outlives its socket writes into whoever gets the descriptor next."""
        self.connection = None

    def _peek(self) -> Exception | None:
        hello = self.socket.recv(65536, socket.MSG_PEEK)
        if not hello:
            return ConnectionDone()
        whole = is_whole(hello)
        wanted = 1 if whole else 5 + int.from_bytes(hello[3:5]) if len(hello) > 4 else 6
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        if whole:
            self.pause()
            self.owner.hello(self)
        return None

    def _shake(self, connection: SSL.Connection) -> Exception | None:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            return None
        self.secured = True
        self.owner.secured(self)
        return self._decrypt(connection)

    def _decrypt(self, connection: SSL.Connection) -> Exception | None:
        chunks, octets = [], 0
        try:
            while octets < READ_OCTETS:
                chunks.append(connection.recv(RECORD_OCTETS))
                octets += len(chunks[-1])
        except SSL.WantReadError:
            pass
        except SSL.Error:
            return ConnectionDone()
        if chunks:
            self.owner.received(self, b"".join(chunks))
        return None


def socket_legs(folder: str) -> MakeLeg:
    """Return how to make legs of candidate b."""
    contexts = finished_contexts(folder)
    return lambda connection, owner: SocketLeg(connection, owner, contexts)
