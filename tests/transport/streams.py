"""Streams on real sockets for tests: an owner that notes everything, peers that share no code with the package."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import trustme
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.tls.facts import TlsFailure
from smtpproxy.transport.connection import Reactor
from smtpproxy.transport.stream import Ending, Role, Stream
from smtpproxy.transport.tcp import listen

Result = TypeVar("Result")

reactor: Reactor = cast("Reactor", _reactor)
HOST = "127.0.0.1"
NAME = "mx.test"
PEER_TIMEOUT_S = 20.0

authority = trustme.CA()
certificate = authority.issue_cert(NAME)


def server_context(*, highest: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    certificate.configure_cert(context)
    context.set_max_proto_version(highest)
    context.set_session_id(b"test")
    return context


def client_context(*, highest: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    authority.configure_trust(context)
    context.set_verify(SSL.VERIFY_PEER)
    context.set_max_proto_version(highest)
    return context


def peer_client(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """The standard library's client: another OpenSSL than ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.maximum_version = version
    return context


def peer_server(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.maximum_version = version
    return context


def secure_client(peer: socket.socket, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """Shake hands; an end of TCP without an end of TLS is an error to this peer."""
    return (context or peer_client()).wrap_socket(peer, server_hostname=NAME, suppress_ragged_eofs=False)


def secure_server(peer: socket.socket, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    return (context or peer_server()).wrap_socket(peer, server_side=True, suppress_ragged_eofs=False)


def read_to_end(peer: socket.socket) -> bytes:
    chunks = []
    while data := peer.recv(65536):
        chunks.append(data)
    return b"".join(chunks)


def read_exactly(peer: socket.socket, octets: int) -> bytes:
    data = bytearray()
    while len(data) < octets:
        more = peer.recv(min(octets - len(data), 1 << 20))
        if not more:
            raise EOFError(f"{len(data)} of {octets}")
        data += more
    return bytes(data)


def reset(peer: socket.socket) -> None:
    """Close with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    peer.close()


@dataclass
class Recorder:
    """An owner that notes what it is told; the hooks let a test answer from inside the call."""

    received: bytearray = field(default_factory=bytearray)
    chunks: list[bytes] = field(default_factory=list)
    hello: bytes | None = None
    connection: SSL.Connection | None = None
    failures: list[TlsFailure | SSL.Error] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    finished: list[Ending] = field(default_factory=list)
    answers_the_end: bool = False
    order: list[str] = field(default_factory=list)
    on_received: Callable[[bytes], object] | None = None
    on_hello: Callable[[bytes], object] | None = None
    on_upgraded: Callable[[SSL.Connection], object] | None = None
    on_blocked: Callable[[], object] | None = None
    on_unblocked: Callable[[], object] | None = None
    on_failed: Callable[[], object] | None = None
    _waiting: list[tuple[Callable[[], bool], Deferred[None]]] = field(default_factory=list)

    def stream_received(self, data: bytes) -> None:
        self.received += data
        self.chunks.append(data)
        if self.on_received:
            self.on_received(data)
        self._note("received")

    def stream_hello(self, hello: bytes) -> None:
        self.hello = hello
        if self.on_hello:
            self.on_hello(hello)
        self._note("hello")

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        self.connection = connection
        if self.on_upgraded:
            self.on_upgraded(connection)
        self._note("upgraded")

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        self.failures.append(failure)
        if self.on_failed:
            self.on_failed()
        self._note("failed" if connection is None else "handshake failed")

    def stream_finished(self, ending: Ending) -> bool:
        if self.answers_the_end:
            self.finished.append(ending)
            self._note("finished")
        return self.answers_the_end

    def stream_blocked(self) -> None:
        if self.on_blocked:
            self.on_blocked()
        self._note("blocked")

    def stream_unblocked(self) -> None:
        if self.on_unblocked:
            self.on_unblocked()
        self._note("unblocked")

    def stream_closed(self, ending: Ending) -> None:
        self.endings.append(ending)
        self._note("closed")

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Wait until an event makes the condition true."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._wake()
        return waiting

    async def closed(self) -> Ending:
        await self.until(lambda: bool(self.endings))
        return self.endings[0]

    async def saw(self, event: str) -> None:
        await self.until(lambda: event in self.order)

    def _note(self, event: str) -> None:
        self.order.append(event)
        self._wake()

    def _wake(self) -> None:
        for entry in list(self._waiting):
            condition, waiting = entry
            if condition():
                self._waiting.remove(entry)
                waiting.callback(None)


class HeldTime:
    """The reactor with its clock held: delays pass when a test says so, `callLater(0)` as ever."""

    def __init__(self) -> None:
        self.clock = Clock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all the rest is the reactor's
        return getattr(reactor, name)

    def callLater(self, delay: float, function: Callable[..., object], *arguments: object) -> Any:  # noqa: ANN401, N802
        return (self.clock if delay else reactor).callLater(delay, function, *arguments)


class StreamCase(TestCase):
    """Gives pairs of a stream and the plain blocking socket at its other end."""

    timeout = 60

    def run_peer(self, function: Callable[..., Result], *arguments: object) -> Deferred[Result]:
        """Run a peer's blocking part beside the reactor."""
        return deferToThread(function, *arguments)

    def listen(self, accept: Callable[[Stream], None], on: Reactor = reactor, host: str = HOST) -> int:
        """Listen until the test ends; return the port."""
        port = listen(on, host, 0, accept)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def pair(self, owner: Recorder, on: Reactor = reactor) -> tuple[Stream, socket.socket]:
        """Return a stream that the package accepted, and its peer."""
        accepted: Deferred[Stream] = Deferred()

        def accept(stream: Stream) -> None:
            stream.owner = owner
            reactor.callLater(0, accepted.callback, stream)  # once it is read

        peer = socket.create_connection((HOST, self.listen(accept, on)), PEER_TIMEOUT_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what a peer has sent is with us, or on its way
        stream = await accepted
        self.addCleanup(self._end, stream, owner, peer)
        return stream, peer

    async def secured_pair(
        self, owner: Recorder, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, on: Reactor = reactor
    ) -> tuple[Stream, ssl.SSLSocket]:
        """Return a stream that has become a TLS server, and its peer."""
        stream, peer = await self.pair(owner, on)
        stream.start_tls(server_context(), Role.SERVER)
        secured = await self.run_peer(secure_client, peer, peer_client(version))
        self.addCleanup(secured.close)
        await owner.saw("upgraded")
        return stream, secured

    def logged(self, kind: type[BaseException]) -> int:
        """Return how often such an exception was logged, which is then forgiven."""
        return len(self.flushLoggedErrors(kind))  # type: ignore[no-untyped-call]

    def _end(self, stream: Stream, owner: Recorder, peer: socket.socket) -> Deferred[Ending]:
        peer.close()
        stream.abort()
        return wait(owner.closed())


def wait(coroutine: Coroutine[Deferred[Any], Any, Result]) -> Deferred[Result]:
    return ensureDeferred(coroutine)
