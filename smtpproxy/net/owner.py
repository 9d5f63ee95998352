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
from smtpproxy.tls.hello import parse_client_hello
from smtpproxy.transport.stream import Ending, Stream
from smtpproxy.transport.verification import facts_of, failure_of, set_server_name


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

    __slots__ = ("_leg", "_listener", "server_name")

    def __init__(self, listener: Listener, leg: Leg) -> None:
        self._listener = listener
        self._leg = leg
        self.server_name: str | None = None

    def ask_for_server_name(self, connection: SSL.Connection) -> None:
        """Put the server name into the handshake that is about to begin."""
        self.server_name = set_server_name(connection, self.server_name)

    def stream_received(self, data: bytes) -> None:
        """Octets came, decrypted if the stream is on TLS."""
        self._listener.post(Received(self._leg, data))

    def stream_hello(self, hello: bytes) -> None:
        """The ClientHello has come whole."""
        try:
            event: Event = ClientHelloSeen(parse_client_hello(hello))
        except ProtocolError as error:
            self._listener.refuse_hello(TlsFailure(TlsReason.HANDSHAKE_FAILED, error.reason))
            return
        self._listener.post(event)

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """The handshake is done."""
        self._listener.post(Upgraded(self._leg, facts_of(connection, self.server_name)))

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """The handshake failed; the stream closes itself and nobody listens to it any more."""
        self._listener.forget(self._leg)
        self._listener.post(TlsFailed(self._leg, failure_of(failure, connection)))

    def stream_finished(self, ending: Ending) -> bool:
        """A client that sends no more may wait for replies; an upstream that sends no more is of no use."""
        if self._leg is Leg.CLIENT:
            self._listener.post(ClientFinished(ending.value))
        return self._leg is Leg.CLIENT

    def stream_blocked(self) -> None:
        """The peer does not take what is sent."""
        self._listener.blocked(self._leg)

    def stream_unblocked(self) -> None:
        """The peer takes it again."""
        self._listener.unblocked(self._leg)

    def stream_closed(self, ending: Ending) -> None:
        """The connection has ended."""
        self._listener.post(Closed(self._leg, ending.value))

    def dial_succeeded(self, stream: Stream) -> None:
        """The upstream connection stands."""
        self._listener.connected(stream)

    def dial_failed(self, reason: str) -> None:
        """The upstream connection could not be had."""
        self._listener.post(UpstreamFailed(reason))
