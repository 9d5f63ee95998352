"""One end of a connection: lines and octets, in clear or inside TLS, until the fault that it carries comes.

Sockets and the standard library's TLS, read by the reactor; nothing of the package is used, and nothing is buffered
between a peer and the kernel, so that a cut falls where it is said to fall.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from tests.faults.fault import Fault, Kind, Layer

if TYPE_CHECKING:
    from collections.abc import Callable

reactor: Any = _reactor

_READ_OCTETS = 1 << 16
_RESET_ON_CLOSE = b"\x01\0\0\0\0\0\0\0"  # SO_LINGER with no time, socket(7)


class Gone(Exception):  # noqa: N818 - no error: it is what these tests are about
    """The other side sends no more."""


async def turns(count: int) -> None:
    """Let the reactor look at its sockets ``count`` times."""
    for _ in range(count):
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn


@implementer(IReadDescriptor)
class Wire:
    """A connected socket on the reactor.

    Args:
        connected: the socket.
        fault: its cut, ``None`` for none.
        on_cut: called in place of the cut itself if that is `Kind.KILL`, else behind it.

    Attributes:
        sent: the plaintext that left.
        wire_octets: how much left in all, TLS's own included.
        is_open: whether the descriptor is.
    """

    def __init__(self, connected: socket.socket, fault: Fault | None, on_cut: Callable[[], object]) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._fault = fault
        self._on_cut = on_cut
        self._received = bytearray()
        self._waiting: Deferred[None] | None = None
        self._ended = self._mute = self._silent = False
        self._tls: ssl.SSLObject | None = None
        self._shaken = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sent = bytearray()
        self.wire_octets = 0
        self.is_open = True
        reactor.addReader(self)
        self.write(b"")  # the fault may come before the first octet
        self._put(b"")

    # What a peer does

    def write(self, octets: bytes) -> None:
        """Send; behind the fault nothing leaves any more, and nobody is told."""
        if self._mute:
            return
        octets, fault = self._cut_off(octets, len(self.sent), Layer.PLAINTEXT)
        self._mute = fault is not None
        self.sent += octets
        self._transmit(octets)
        if fault is not None:
            Deferred.fromCoroutine(self._come_to(fault))

    async def read_line(self) -> bytes:
        """Return the next line without its CRLF.

        Raises:
            Gone: there is none.
        """
        while (end := self._received.find(b"\r\n")) < 0:
            await self._more()
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        return line

    async def read(self, count: int) -> bytes:
        """Return the next ``count`` octets.

        Raises:
            Gone: there are not so many.
        """
        while len(self._received) < count:
            await self._more()
        octets = bytes(self._received[:count])
        del self._received[:count]
        return octets

    async def read_to_end(self) -> None:
        """Read and throw away until the other side sends no more."""
        with suppress(Gone):
            while True:
                self._received.clear()
                await self._more()

    async def start_tls(self, context: ssl.SSLContext, *, server_name: str | None) -> None:
        """Shake hands; as the server if there is no ``server_name``.

        Raises:
            Gone: there was no handshake.
        """
        is_server = server_name is None
        self._tls = context.wrap_bio(self._incoming, self._outgoing, is_server, server_name)
        self._incoming.write(self._received)
        self._received.clear()
        self._shake(self._tls)
        while not self._shaken:
            await self._more()

    def close(self) -> None:
        """End the connection in order."""
        self._finish(Kind.FINISH)
        self._close()

    # The reactor's

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        return "peer"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        try:
            octets = self._socket.recv(_READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._end()
        elif self._tls is None:
            self._received += octets
        else:
            self._incoming.write(octets)
            self._decrypt(self._tls)
        self._wake()

    def connectionLost(self, _reason: object) -> None:  # noqa: N802 - Twisted's name
        self._end()
        self._wake()

    # Inside

    async def _more(self) -> None:
        if self._ended:
            raise Gone
        self._waiting = Deferred()
        await self._waiting

    def _wake(self) -> None:
        self._waiting, waiting = None, self._waiting
        if waiting is not None:
            waiting.callback(None)

    def _end(self) -> None:
        self._ended = True
        if self.is_open:
            reactor.removeReader(self)

    def _transmit(self, octets: bytes) -> None:
        if octets and self._tls is not None:
            self._tls.write(octets)
            octets = self._outgoing.read()
        self._put(octets)

    def _put(self, octets: bytes) -> None:
        """Hand octets to the kernel, as far as the fault lets them pass."""
        if self._silent or not self.is_open:
            return
        octets, fault = self._cut_off(octets, self.wire_octets, Layer.WIRE)
        self._silent = fault is not None
        self.wire_octets += len(octets)
        with suppress(OSError):  # the proxy is gone: what is read next tells
            self._socket.send(octets)
        if fault is not None:
            self._mute = True
            Deferred.fromCoroutine(self._come_to(fault))

    def _cut_off(self, octets: bytes, before: int, layer: Layer) -> tuple[bytes, Fault | None]:
        """Return what of ``octets`` may still leave, and the fault if it comes behind that."""
        fault = self._fault
        if fault is None or fault.layer is not layer or before + len(octets) < fault.offset:
            return octets, None
        return octets[: fault.offset - before], fault

    def _shake(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
            self._shaken = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._end()
        self._put(self._outgoing.read())

    def _decrypt(self, tls: ssl.SSLObject) -> None:
        if not self._shaken:
            self._shake(tls)
        try:
            while self._shaken:
                octets = tls.read(_READ_OCTETS)
                if not octets:
                    self._end()
                    return
                self._received += octets
        except ssl.SSLWantReadError:
            self._put(self._outgoing.read())
        except ssl.SSLError:
            self._end()

    async def _come_to(self, fault: Fault) -> None:
        await turns(fault.turns)
        if fault.kind is Kind.RESET:
            if self.is_open:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._close()
        elif fault.kind is not Kind.KILL:
            self._finish(fault.kind)
        self._on_cut()

    def _finish(self, kind: Kind) -> None:
        if not self.is_open:
            return
        if self._shaken and self._tls is not None and kind is Kind.FINISH:
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._put(self._outgoing.read())
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        self._end()
        if self.is_open:
            self.is_open = False
            reactor.callLater(0, self._socket.close)  # the reactor may hold an event for this descriptor
        reactor.callLater(0, self._wake)
