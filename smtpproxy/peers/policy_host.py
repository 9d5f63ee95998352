"""Fetch the body of an MTA-STS policy over HTTPS: no redirect, no cache, nothing unverified, everything bounded.

Source: RFC 8461 s3.2 (media type), s3.3 (certificate, status, limits); RFC 9112 s8 (a body that was cut off).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import OK
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from smtpproxy.errors import ProtocolError
from smtpproxy.peers.bounded_path import BoundedPath
from smtpproxy.peers.public import is_public
from smtpproxy.policy.mta_sts import MAX_POLICY_OCTETS, StsProblem
from smtpproxy.policy.selection import Address
from smtpproxy.transport.trust import TrustStore

DEADLINE_S: Final = 15.0
"""For a fetch as a whole; the RFC suggests a minute, for which no session waits."""

HTTPS_PORT: Final = 443

_MAX_RECEIVED_OCTETS: Final = 2 * MAX_POLICY_OCTETS
"""On the wire: the body, its TLS, the handshake and the header fields."""

_HEADERS: Final = {"User-Agent": ["smtpproxy"], "Accept": ["text/plain"]}
_PATH: Final = "/.well-known/mta-sts.txt"
_TYPE: Final = b"text/plain"
_CERTIFICATE_REFUSED: Final = "certificate verify failed"


class Unfetched(ProtocolError):  # noqa: N818 - it says what is wrong
    """A policy cannot be had.

    Args:
        problem: what that is called in reports.
        reason: a short token for the log.
    """

    def __init__(self, problem: StsProblem, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem


_TOO_LATE: Final = Unfetched(StsProblem.FETCH_ERROR, "timed-out")


class Lookups(Protocol):
    """Who looks names up."""

    def addresses(self, name: str) -> Deferred[Sequence[Address]]:
        """Return the addresses of a host, none if there are none or they cannot be had; never fails."""


class PolicyHost:
    """Fetches policies.

    Args:
        reactor: Twisted's.
        trust: whom the hosts' certificates are verified against.
        lookups: knows the hosts' addresses.
        port: theirs.
        private_addresses: whether a host may have an address that is not of the Internet.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - it has many interfaces
        trust: TrustStore,
        lookups: Lookups,
        *,
        port: int = HTTPS_PORT,
        private_addresses: bool = False,
    ) -> None:
        self._reactor = reactor
        self._trust = trustRootFromCertificates([Certificate(each) for each in trust.authorities])
        self._lookups = lookups
        self._port = port
        self._private_addresses = private_addresses

    def get(self, domain: str) -> Deferred[bytes]:
        """Return what a domain's policy host serves.

        Args:
            domain: of A-labels.

        The Deferred fails with `Unfetched`, in bounded time.
        """
        fetching = Deferred.fromCoroutine(self._get(f"mta-sts.{domain}"))
        fetching.addTimeout(DEADLINE_S, self._reactor, lambda _, _seconds: Failure(_TOO_LATE))
        return fetching.addErrback(_name_failure)

    async def _get(self, name: str) -> bytes:
        path = BoundedPath(self._reactor, await self._addresses(name), self._port, _MAX_RECEIVED_OCTETS)
        secured = wrapClientTLS(optionsForClientTLS(name, self._trust), path)
        agent = Agent.usingEndpointFactory(self._reactor, _Only(secured))
        try:
            url = f"https://{name}:{self._port}{_PATH}".encode("ascii")
            response = await agent.request(b"GET", url, Headers(_HEADERS))
            _check(response)
            body = _Body()
            response.deliverBody(body)
            return await body.received
        finally:
            path.abort()

    async def _addresses(self, name: str) -> list[Address]:
        addresses = await self._lookups.addresses(name)
        if not addresses:
            raise Unfetched(StsProblem.FETCH_ERROR, "no-address")
        allowed = [each for each in addresses if self._private_addresses or is_public(each)]
        if not allowed:
            raise Unfetched(StsProblem.FETCH_ERROR, "private-address")
        return allowed


@implementer(IAgentEndpointFactory)
class _Only:
    """Leads everywhere by the one endpoint."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: ARG002, N802 - Twisted's name
        """Return it."""
        return self._endpoint


def _check(response: IResponse) -> None:
    """Refuse what is no policy; a type is not always given, and one that is tells pages of others from the domain's."""
    if response.code != OK:
        raise Unfetched(StsProblem.FETCH_ERROR, f"status-{response.code}")
    for value in response.headers.getRawHeaders(b"content-type", [])[-1:]:
        if value.partition(b";")[0].strip().lower() != _TYPE:
            raise Unfetched(StsProblem.FETCH_ERROR, "media-type")


class _Body(TwistedProtocol):
    """Collects a body, which has to come whole: who cuts one off can shorten a lifetime."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self.received: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take some more."""
        self._octets += data
        if len(self._octets) > MAX_POLICY_OCTETS and not self.received.called:
            self.received.errback(Unfetched(StsProblem.FETCH_ERROR, "too-long"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """That was all, or it will never be."""
        if self.received.called:
            return
        if reason.check(ResponseDone):
            self.received.callback(bytes(self._octets))
        else:
            self.received.errback(Unfetched(StsProblem.FETCH_ERROR, "cut-off"))


def _name_failure(failure: Failure) -> Any:  # noqa: ANN401 - a Failure
    """Say of what a library raised what it means."""
    if failure.check(Unfetched):
        return failure
    failure.trap(ConnectError, ResponseFailed, RequestTransmissionFailed)
    reasons = [each.value for each in getattr(failure.value, "reasons", [])]
    if any(map(_is_of_certificate, reasons)):
        return Failure(Unfetched(StsProblem.WEBPKI_INVALID, "certificate"))
    return Failure(Unfetched(StsProblem.FETCH_ERROR, "connection"))


def _is_of_certificate(reason: Exception) -> bool:
    """Return whether the chain or, as another kind of error, the name was refused."""
    return isinstance(reason, VerificationError) or (
        isinstance(reason, SSL.Error) and _CERTIFICATE_REFUSED in str(reason)
    )
