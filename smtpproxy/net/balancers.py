"""Have balancers say who dialled what, before anything else is heard on their connections.

Source: HAProxy's doc/proxy-protocol.txt s2 (nothing is processed before the header; whom to trust; the deadline).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from smtpproxy.counts import Counts, OwnCounts
from smtpproxy.net.arrival import Arrival, arrive_through
from smtpproxy.policy.model import PortKind
from smtpproxy.policy.rules import Network
from smtpproxy.policy.selection import plain_address
from smtpproxy.proxy_header.header import HeaderError
from smtpproxy.proxy_header.reader import HeaderReader
from smtpproxy.transport.stream import Ending, Stream

if TYPE_CHECKING:
    from OpenSSL import SSL

    from smtpproxy.tls.facts import TlsFailure

HEADER_S: Final = 10.0  # a header is one packet; the specification wants 3 s at least, for one that is sent again
GLANCE_S: Final = 0.1
"""How long a balancer that speaks for itself is given to leave before it has a session: its checks need none."""

PENDING_OF_BALANCER: Final = 500
PENDING_IN_ALL: Final = 2000
"""Connections whose header has not come whole; each holds a descriptor, and clients cannot make a balancer's wait."""

_KEY: Final = "headers"

STRANGER: Final = "untrusted-balancer"
BAD: Final = "bad-proxy-header"
LATE: Final = "late-proxy-header"
TOO_MANY: Final = "too-many-proxy-headers"
HEADER_FAULTS: Final = (STRANGER, BAD, LATE, TOO_MANY)
"""The tokens of why a connection is closed for want of a header."""

_log = Logger(namespace="smtpproxy")


class Balancers:
    """Reads the header of each connection, and hands the connection on with what it says.

    Args:
        reactor: Twisted's.
        arrived: takes connections of a kind of port.
        turned_away: counts those that are closed for want of a header, by the token of the reason.
        counts: those of all processes of the gateway.
        of_balancer: how many headers of one balancer may be waited for.
        in_all: how many headers may be waited for.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        arrived: Callable[[PortKind, Arrival], None],
        turned_away: Counter[str],
        counts: Counts | None = None,
        *,
        of_balancer: int = PENDING_OF_BALANCER,
        in_all: int = PENDING_IN_ALL,
    ) -> None:
        self._reactor = reactor
        self._arrived = arrived
        self._limit_of_balancer, self._limit_in_all = of_balancer, in_all
        self._pending: set[_Pending] = set()
        self._counts: Counts = OwnCounts() if counts is None else counts
        self._turned_away = turned_away

    @property
    def pending(self) -> int:
        """How many headers are waited for by this process."""
        return len(self._pending)

    def receive(self, kind: PortKind, stream: Stream, trusted: Sequence[Network]) -> None:
        """Wait for a connection's header, or close it at once if it is nobody's who may send one."""
        address = plain_address(stream.peer_host)
        balancer = str(address)
        if not any(address in network for network in trusted):
            self._turn_away(stream, STRANGER, balancer)
        elif not self._has_room(balancer):
            self._turn_away(stream, TOO_MANY, balancer)
        else:
            self._pending.add(_Pending(self, self._reactor, balancer, kind, stream))

    def drop_all(self) -> None:
        """Close every connection whose header has not come: no mail is under way on it."""
        for each in list(self._pending):
            each.drop()

    def _has_room(self, balancer: str) -> bool:
        """Count one more, if there may be one more."""
        in_all, of_balancer = self._counts.more(_KEY), self._counts.more(_KEY, balancer)
        if in_all <= self._limit_in_all and of_balancer <= self._limit_of_balancer:
            return True
        self._count_less(balancer)
        return False

    def _count_less(self, balancer: str) -> None:
        self._counts.less(_KEY)
        self._counts.less(_KEY, balancer)

    # From a connection that is pending

    def settled(self, pending: _Pending) -> None:
        """Count it no longer."""
        self._pending.discard(pending)
        self._count_less(pending.balancer)

    def told(self, kind: PortKind, arrival: Arrival) -> None:
        """Hand it on."""
        self._arrived(kind, arrival)

    def refused(self, stream: Stream, token: str, balancer: str, detail: str) -> None:
        """Close it."""
        self._turn_away(stream, token, balancer, detail)

    def _turn_away(self, stream: Stream, token: str, balancer: str, detail: str = "") -> None:
        self._turned_away[token] += 1
        _log.warn("{token}: {balancer}{detail}", token=token, balancer=balancer, detail=detail and f" ({detail})")
        stream.abort()


class _Pending:
    """A connection whose header has not come whole, or whose balancer may leave at once."""

    __slots__ = ("_balancers", "_deadline", "_kind", "_reactor", "_reader", "_stream", "balancer")

    def __init__(
        self,
        balancers: Balancers,
        reactor: Any,  # noqa: ANN401
        balancer: str,
        kind: PortKind,
        stream: Stream,
    ) -> None:
        self.balancer = balancer
        self._balancers = balancers
        self._reactor = reactor
        self._kind = kind
        self._stream = stream
        self._reader = HeaderReader()
        self._deadline = reactor.callLater(HEADER_S, self._refuse, LATE)
        stream.owner = self
        stream.read_at_most(self._reader.wanted)

    def drop(self) -> None:
        self._settle()
        self._stream.abort()

    # From the stream

    def stream_received(self, data: bytes) -> None:
        try:
            header = self._reader.feed(data)
        except HeaderError as error:
            self._refuse(BAD, error.reason)
            return
        if header is None:
            self._stream.read_at_most(self._reader.wanted)
        else:
            self._told(arrive_through(self._stream, header))

    def stream_finished(self, ending: Ending) -> bool:
        """A balancer that has said nothing only wanted to know whether anybody is there."""
        if self._reader.has_begun:
            self._refuse(BAD, f"cut off, {ending.value}")
        else:
            self.drop()
        return True

    def stream_closed(self, _ending: Ending) -> None:
        self._settle()

    def stream_hello(self, hello: bytes) -> None:
        """Never asked for."""

    def stream_upgraded(self, connection: SSL.Connection) -> None:
        """Never asked for."""

    def stream_tls_failed(self, failure: TlsFailure | SSL.Error, connection: SSL.Connection | None) -> None:
        """Never asked for."""

    def stream_blocked(self) -> None:
        """Nothing is sent."""

    def stream_unblocked(self) -> None:
        """Nothing is sent."""

    # Inside

    def _told(self, arrival: Arrival) -> None:
        if arrival.is_unnamed:
            self._glance(arrival)
        else:
            self._hand_on(arrival)

    def _glance(self, arrival: Arrival) -> None:
        """What the balancer sends next stays unread meanwhile."""
        self._stream.pause()
        self._deadline.cancel()
        self._deadline = self._reactor.callLater(GLANCE_S, self._glanced, arrival)

    def _glanced(self, arrival: Arrival) -> None:
        if self._stream.has_ended():
            self.drop()
        else:
            self._hand_on(arrival)
            self._stream.resume()

    def _hand_on(self, arrival: Arrival) -> None:
        self._settle()
        self._stream.read_at_most(None)
        self._balancers.told(self._kind, arrival)

    def _refuse(self, token: str, detail: str = "") -> None:
        self._settle()
        self._balancers.refused(self._stream, token, self.balancer, detail)

    def _settle(self) -> None:
        self._stream.owner = None
        if self._deadline.active():
            self._deadline.cancel()
        self._balancers.settled(self)
