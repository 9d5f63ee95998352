"""A TCP connection on the reactor that sends at once, and closes without losing a last reply.

Source: RFC 9293 s3.6 (closing, half-closed connections); Twisted's `IReadWriteDescriptor`; epoll(7), socket(7),
tcp(7) (TCP_QUICKACK, which does not last).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorTime,
    IReadWriteDescriptor,
)
from zope.interface import implementer

from smtpproxy.transport.reports import Ending
from smtpproxy.transport.transparent import original_destination

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from smtpproxy.transport.reports import TcpUser

READ_OCTETS = 256 * 1024  # a wake-up's read; larger ones gain nothing that could be measured
BLOCKED_OCTETS = 256 * 1024  # unsent: whoever feeds this connection should stop
UNBLOCKED_OCTETS = 64 * 1024  # unsent: and may go on; a peer with a full window of 64 KiB is kept busy
FLUSH_LIMIT_S = 10.0  # a peer that takes nothing after our close
DRAIN_LIMIT_S = 2.0  # a peer that goes on sending, or keeps its half open, after our close
DRAIN_LIMIT_OCTETS = 8 * 1024 * 1024  # the same in octets

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends a reset, socket(7)
_buffer = memoryview(bytearray(READ_OCTETS))  # one for all: what is read is copied or decrypted before the next read


class Reactor(IReactorFDSet, IReactorTime, IReactorPluggableNameResolver):
    """What this room asks of Twisted's reactor."""


class _Phase(Enum):
    OPEN = auto()
    FLUSHING = auto()  # closed by us, octets unsent
    DRAINING = auto()  # our half is shut down, the peer's is read and thrown away
    CLOSED = auto()


@implementer(IReadWriteDescriptor)
class TcpConnection:
    """A connected socket; EPOLLOUT is asked for after a short write only, EPOLLIN given up only when it fires unwanted.

    An exception that leaves a method of the user is logged by the reactor, once, and ends this connection alone.
    """

    __slots__ = (
        "_blocked", "_broken", "_drained_octets", "_ending", "_half_ended", "_peer_finished", "_phase", "_reactor",
        "_registered", "_socket", "_timer", "_unsent", "_user", "_wants_octets", "read_limit_octets",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, connected: socket.socket, user: TcpUser) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a reply held back costs 40 ms a session
        self._reactor = reactor
        self._socket = connected
        self._user = user
        self._phase = _Phase.OPEN
        self._unsent = bytearray()
        self._blocked = self._broken = self._peer_finished = self._half_ended = False
        self._registered = self._wants_octets = False
        self._drained_octets = 0
        self._ending = Ending.CLEAN
        self._timer: IDelayedCall | None = None
        self.read_limit_octets = READ_OCTETS

    def send(self, octets: bytes) -> None:
        """Send at once what the kernel takes, and keep the rest."""
        if self._phase is not _Phase.OPEN or self._broken or self._half_ended:
            return
        if self._unsent:
            self._unsent += octets
        else:
            sent = self._send(octets)
            if sent == len(octets) or self._broken:
                return
            self._unsent += memoryview(octets)[sent:]
            self._reactor.addWriter(self)
        if not self._blocked and len(self._unsent) > BLOCKED_OCTETS:
            self.later(self._report_blocked)

    def resume_reading(self) -> None:
        """Read on."""
        if self._phase is _Phase.CLOSED or self._peer_finished:
            return
        self._wants_octets = True
        if not self._registered:
            self._registered = True
            self._reactor.addReader(self)

    def pause_reading(self) -> None:
        """Take no more from the socket; the peer's octets then wait in the kernel."""
        if self._phase is _Phase.OPEN:
            self._wants_octets = False

    def end_reading(self) -> None:
        """Take nothing more, ever: what the peer had to say is said, whatever TCP still brings."""
        self._peer_finished = True
        self._wants_octets = False

    def has_ended(self) -> bool:
        """Whether nothing more can be read, now or later."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def redirected_from(self) -> tuple[str, int] | None:
        """Return what the peer dialled if the kernel changed it, else ``None``."""
        return original_destination(self._socket)

    def end_sending(self) -> None:
        """Shut down our half once all is sent, and read on; whoever asks for it bounds the time."""
        if self._phase is _Phase.OPEN and not self._half_ended:
            self._half_ended = True
            if not self._unsent:
                self._shut_down_half()

    def acknowledge_at_once(self) -> None:
        """Have the kernel acknowledge what comes next without delay."""
        if self._phase is _Phase.OPEN:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def finish(self, ending: Ending, last: bytes = b"") -> None:
        """Send what is unsent and ``last``, shut down our half, read and throw away the peer's, then close, in bounds.

        Closing with octets unread would reset the connection, and the reset can overtake our last reply.
        """
        if self._phase is not _Phase.OPEN:
            return
        if last:
            self._send_last(last)
            if self._phase is not _Phase.OPEN:  # the peer was gone
                return
        self._ending = ending
        self._phase = _Phase.FLUSHING
        self.resume_reading()
        if self._unsent and not self._broken:
            self._timer = self._reactor.callLater(FLUSH_LIMIT_S, self._end, Ending.TIMED_OUT)
        else:
            self._shut_down()

    def _send_last(self, octets: bytes) -> None:
        """The end of our half goes out with them, in one packet: tcp(7), MSG_MORE."""
        if self._unsent:
            self.send(octets)
        elif not self._broken:
            sent = self._send(octets, socket.MSG_MORE)
            if sent < len(octets) and not self._broken:
                self._unsent += memoryview(octets)[sent:]
                self._reactor.addWriter(self)

    def abort(self) -> None:
        """Drop what is unsent, reset the connection and close."""
        if self._phase is not _Phase.CLOSED:
            self._reset(Ending.ABORTED)

    def later(self, function: Callable[..., object], *arguments: object) -> None:
        """Call on the reactor's next turn; an exception ends this connection."""
        self._reactor.callLater(0, self._guard, function, *arguments)

    def fileno(self) -> int:
        """For the reactor: the descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """For the reactor: nothing of the peer's in the log."""
        return "-"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """For the reactor: octets, or the end, can be read."""
        if not self._wants_octets:
            self._stop_reading()
            return
        try:
            count = self._socket.recv_into(_buffer, self.read_limit_octets)
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        if not count:
            self._read_end()
        elif self._phase is _Phase.OPEN:
            self._user.octets_received(_buffer[:count])
        else:
            self._throw_away(count)

    def doWrite(self) -> None:  # noqa: N802 - Twisted's name
        """For the reactor: the kernel takes octets again."""
        if self._phase is _Phase.CLOSED:  # by this very event's doRead
            return
        del self._unsent[: self._send(self._unsent)]
        if self._broken:
            return
        if not self._unsent:
            self._reactor.removeWriter(self)
            if self._half_ended and self._phase is _Phase.OPEN:
                self._shut_down_half()
        if self._phase is _Phase.FLUSHING:
            if not self._unsent:
                self._shut_down()
        elif self._blocked and len(self._unsent) < UNBLOCKED_OCTETS:
            self._blocked = False
            self._user.sending_unblocked()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """For the reactor: an error without anything to read, an exception of the user's, or the reactor's end."""
        if reason.check(ConnectionLost, ConnectionDone):
            self._lose()
        elif self._phase is not _Phase.CLOSED:
            self._reset(Ending.CRASHED)

    def _send(self, octets: bytes | bytearray, flags: int = 0) -> int:
        try:
            return self._socket.send(octets, flags)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._break(error)
            return 0

    def _break(self, error: OSError) -> None:
        """The peer is gone; what it said before is still to be read, if anyone reads."""
        self._broken = True
        self._unsent.clear()
        self._reactor.removeWriter(self)
        if not self._wants_octets or not isinstance(error, ConnectionError):
            self._lose()

    def _report_blocked(self) -> None:
        if not self._blocked and len(self._unsent) > BLOCKED_OCTETS:
            self._blocked = True
            self._user.sending_blocked()

    def _stop_reading(self) -> None:
        self._registered = False
        self._reactor.removeReader(self)

    def _read_end(self) -> None:
        self.end_reading()
        if self._broken:
            self._lose()
        elif self._phase is _Phase.OPEN:
            self._user.peer_finished()
        elif self._phase is _Phase.DRAINING:
            self._end(self._ending)

    def _throw_away(self, count: int) -> None:
        self._drained_octets += count
        if self._drained_octets <= DRAIN_LIMIT_OCTETS:
            return
        if self._phase is _Phase.DRAINING:
            self._end(self._ending)
        self._wants_octets = False

    def _shut_down_half(self) -> None:
        with contextlib.suppress(OSError):  # the peer is gone, which reading tells
            self._socket.shutdown(socket.SHUT_WR)

    def _shut_down(self) -> None:
        """All is sent: end our half, and wait for the peer's end within bounds."""
        self._phase = _Phase.DRAINING
        self._cancel_timer()
        if self._broken and self._ending is Ending.CLEAN:
            self._ending = Ending.RESET
        if self._peer_finished or self._broken:
            self._end(self._ending)
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(self._ending)
            return
        self._timer = self._reactor.callLater(DRAIN_LIMIT_S, self._end, self._ending)

    def _lose(self) -> None:
        """A reset after all was sent and our half shut down says nothing new: many peers close that way."""
        self._end(self._ending if self._phase is _Phase.DRAINING else Ending.RESET)

    def _reset(self, ending: Ending) -> None:
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        """Leave the reactor, and close on its next turn.

        Closed now, the descriptor could be given to a connection accepted in this turn, which would then meet events of
        ours that the reactor has fetched already.
        """
        if self._phase is _Phase.CLOSED:
            return
        self._phase = _Phase.CLOSED
        self._wants_octets = False
        self._cancel_timer()
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._unsent.clear()
        self.later(self._close, ending)

    def _close(self, ending: Ending) -> None:
        self._socket.close()
        user = self._user
        del self._user  # the two refer to each other
        user.connection_closed(ending)

    def _cancel_timer(self) -> None:
        self._timer, timer = None, self._timer
        if timer is not None and timer.active():
            timer.cancel()

    def _guard(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except BaseException:
            if self._phase is not _Phase.CLOSED:
                self._reset(Ending.CRASHED)
            raise
