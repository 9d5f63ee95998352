"""One leg's stream, as the driver hears of it: what happens there becomes the session's events."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final, Protocol

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from smtpproxy.endpoint import Endpoint
from smtpproxy.errors import ProtocolError
from smtpproxy.session.events import (
    ClientFinished,
    ClientHelloSeen,
    Closed,
    Event,
    NoClientHello,
    Received,
    TlsFailed,
    Upgraded,
    UpstreamFailed,
    UpstreamFinished,
)
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import TlsFacts, TlsFailure, TlsReason
from smtpproxy.tls.hello import ClientHello, parse_client_hello
from smtpproxy.transport.contexts import limit_tickets
from smtpproxy.transport.stream import Ending, Stream
from smtpproxy.transport.upstream_handshake import Evidence, UpstreamHandshake
from smtpproxy.transport.verification import facts_of, failure_of


class Examination(Protocol):
    """What a handshake established is examined further before the session hears of it."""

    def at_once(self, facts: TlsFacts, evidence: Evidence) -> TlsFacts | None:
        """Return the facts as examined, ``None`` if that takes time."""

    def examine(self, facts: TlsFacts, evidence: Evidence) -> Deferred[TlsFacts]:
        """Return the facts as examined, within bounds."""


class Listener(Protocol):
    """Who runs the session."""

    def post(self, event: Event) -> None:
        """Hand an event to the session."""

    def about_to_dial(self, remote: Endpoint) -> AbstractContextManager[None]:
        """Return what is entered until the connection is known as ours."""

    def dialling(self, local: Endpoint, remote: Endpoint) -> None:
        """Know both ends of the connection that is being made."""

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
        forgives: whether what is no ClientHello may pass.
    """

    __slots__ = ("_hello", "forgives", "server_name")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener, Leg.CLIENT)
        self.server_name: str | None = None
        self.forgives = False
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
            failure = TlsFailure(TlsReason.HANDSHAKE_FAILED, error.reason)
            if self.forgives:
                self._listener.post(NoClientHello(failure))
            else:
                self._listener.refuse_hello(failure)
            return
        self._listener.post(ClientHelloSeen(self._hello))

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """No handshake came about; what is no ClientHello may pass all the same."""
        if self.forgives and isinstance(failure, TlsFailure) and failure.reason in _NO_HELLO:
            self._listener.post(NoClientHello(failure))
        else:
            super().stream_tls_failed(failure, connection)

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """The handshake is done."""
        self._hello = None
        self._listener.post(Upgraded(Leg.CLIENT, facts_of(connection, self.server_name)))

    def stream_finished(self, ending: Ending) -> bool:
        """A client that sends no more may wait for replies."""
        self._listener.post(ClientFinished(ending.value))
        return True


_NO_HELLO: Final = frozenset({TlsReason.NOT_TLS, TlsReason.HELLO_TOO_LONG})


class UpstreamOwner(LegOwner):
    """Owns the upstream's stream, and the dial that brings it."""

    __slots__ = ("_examination", "_handshake", "_is_spliced", "_stream")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener, Leg.UPSTREAM)
        self._handshake: UpstreamHandshake | None = None  # none in clear and behind the first octets inside TLS
        self._examination: Examination | None = None
        self._stream: Stream | None = None
        self._is_spliced = False

    def splice(self) -> None:
        """Take note that octets pass: an upstream that sends no more may still take some."""
        self._is_spliced = True

    def expect(self, handshake: UpstreamHandshake, examination: Examination) -> None:
        """Take note of the handshake that is about to begin, and of who examines what it establishes."""
        self._handshake, self._examination = handshake, examination

    def stream_received(self, data: bytes) -> None:
        """Octets came, decrypted if the stream is on TLS."""
        if self._handshake is not None:
            self._handshake.octets_came()
            self._handshake = None
        self._listener.post(Received(Leg.UPSTREAM, data))

    def stream_hello(self, hello: bytes) -> None:
        """Never asked for."""

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """The handshake is done; what it established is examined, and nothing is read meanwhile."""
        if self._handshake is None or self._examination is None:
            raise AssertionError("a handshake was done that nobody began")
        established = self._handshake.established(connection)
        evidence = self._handshake.evidence
        facts = self._examination.at_once(established, evidence)
        if facts is not None:
            self._upgraded(facts)
        elif self._stream is not None:
            self._stream.hold()
            self._examination.examine(established, evidence).addCallback(self._examined, self._stream)

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """The handshake failed; the stream closes itself and nobody listens to it any more."""
        if self._handshake is not None:
            self._handshake.failed()
        super().stream_tls_failed(failure, connection)

    def stream_finished(self, ending: Ending) -> bool:
        """An upstream that sends no more is of no use, which `Closed` brings, unless octets only pass."""
        if self._is_spliced:
            self._listener.post(UpstreamFinished(ending.value))
        return self._is_spliced

    def stream_closed(self, ending: Ending) -> None:
        """The connection has ended; one that brought nothing inside TLS has failed as good as its handshake."""
        refused = None
        if self._handshake is not None:
            self._handshake.failed()
            refused = self._handshake.refused(ending.value)
        if refused is None:
            super().stream_closed(ending)
        else:
            self._listener.forget(self._leg)
            self._listener.post(TlsFailed(self._leg, refused))

    def dial_begins(self, remote: tuple[str, int]) -> AbstractContextManager[None]:
        """The kernel is asked for the upstream connection."""
        return self._listener.about_to_dial(Endpoint(*remote))

    def dial_begun(self, local: tuple[str, int], remote: tuple[str, int]) -> None:
        """The upstream connection is being made."""
        self._listener.dialling(Endpoint(*local), Endpoint(*remote))

    def dial_succeeded(self, stream: Stream) -> None:
        """The upstream connection stands."""
        self._stream = stream
        self._listener.connected(stream)

    def dial_failed(self, reason: str) -> None:
        """The upstream connection could not be had."""
        self._listener.post(UpstreamFailed(reason))

    def _examined(self, facts: TlsFacts, stream: Stream) -> None:
        if stream.owner is self:  # else the session has closed it, or the peer has
            self._upgraded(facts)
            stream.let_go()

    def _upgraded(self, facts: TlsFacts) -> None:
        if self._handshake is not None:
            self._handshake.examined(facts)
        self._listener.post(Upgraded(Leg.UPSTREAM, facts))
