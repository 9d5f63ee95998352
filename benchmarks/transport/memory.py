"""Candidates a and c: TLS over memory BIOs, by pyOpenSSL or by the standard library.

Source: OpenSSL's BIO_s_mem(3); Python's `ssl.MemoryBIO`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

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

_buffer = memoryview(bytearray(READ_OCTETS))


class Engine(Protocol):
    """TLS over memory."""

    def feed(self, octets: bytes | memoryview) -> object:
        """Take ciphertext."""

    def handshake(self) -> bool:
        """Go on; return whether it is done."""

    def decrypt(self) -> bytes:
        """Return plaintext; ``EOFError`` at its end."""

    def encrypt(self, data: bytes) -> bytes:
        """Return ciphertext."""

    def outgoing(self) -> bytes:
        """Return what is to go out."""

    def shutdown(self) -> None:
        """End our half."""


class MemoryLeg(Descriptor):
    """Carries octets between a socket and an engine."""

    def __init__(self, connection: socket.socket, owner: LegOwner, make_engine: Callable[[bool], Engine]) -> None:
        super().__init__(connection, owner)
        self.make_engine = make_engine
        self.engine: Engine | None = None
        self.secured = False
        self.hello = bytearray()

    def collect_hello(self) -> None:
        """Read until the ClientHello has come."""
        self.resume()

    def start_tls(self, *, server: bool) -> None:
        """Begin the handshake."""
        self.engine = self.make_engine(server)
        if self.hello:
            self.engine.feed(bytes(self.hello))
        self._shake(self.engine)

    def doRead(self) -> Exception | None:  # noqa: N802 - Twisted's name
        """Octets can be read."""
        try:
            count = self.socket.recv_into(_buffer)
        except OSError:
            return self.lost()
        if not count:
            return ConnectionDone()
        if self.engine is None:
            self._collect(count)
            return None
        self.engine.feed(_buffer[:count])
        return self._decrypt(self.engine) if self.secured else self._shake(self.engine)

    def try_to_send(self, octets: bytes | bytearray) -> int:
        """Return how many octets went out."""
        try:
            return self.socket.send(octets)
        except BlockingIOError:
            return 0
        except OSError:
            self.connectionLost()
            return 0

    def send(self, data: bytes) -> None:
        """Send plaintext."""
        if self.engine is not None:
            self.send_or_keep(self.engine.encrypt(data))

    def close(self) -> None:
        """Send what is unsent, end TLS, close."""
        if self.engine is not None and not self.gone:
            self.engine.shutdown()
            self.send_or_keep(self.engine.outgoing())
        self.finish()

    def _collect(self, count: int) -> None:
        self.hello += _buffer[:count]
        if is_whole(self.hello):
            self.pause()
            self.owner.hello(self)

    def _shake(self, engine: Engine) -> Exception | None:
        self.secured = engine.handshake()
        if octets := engine.outgoing():
            self.send_or_keep(octets)
        if not self.secured:
            return None
        self.owner.secured(self)
        return self._decrypt(engine)

    def _decrypt(self, engine: Engine) -> Exception | None:
        try:
            data = engine.decrypt()
        except EOFError:
            return ConnectionDone()
        if data:
            self.owner.received(self, data)
        return None


class PyOpenSslEngine:
    """Candidate a."""

    def __init__(self, context: SSL.Context, *, server: bool) -> None:
        self.connection = SSL.Connection(context, None)
        self.feed = self.connection.bio_write
        (self.connection.set_accept_state if server else self.connection.set_connect_state)()

    def handshake(self) -> bool:
        """Go on; return whether it is done."""
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def decrypt(self) -> bytes:
        """Return plaintext; ``EOFError`` at its end."""
        chunks = []
        try:
            while True:
                chunks.append(self.connection.recv(RECORD_OCTETS))
        except SSL.WantReadError:
            return b"".join(chunks)
        except SSL.ZeroReturnError:
            raise EOFError from None

    def encrypt(self, data: bytes) -> bytes:
        """Return ciphertext."""
        self.connection.sendall(data)
        return self.outgoing()

    def outgoing(self) -> bytes:
        """Return what is to go out."""
        chunks = []
        with contextlib.suppress(SSL.WantReadError):
            while len(octets := self.connection.bio_read(65536)) == 65536:
                chunks.append(octets)
            chunks.append(octets)
        return b"".join(chunks)

    def shutdown(self) -> None:
        """End our half."""
        self.connection.shutdown()


class StdlibEngine:
    """Candidate c."""

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(incoming, outgoing, server_side=server)
        self.feed, self.outgoing = incoming.write, outgoing.read

    def handshake(self) -> bool:
        """Go on; return whether it is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def decrypt(self) -> bytes:
        """Return plaintext; ``EOFError`` at its end."""
        chunks = []
        try:
            while data := self.tls.read(RECORD_OCTETS):
                chunks.append(data)
        except ssl.SSLWantReadError:
            return b"".join(chunks)
        raise EOFError

    def encrypt(self, data: bytes) -> bytes:
        """Return ciphertext."""
        self.tls.write(data)
        return self.outgoing()

    def shutdown(self) -> None:
        """End our half."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()


def pyopenssl_legs(folder: str) -> MakeLeg:
    """Return how to make legs of candidate a."""
    server, client = finished_contexts(folder)

    def make_engine(as_server: bool) -> Engine:  # noqa: FBT001 - one argument
        return PyOpenSslEngine(server if as_server else client, server=as_server)

    return lambda connection, owner: MemoryLeg(connection, owner, make_engine)


def stdlib_legs(folder: str) -> MakeLeg:
    """Return how to make legs of candidate c."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(f"{folder}/leaf.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(f"{folder}/ca.pem")
    client.check_hostname = False

    def make_engine(as_server: bool) -> Engine:  # noqa: FBT001 - one argument
        return StdlibEngine(server if as_server else client, server=as_server)

    return lambda connection, owner: MemoryLeg(connection, owner, make_engine)
