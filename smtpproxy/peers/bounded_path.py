"""A way to one of several addresses, on which no more than so much is received."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from smtpproxy.policy.selection import Address

CONNECT_TIMEOUT_S: Final = 4
MAX_TRIED: Final = 4
"""Addresses of one host; the other end waits meanwhile."""


@implementer(IStreamClientEndpoint)
class BoundedPath:
    """Connects once, to the first address that answers.

    Args:
        reactor: Twisted's.
        addresses: at least one.
        port: theirs.
        limit_octets: how much may come; the connection ends with what is more.
    """

    def __init__(self, reactor: Any, addresses: Sequence[Address], port: int, limit_octets: int) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._addresses = addresses[:MAX_TRIED]
        self._port = port
        self._limit_octets = limit_octets
        self._connection: Any = None  # what counts

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """Return the connected protocol; fails with `ConnectError` if no address answers."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    def abort(self) -> None:
        """End the connection, if there is one."""
        if self._connection is not None:
            self._connection.abortConnection()

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        counting = _CountingFactory(factory, self._limit_octets)
        failed = ConnectError("no address")
        for address in self._addresses:
            try:
                self._connection = await self._endpoint(address).connect(counting)
            except ConnectError as error:
                failed = error
            else:
                return cast("IProtocol", self._connection.wrappedProtocol)
        raise failed

    def _endpoint(self, address: Address) -> Any:  # noqa: ANN401 - of either kind
        kind = TCP6ClientEndpoint if isinstance(address, IPv6Address) else TCP4ClientEndpoint
        return kind(self._reactor, str(address), self._port, timeout=CONNECT_TIMEOUT_S)


class _Counting(ProtocolWrapper):
    """Counts what comes."""

    factory: _CountingFactory
    _received_octets = 0

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Hand on what is within the limit."""
        self._received_octets += len(data)
        if self._received_octets > self.factory.limit_octets:
            self.abortConnection()
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]


class _CountingFactory(WrappingFactory):
    """Makes what counts; starts and stops are not handed on, for the library's factories tell of each in the log."""

    protocol = _Counting

    def __init__(self, wrapped: IProtocolFactory, limit_octets: int) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.limit_octets = limit_octets

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """Begin nothing."""

    def doStop(self) -> None:  # noqa: N802 - Twisted's name
        """End nothing."""
