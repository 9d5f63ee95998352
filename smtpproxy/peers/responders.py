"""Ask OCSP responders over plain HTTP: never at an address of ours, no redirect, everything bounded.

Source: RFC 6960 appendix A (OCSP over HTTP).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IAddress, IConsumer, IHostResolution, IResolutionReceiver, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http import OK, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from smtpproxy.errors import ProtocolError
from smtpproxy.peers.bounded_path import BoundedPath
from smtpproxy.peers.public import is_public
from smtpproxy.policy.rules import Network
from smtpproxy.policy.selection import Address, plain_address

DEADLINE_S: Final = 5.0
"""For a question as a whole, the look-up of the responder's address included."""

MAX_AT_ONCE: Final = 8
MAX_WAITING: Final = 64
"""Questions that are under way or wait for their turn."""

MAX_RECEIVED_OCTETS: Final = 10 * 1024
"""Of a response on the wire; an answer has 0.3 to 2 KiB, header fields a few hundred octets."""

_HEADERS: Final = {
    "User-Agent": ["smtpproxy"],
    "Content-Type": ["application/ocsp-request"],
    "Accept": ["application/ocsp-response"],
}
_TYPE: Final = b"application/ocsp-response"


class Unanswered(ProtocolError):  # noqa: N818 - it says what is wrong
    """A responder gave no answer."""


class Responders:
    """Asks.

    Args:
        reactor: Twisted's.
    """

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 - Twisted's reactor has many interfaces
        self._reactor = reactor
        self._turns = DeferredSemaphore(MAX_AT_ONCE)
        self._asking: set[Deferred[bytes]] = set()

    def ask(self, url: str, question: bytes, private: Sequence[Network]) -> Deferred[bytes]:
        """Return the answer of a responder; fails with whatever went wrong, in bounded time.

        Args:
            url: where it is, HTTP.
            question: an OCSP request, DER.
            private: networks that are allowed though they are not of the Internet.
        """
        asking = Deferred.fromCoroutine(self._ask_in_turn(url, question, private))
        asking.addTimeout(DEADLINE_S, self._reactor, lambda _, _seconds: Failure(Unanswered("timed-out")))
        self._asking.add(asking)
        return asking.addBoth(self._forget, asking)

    def stop(self) -> None:
        """Give up what is under way."""
        for asking in tuple(self._asking):
            asking.cancel()

    def _forget(self, outcome: Any, asking: Deferred[bytes]) -> Any:  # noqa: ANN401 - an answer or a failure
        self._asking.discard(asking)
        return outcome

    async def _ask_in_turn(self, url: str, question: bytes, private: Sequence[Network]) -> bytes:
        if len(self._asking) >= MAX_WAITING:
            raise Unanswered("too-many-wait")
        await self._turns.acquire()
        try:
            return await self._ask(url, question, private)
        finally:
            self._turns.release()

    async def _ask(self, url: str, question: bytes, private: Sequence[Network]) -> bytes:
        place = URI.fromBytes(url.encode("ascii"))
        if not place.host:
            raise Unanswered("no-host")
        found = await self._addresses(place.host.decode("ascii"))
        allowed = [each for each in found if is_public(each) or any(each in network for network in private)]
        if not allowed:
            raise Unanswered("private-address" if found else "no-address")
        path = BoundedPath(self._reactor, allowed, place.port, MAX_RECEIVED_OCTETS)
        agent = Agent.usingEndpointFactory(self._reactor, _Only(path))
        try:
            response = await agent.request(b"POST", url.encode("ascii"), Headers(_HEADERS), _Octets(question))
            if response.code != OK:
                raise Unanswered(f"status-{response.code}")
            if response.headers.getRawHeaders(b"content-type", [b""])[-1].partition(b";")[0].strip().lower() != _TYPE:
                raise Unanswered("media-type")
            body = _Body()
            response.deliverBody(body)
            return await body.received
        finally:
            path.abort()

    def _addresses(self, host: str) -> Deferred[list[Address]]:
        try:
            return succeed([plain_address(host)])
        except ValueError:
            receiver = _Addresses()
            self._reactor.nameResolver.resolveHostName(receiver, host)
            return receiver.found


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what a name leads to; what is dialled is what was checked."""

    def __init__(self) -> None:
        self.found: Deferred[list[Address]] = Deferred()
        self._addresses: dict[Address, None] = {}

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803 - Twisted's
        """Cannot be cancelled; what comes too late is passed over."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's name
        """Note one address."""
        found: str = address.host  # type: ignore[attr-defined]  # an IPv4Address or IPv6Address
        self._addresses[ip_address(found)] = None

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        """That were all."""
        if not self.found.called:
            self.found.callback(list(self._addresses))


@implementer(IAgentEndpointFactory)
class _Only:
    """Leads everywhere by the one endpoint."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: ARG002, N802 - Twisted's name
        """Return it."""
        return self._endpoint


class _Body(Protocol):
    """Collects a body, whose length the path has bounded; one that was cut off cannot be read later on."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self.received: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take some more."""
        self._octets += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """That was all, or it will never be."""
        if self.received.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.received.callback(bytes(self._octets))
        else:
            self.received.errback(Unanswered("cut-off"))


@implementer(IBodyProducer)
class _Octets:
    """A request's body, all at once."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Write it."""
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Too late."""

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Too late."""

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Too late."""
