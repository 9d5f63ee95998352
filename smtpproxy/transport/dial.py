"""Dialling: resolve a name off the reactor, try its addresses in order within one deadline.

Source: RFC 5321 s5.1 (trying the addresses of a host in order); connect(2).
"""

from __future__ import annotations

import errno
import socket
from contextlib import AbstractContextManager, nullcontext
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IReadWriteDescriptor, IResolutionReceiver
from zope.interface import implementer

from smtpproxy.transport.connecting import BEGUN, connect, loop_error, plainly
from smtpproxy.transport.reasons import HOST_NOT_FOUND, OTHER_FAMILY, TIMED_OUT, reason_of
from smtpproxy.transport.stream import Stream, StreamOwner

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress, IDelayedCall, IHostResolution
    from twisted.python.failure import Failure

    from smtpproxy.transport.connection import Reactor

CONNECT_LIMIT_S = 30.0  # as Postfix; RFC 5321 s4.5.3.2 names no such limit


class DialOwner(StreamOwner, Protocol):
    """Who dials: gets the stream or a reason, once, and is the stream's owner."""

    def dial_begins(self, remote: tuple[str, int]) -> AbstractContextManager[None]:
        """Return what is entered while the kernel is asked to connect, until ``dial_begun`` has told the result."""

    def dial_begun(self, local: tuple[str, int], remote: tuple[str, int]) -> None:
        """A connection is being made between these; another such call takes its place."""

    def dial_succeeded(self, stream: Stream) -> None:
        """The connection stands; it is read once this has returned."""

    def dial_failed(self, reason: str) -> None:
        """It could not be had; a token in kebab case says why."""


def dial(
    reactor: Reactor,
    host: str,
    port: int,
    owner: DialOwner,
    timeout_s: float = CONNECT_LIMIT_S,
    source: str | None = None,
) -> Dial:
    """Begin to connect.

    Args:
        reactor: Twisted's.
        host: a name, or an IPv4 or IPv6 address.
        port: the port.
        owner: is told how it went, never from inside this call.
        timeout_s: for all of it, the look-up included.
        source: the address to dial from, else the kernel chooses; that of another machine where it is permitted.

    Returns:
        the dial, which can be cancelled.
    """
    begun = Dial(reactor, port, owner, source)
    begun.begin(host, timeout_s)
    return begun


@implementer(IResolutionReceiver)
class Dial:
    """One way to one stream; the addresses of a name are tried in order and share the time."""

    __slots__ = (
        "_addresses", "_attempt", "_deadline", "_next", "_owner", "_port", "_reactor", "_reason", "_source",
        "_timeout_s",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, port: int, owner: DialOwner, source: str | None) -> None:
        self._reactor = reactor
        self._port = port
        self._owner: DialOwner | None = owner
        self._source = source
        self._addresses: list[str] = []
        self._attempt: _Attempt | None = None
        self._deadline: IDelayedCall | None = None
        self._next: IDelayedCall | None = None
        self._reason = HOST_NOT_FOUND
        self._timeout_s = 0.0

    def begin(self, host: str, timeout_s: float) -> None:
        """Look the name up, unless it is an address."""
        self._timeout_s = timeout_s
        self._deadline = self._reactor.callLater(timeout_s, self._fail, TIMED_OUT)
        if isIPAddress(host) or isIPv6Address(host):
            self._note(host)
            self._try_next()
        else:
            self._reactor.nameResolver.resolveHostName(self, host, self._port)

    def cancel(self) -> None:
        """Give up; the owner hears nothing."""
        self._owner = None
        self._stop()

    # From the resolver

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803 - Twisted's
        """Cannot be cancelled; what comes too late is passed over."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's name
        """Note one address, of the source's family."""
        self._note(address.host)  # type: ignore[attr-defined]  # an IPv4Address or IPv6Address

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        """Try the first address."""
        self._addresses = list(dict.fromkeys(self._addresses))
        self._timeout_s /= len(self._addresses) or 1
        self._try_next()

    def _note(self, host: str) -> None:
        """Note an address, unless the source cannot reach it."""
        host = plainly(host)
        if self._source is None or ip_address(host).version == ip_address(self._source).version:
            self._addresses.append(host)
        else:
            self._reason = OTHER_FAMILY

    # From an attempt

    def begins(self) -> AbstractContextManager[None]:
        """Return what is entered while the kernel is asked."""
        return nullcontext() if self._owner is None else self._owner.dial_begins((self._addresses[0], self._port))

    def begun(self, local: tuple[str, int]) -> None:
        """Tell from where it is dialled."""
        if self._owner is not None:
            self._owner.dial_begun(local, (self._addresses[0], self._port))

    def failed(self, error: int) -> None:
        """Go on with the next address."""
        self._addresses.pop(0)
        self._reason = reason_of(error)
        self._try_next()

    def settled(self, connected: socket.socket) -> None:
        """Hand the stream over."""
        address = self._addresses.pop(0)
        owner, self._owner = self._owner, None
        self._attempt = None
        self._stop()
        if owner is not None:
            _hand_over(Stream(self._reactor, connected, (address, self._port), owner), owner)

    def _try_next(self) -> None:
        self._attempt = None
        if self._owner is None:
            return
        if not self._addresses:
            self._later(0, self._fail, self._reason)
            return
        if len(self._addresses) > 1:
            self._later(self._timeout_s, self._skip)
        self._attempt = _Attempt(self._reactor, self)
        self._attempt.begin((self._addresses[0], self._port), self._source)

    def _skip(self) -> None:
        """This address does not answer, others may."""
        if self._attempt is not None:
            self._attempt.fail(errno.ETIMEDOUT)

    def _later(self, delay_s: float, function: Callable[..., None], *arguments: object) -> None:
        _cancel(self._next)
        self._next = self._reactor.callLater(delay_s, function, *arguments)

    def _fail(self, reason: str) -> None:
        owner, self._owner = self._owner, None
        self._stop()
        if owner is not None:
            owner.dial_failed(reason)

    def _stop(self) -> None:
        _cancel(self._deadline)
        _cancel(self._next)
        self._deadline = self._next = None
        if self._attempt is not None:
            self._attempt.drop()
            self._attempt = None


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()


def _hand_over(stream: Stream, owner: DialOwner) -> None:
    try:
        owner.dial_succeeded(stream)
    except BaseException:
        stream.abort()
        raise
    stream.begin()


@implementer(IReadWriteDescriptor)
class _Attempt:
    """One address; writable means connected, or refused."""

    __slots__ = ("_dial", "_reactor", "_socket")

    def __init__(self, reactor: Reactor, dialled_by: Dial) -> None:
        self._reactor = reactor
        self._dial = dialled_by
        self._socket: socket.socket | None = None

    def begin(self, address: tuple[str, int], source: str | None) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._dial.failed(error.errno or errno.EINVAL)
            return
        with self._dial.begins():
            refused = connect(self._socket, address, source)
            if refused in BEGUN:
                self._dial.begun(self._socket.getsockname()[:2])
        if refused in BEGUN:
            self._reactor.addWriter(self)
        else:
            self.fail(refused)

    def fail(self, error: int) -> None:
        """Settle without waiting any longer."""
        self._settle(error)

    def drop(self) -> None:
        """Close; nobody wants it any more."""
        if (connecting := self._take()) is not None:
            connecting.close()

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        return "-"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Never asked for."""

    def doWrite(self) -> None:  # noqa: N802 - Twisted's name
        if self._socket is not None:
            self._settle(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, _reason: Failure) -> None:  # noqa: N802 - Twisted's name
        if self._socket is not None:
            self._settle(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET)

    def _settle(self, error: int) -> None:
        settled = self._take()
        if settled is None:
            return
        error = error or loop_error(settled)
        if error:
            settled.close()
            self._dial.failed(error)
        else:
            self._dial.settled(settled)

    def _take(self) -> socket.socket | None:
        """Leave the reactor and let go of the socket: its descriptor is soon somebody else's."""
        taken = self._socket
        if taken is not None:
            self._reactor.removeWriter(self)
            self._socket = None
        return taken
