"""One leg's stream, as the driver hears of it: what happens there becomes the session's events."""

from __future__ import annotations

from typing import Protocol

from OpenSSL import SSL

from smtpproxy.errors import ProtocolError
from smtpproxy.session.events import (
    ClientFinished,
    ClientHelloSeen,
    Closed,
    Event,
    Received,
    TlsFailed,
    Upgraded,
    UpstreamFailed,
)
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import TlsFailure, TlsReason
from smtpproxy.tls.hello import ClientHello, parse_client_hello
from smtpproxy.transport.contexts import limit_tickets
from smtpproxy.transport.stream import Ending, Stream
from smtpproxy.transport.upstream_handshake import UpstreamHandshake
from smtpproxy.transport.verification import facts_of, failure_of


class Listener(Protocol):
    """Who runs the session."""

    def post(self, event: Event) -> None:
        """Hand an event to the session."""

    def connected(self, stream: Stream) -> None:
        """Take the dialled stream."""

    def forget(self, leg: Leg) -> None:
        """Let go of a stream that ends itself."""

    def blocked(self, leg: Leg) -> None:
        """Send no more on a leg than must be."""

    def unblocked(self, leg: Leg) -> None:
        """Send on."""

    def refuse_hello(self, failure: TlsFailure) -> None:
        """Close on a hello that cannot be understood."""


class LegOwner:
    """Turns what happens on one leg's stream into events."""

    __slots__ = ("_leg", "_listener")

    def __init__(self, listener: Listener, leg: Leg) -> None:
        self._listener = listener
        self._leg = leg

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """The handshake failed; the stream closes itself and nobody listens to it any more."""
        self._listener.forget(self._leg)
        self._listener.post(TlsFailed(self._leg, failure_of(failure, connection)))

    def stream_blocked(self) -> None:
        """The peer does not take what is sent."""
        self._listener.blocked(self._leg)

    def stream_unblocked(self) -> None:
        """The peer takes it again."""
        self._listener.unblocked(self._leg)

    def stream_closed(self, ending: Ending) -> None:
        """The connection has ended."""
        self._listener.post(Closed(self._leg, ending.value))


class ClientOwner(LegOwner):
    """Owns the client's stream.

    Attributes:
        server_name: the client's SNI, as the session understood it.
    """

    __slots__ = ("_hello", "server_name")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener, Leg.CLIENT)
        self.server_name: str | None = None
        self._hello: ClientHello | None = None

    def prepare(self, connection: SSL.Connection) -> None:
        """Fit the handshake that is about to begin to the client's hello."""
        if self._hello is not None:
            limit_tickets(connection, self._hello)

    def stream_received(self, data: bytes) -> None:
        """Octets came, decrypted if the stream is on TLS."""
        self._listener.post(Received(Leg.CLIENT, data))

    def stream_hello(self, hello: bytes) -> None:
        """The ClientHello has come whole."""
        try:
            self._hello = parse_client_hello(hello)
        except ProtocolError as error:
            self._listener.refuse_hello(TlsFailure(TlsReason.HANDSHAKE_FAILED, error.reason))
            return
        self._listener.post(ClientHelloSeen(self._hello))

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """The handshake is done."""
        self._hello = None
        self._listener.post(Upgraded(Leg.CLIENT, facts_of(connection, self.server_name)))

    def stream_finished(self, ending: Ending) -> bool:
        """A client that sends no more may wait for replies."""
        self._listener.post(ClientFinished(ending.value))
        return True


class UpstreamOwner(LegOwner):
    """Owns the upstream's stream, and the dial that brings it.

    Attributes:
        handshake: the one that is about to begin, ``None`` in clear and behind the first octets inside TLS.
    """

    __slots__ = ("handshake",)

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener, Leg.UPSTREAM)
        self.handshake: UpstreamHandshake | None = None

    def stream_received(self, data: bytes) -> None:
        """Octets came, decrypted if the stream is on TLS."""
        if self.handshake is not None:
            self.handshake.octets_came()
            self.handshake = None
        self._listener.post(Received(Leg.UPSTREAM, data))

    def stream_hello(self, hello: bytes) -> None:
        """Never asked for."""

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """The handshake is done."""
        if self.handshake is None:
            raise AssertionError("a handshake was done that nobody began")
        self._listener.post(Upgraded(Leg.UPSTREAM, self.handshake.established(connection)))

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """The handshake failed; the stream closes itself and nobody listens to it any more."""
        if self.handshake is not None:
            self.handshake.failed()
        super().stream_tls_failed(failure, connection)

    def stream_finished(self, ending: Ending) -> bool:  # noqa: ARG002 - `Closed` brings it
        """An upstream that sends no more is of no use."""
        return False

    def stream_closed(self, ending: Ending) -> None:
        """The connection has ended; one that brought nothing inside TLS has failed as good as its handshake."""
        refused = None
        if self.handshake is not None:
            self.handshake.failed()
            refused = self.handshake.refused(ending.value)
        if refused is None:
            super().stream_closed(ending)
        else:
            self._listener.forget(self._leg)
            self._listener.post(TlsFailed(self._leg, refused))

    def dial_succeeded(self, stream: Stream) -> None:
        """The upstream connection stands."""
        self._listener.connected(stream)

    def dial_failed(self, reason: str) -> None:
        """The upstream connection could not be had."""
        self._listener.post(UpstreamFailed(reason))
