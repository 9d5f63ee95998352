"""Ask one name server one question: over UDP, and over TCP if the answer does not fit.

Each query has a socket of its own, so that the kernel picks a random port and lets only the asked
server's datagrams by.

Source: RFC 1035 s4.2 (transports); RFC 7766 s5 (TCP); RFC 5452 s9 (forged answers).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Final

from dns.message import QueryMessage
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

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
    asker = _UdpAsker(reactor, query)
    asker.begin(server)
    return asker.answered


@implementer(IReadDescriptor)
class _UdpAsker:
    """Sends one query and waits for its answer; what is none is passed over, since anybody may have sent it.

    Twisted's own datagram port tells the log of each socket, twice.
    """

    def __init__(self, reactor: Any, query: Query) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._query = query
        self._socket: socket.socket | None = None
        self.answered: Deferred[QueryMessage] = Deferred(lambda _: self._stop())

    def begin(self, server: NameServer) -> None:
        """Send the query."""
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.connect((server.host, server.port))
            self._socket.send(self._query.wire)
        except OSError:
            self._fail()
        else:
            self._reactor.addReader(self)

    def fileno(self) -> int:
        """Return the socket's, -1 when that is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Return what stands in the log beside what goes wrong here."""
        return "-"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Take the answer, or what claims to be one."""
        if self._socket is None:
            return
        try:
            datagram = self._socket.recv(_MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:  # nobody serves there
            self._fail()
            return
        response = read_response(self._query, datagram)
        if response is not None:
            self._stop()
            self.answered.callback(response)

    def connectionLost(self, _reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Nobody serves there, as epoll tells it; or the reactor ends."""
        self._fail()

    def _fail(self) -> None:
        if not self.answered.called:
            self._stop()
            self.answered.errback(NoAnswer())

    def _stop(self) -> None:
        stopped, self._socket = self._socket, None
        if stopped is not None:
            self._reactor.removeReader(self)  # before its descriptor is somebody else's
            stopped.close()


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
