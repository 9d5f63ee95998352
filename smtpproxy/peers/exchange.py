"""Ask one name server one question: over UDP, and over TCP if the answer does not fit.

Each query has a socket of its own, so that the kernel picks a random port and lets only the asked
server's datagrams by.

Source: RFC 1035 s4.2 (transports); RFC 7766 s5 (TCP); RFC 5452 s9 (forged answers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from dns.message import QueryMessage
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from smtpproxy.peers.messages import PAYLOAD_OCTETS, Query, is_truncated, read_response

_MAX_DATAGRAM: Final = 2 * PAYLOAD_OCTETS
"""More than was asked for is read, so that it is known to be no answer."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server, by IP address.

    Args:
        host: its address.
        port: its port.
        trusted: whether its word that DNSSEC vouches for an answer is taken.
    """

    host: str
    port: int
    trusted: bool


class NoAnswer(Exception):  # noqa: N818 - as common as an answer
    """The server cannot be reached, or closed the connection."""


async def exchange(reactor: Any, server: NameServer, query: Query, patience_s: float) -> QueryMessage | None:  # noqa: ANN401
    """Return the whole response, ``None`` if none came in time.

    Args:
        reactor: Twisted's.
        server: who is asked.
        query: what is asked.
        patience_s: for each of the two transports.
    """
    try:
        response = await _over_udp(reactor, server, query).addTimeout(patience_s, reactor)
        if not is_truncated(response):
            return response
        return await Deferred.fromCoroutine(_over_tcp(reactor, server, query)).addTimeout(patience_s, reactor)
    except (DeferredTimeout, NoAnswer):
        return None


def _over_udp(reactor: Any, server: NameServer, query: Query) -> Deferred[QueryMessage]:  # noqa: ANN401
    asker = _UdpAsker(server, query)
    try:
        reactor.listenUDP(0, asker, interface="::" if ":" in server.host else "0.0.0.0", maxPacketSize=_MAX_DATAGRAM)  # noqa: S104
    except CannotListenError:
        asker.fail()
    return asker.answered


class _UdpAsker(DatagramProtocol):
    """Sends one query and waits for its answer; what is none is passed over, since anybody may have sent it."""

    def __init__(self, server: NameServer, query: Query) -> None:
        self._server = server
        self._query = query
        self.answered: Deferred[QueryMessage] = Deferred(lambda _: self._stop())

    def startProtocol(self) -> None:  # noqa: N802 - Twisted's name
        """Send the query."""
        transport = cast("Any", self.transport)  # connected, it writes without an address
        try:
            transport.connect(self._server.host, self._server.port)
            transport.write(self._query.wire)
        except OSError:
            self.fail()

    def datagramReceived(self, datagram: bytes, addr: object) -> None:  # noqa: ARG002, N802 - Twisted's name
        """Take the answer."""
        response = read_response(self._query, datagram)
        if response is not None and not self.answered.called:
            self._stop()
            self.answered.callback(response)

    def connectionRefused(self) -> None:  # noqa: N802 - Twisted's name
        """Nobody serves there."""
        self.fail()

    def stopProtocol(self) -> None:  # noqa: N802 - Twisted's name
        """Nobody serves there, as epoll tells it."""
        self.fail()

    def fail(self) -> None:
        """Answer that there is no answer."""
        if not self.answered.called:
            self._stop()
            self.answered.errback(NoAnswer())

    def _stop(self) -> None:
        if self.transport is not None:
            self.transport.stopListening()


async def _over_tcp(reactor: Any, server: NameServer, query: Query) -> QueryMessage:  # noqa: ANN401
    kind = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
    asker = _TcpAsker(query)
    try:
        await connectProtocol(kind(reactor, server.host, server.port), asker)
    except CancelledError:
        raise
    except Exception as error:
        raise NoAnswer from error
    try:
        return await asker.answered
    finally:
        asker.transport.abortConnection()  # type: ignore[union-attr]


class _TcpAsker(Int16StringReceiver):
    """Sends one query and waits for its answer; any other closes the connection."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self.answered: Deferred[QueryMessage] = Deferred()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Send the query."""
        self.sendString(self._query.wire)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take the answer."""
        if self.answered.called:
            return
        response = read_response(self._query, string)
        if response is None or is_truncated(response):
            self.answered.errback(NoAnswer())
        else:
            self.answered.callback(response)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802 - Twisted's name
        """No more will come."""
        if not self.answered.called:
            self.answered.errback(NoAnswer())
