"""Listening: each accepted connection becomes a stream.

Source: Twisted's `tcp.Port`; accept(2), whose errors of the network are a connection's own; ipv6(7).
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.logger import Logger

from smtpproxy.transport.shortage import LACKS, PAUSE_S, SHORTAGE
from smtpproxy.transport.stream import Stream
from smtpproxy.transport.transparent import is_transparent, make_transparent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from smtpproxy.transport.connection import Reactor

BACKLOG = 1024  # a burst of connections while the reactor is at work; the kernel cuts it to net.core.somaxconn

_MORE = 20

_log = Logger(namespace="smtpproxy")


def listen(
    reactor: Reactor,
    interface: str,
    port: int,
    on_accept: Callable[[Stream], None],
    *,
    beside: Sequence[Listener] = (),
    transparent: bool = False,
) -> Listener:
    """Listen on one address; an IPv6 one takes IPv6 only, so that both families may have the port.

    A listener on every address keeps others off its port, and the other way round. It is asked to let this one in
    beside it, and no other, if it is soon to be closed.

    Args:
        reactor: Twisted's.
        interface: the IPv4 or IPv6 address.
        port: 0 for one of the kernel's choice, see ``getHost``.
        on_accept: is given each stream, and sets its owner or closes it.
        beside: listeners of ours that may not keep this one off their port.
        transparent: whether it takes connections to any address that the kernel hands over.

    Returns:
        the port, with ``getHost()`` and ``stopListening()``.

    Raises:
        CannotListenError: the address is taken, or not ours; or transparency is not permitted.
    """
    listener = Listener(port, Acceptor(on_accept), BACKLOG, interface, reactor)
    listener.is_transparent = transparent
    if not beside:
        listener.startListening()
        return listener
    with ExitStack() as stack:
        for each in (*beside, listener):
            stack.enter_context(each.sharing())
        listener.startListening()
    return listener


def adopt(reactor: Reactor, listening: socket.socket, on_accept: Callable[[Stream], None]) -> Listener:
    """Accept from a socket that listens already.

    Args:
        reactor: Twisted's.
        listening: does not block; the listener's from now on.
        on_accept: is given each stream, and sets its owner or closes it.
    """
    host, port = listening.getsockname()[:2]
    listener = Listener(port, Acceptor(on_accept), BACKLOG, host, reactor)
    listener._preexistingSocket = listening  # noqa: SLF001 - its own, where Twisted looks for one
    listener.is_transparent = is_transparent(listening)
    listener.startListening()
    return listener


def open_shared(interface: str, port: int, *, alone: bool, transparent: bool = False) -> socket.socket:
    """Return a socket that listens and shares its port with others of this user that share as well.

    The kernel spreads connections over them by both ends' addresses.

    Args:
        interface: the IPv4 or IPv6 address.
        port: 0 for one of the kernel's choice.
        alone: whether nobody may be there yet, not even who would share.
        transparent: whether it takes connections to any address that the kernel hands over.

    Raises:
        OSError: the address is taken, or not ours; or transparency is not permitted.
    """
    if alone:
        _bound(interface, port, transparent=transparent, shares=False).close()
    made = _bound(interface, port, transparent=transparent, shares=True)
    try:
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _bound(interface: str, port: int, *, transparent: bool, shares: bool) -> socket.socket:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    family, kind, _, _, address = socket.getaddrinfo(interface, port, type=socket.SOCK_STREAM, flags=numeric)[0]
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(made, transparent=transparent, shares=shares)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _set_options(made: socket.socket, *, transparent: bool, shares: bool) -> None:
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if transparent:
        make_transparent(made)
    if shares:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


class Acceptor(Factory):
    """Stands where Twisted wants a factory."""

    noisy = False

    def __init__(self, on_accept: Callable[[Stream], None]) -> None:
        self._on_accept = on_accept

    def accept(self, reactor: Reactor, accepted: socket.socket, peer: tuple[str, int]) -> None:
        """Make the stream and hand it on."""
        stream = Stream(reactor, accepted, peer)
        try:
            self._on_accept(stream)
        except BaseException:
            stream.abort()
            raise
        stream.begin()


class Listener(Port):
    """Twisted's listening port, with streams for transports; a socket made elsewhere can be adopted."""

    is_transparent = False

    _shares = False
    _empties = False
    _pause: IDelayedCall | None = None
    # A shutdown would end the listening of every duplicate, the service manager's too.
    _shouldShutdown = False  # noqa: N815 - Twisted's name

    def createInternetSocket(self) -> socket.socket:  # noqa: N802 - Twisted's name
        """Return the socket to bind."""
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        _set_options(made, transparent=self.is_transparent, shares=self._shares)
        return made

    def getHost(self) -> IPv4Address | IPv6Address:  # noqa: N802 - Twisted's name
        """Return where it really listens."""
        host: IPv4Address | IPv6Address = super().getHost()  # type: ignore[no-untyped-call]
        return host

    def become_transparent(self) -> None:
        """Take connections to any address from now on.

        Raises:
            OSError: that is not permitted.
        """
        make_transparent(self.socket)
        self.is_transparent = True

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Meanwhile let others of this user that share as well have the port too."""
        self._set_sharing(shares=True)
        try:
            yield
        finally:
            self._set_sharing(shares=False)

    def stop_when_empty(self) -> Deferred[None]:
        """Stop listening; what the kernel lets in until the socket is closed would be reset, and is accepted."""
        self._accept_all()
        self._empties = True
        stopping: Deferred[None] = self.stopListening()  # type: ignore[no-untyped-call]
        return stopping

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Accept what waits, and more at a time the more comes.

        Twisted's own closes connections when descriptors are lacking, and tries again at once when it cannot.
        """
        limit = self.numberAccepts
        count = next((count for count in range(limit) if not self._accept_one()), limit)
        self.numberAccepts = limit + _MORE if count == limit else max(1, count)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Close the socket."""
        if self._empties:
            self._accept_all()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _accept_all(self) -> None:
        self.numberAccepts = BACKLOG
        self.doRead()

    def _accept_one(self) -> bool:
        """Return whether there may be more to accept."""
        try:
            accepted, address = self.socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in LACKS:
                self._pause_for(error)
                return False
            return True
        self._hand_on(accepted, address)
        return True

    def _hand_on(self, accepted: socket.socket, address: tuple[Any, ...]) -> None:
        acceptor, reactor = cast("Acceptor", self.factory), cast("Reactor", self.reactor)
        try:
            acceptor.accept(reactor, accepted, (_host_of(address), address[1]))
        except Exception:  # noqa: BLE001 - one connection ends by it, the listener does not
            _log.failure("a connection could not be taken")

    def _pause_for(self, error: OSError) -> None:
        """The socket stays readable, so that it would be tried again at once, and for ever."""
        SHORTAGE.note(error)
        if self._pause is None:
            self.stopReading()  # type: ignore[no-untyped-call]
            self._pause = cast("Reactor", self.reactor).callLater(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self.connected and not self.disconnecting:
            self.startReading()  # type: ignore[no-untyped-call]

    def _set_sharing(self, *, shares: bool) -> None:
        self._shares = shares
        if self.connected:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)


def _host_of(address: tuple[Any, ...]) -> str:
    """Return the address; that of a link names the interface, without which nobody could be dialled."""
    is_of_link = len(address) > 2 and address[3]  # noqa: PLR2004 - host and port are all that IPv4 has
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return str(socket.getnameinfo(address, numeric)[0] if is_of_link else address[0])
