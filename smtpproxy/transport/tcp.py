"""Listening: each accepted connection becomes a stream.

Source: Twisted's `tcp.Port`, whose accept loop survives a lack of descriptors; ipv6(7).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port

from smtpproxy.transport.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproxy.transport.connection import Reactor

BACKLOG = 1024  # a burst of connections while the reactor is at work; the kernel cuts it to net.core.somaxconn


def listen(
    reactor: Reactor, interface: str, port: int, on_accept: Callable[[Stream], None], backlog: int = BACKLOG
) -> Port:
    """Listen on one address; an IPv6 one takes IPv6 only, so that both families may have the port.

    Args:
        reactor: Twisted's.
        interface: the IPv4 or IPv6 address.
        port: 0 for one of the kernel's choice, see ``getHost``.
        on_accept: is given each stream, and sets its owner or closes it.
        backlog: how many connections may wait to be accepted.

    Returns:
        the port, with ``getHost()`` and ``stopListening()``.

    Raises:
        CannotListenError: the address is taken, or not ours.
    """
    listener = Listener(port, Acceptor(on_accept), backlog, interface, reactor)
    listener.startListening()
    return listener


class Acceptor(Factory):
    """Stands where Twisted wants a factory and its protocols."""

    noisy = False

    def __init__(self, on_accept: Callable[[Stream], None]) -> None:
        self._on_accept = on_accept

    def buildProtocol(self, _address: object) -> Acceptor:  # type: ignore[override]  # noqa: N802 - Twisted's; no protocol
        """Nothing is made for the address alone."""
        return self

    def makeConnection(self, _transport: object) -> None:  # noqa: N802 - Twisted's name
        """``accept`` has done it all."""

    def accept(self, reactor: Reactor, accepted: socket.socket, peer: tuple[str, int]) -> None:
        """Make the stream and hand it on."""
        stream = Stream(reactor, accepted, peer)
        try:
            self._on_accept(stream)
        except BaseException:
            stream.abort()
            raise
        stream.begin()


def _accepted(
    accepted: socket.socket, acceptor: Acceptor, address: tuple[Any, ...], _port: Port, _number: int, reactor: Reactor
) -> None:
    acceptor.accept(reactor, accepted, (address[0], address[1]))


class Listener(Port):
    """Twisted's listening port, with streams for transports; a socket made elsewhere can be adopted."""

    transport = staticmethod(_accepted)  # type: ignore[assignment]  # the hook may be any callable of this form

    def createInternetSocket(self) -> socket.socket:  # noqa: N802 - Twisted's name
        """Return the socket to bind."""
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made
