"""One leg's connection: octets in clear, a ClientHello looked at, a handshake, octets inside TLS, a clean end.

Source: RFC 3207 s4.2 (nothing survives the upgrade); RFC 8446 s6 (alerts).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from OpenSSL import SSL

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.collector import HelloCollector
from smtpproxy.tls.facts import TlsFailure, TlsReason
from smtpproxy.transport.connection import READ_OCTETS, Reactor, TcpConnection
from smtpproxy.transport.engine import Role, TlsEngine
from smtpproxy.transport.reports import Ending, StreamOwner

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["Ending", "Role", "Stream", "StreamOwner"]

# Before the handshake is done a peer is a stranger: what it can make us hold is small.
HANDSHAKE_READ_OCTETS = 16 * 1024

_INTERNAL_ERROR = bytes.fromhex("15 0303 0002 02 50")
"""A fatal alert in a record of its own (RFC 8446 s5.1, s6.2)."""


class _State(Enum):
    CLEAR = auto()
    COLLECTING = auto()  # what comes is a ClientHello
    HELLO = auto()  # it is whole, or none, and nothing more is read
    HANDSHAKING = auto()
    SECURED = auto()
    CLOSED = auto()  # closing, or closed


class Stream:
    """A connection that can be upgraded once.

    Calls that come too late, on a stream that is closing or closed, do nothing; no octet leaves while an upgrade is
    under way. Nothing is read before ``begin``. An exception that leaves a method of the owner is logged by the reactor
    and ends this stream alone, with ``Ending.CRASHED``.

    Attributes:
        owner: whom events go to; to be set before ``begin``, may be changed at any time.
        peer_host, peer_port, local_host, local_port: the ends of the connection, addresses as text.
        octets_in, octets_out: octets of plaintext.
        failure: what ended TLS, ``None`` otherwise.
    """

    __slots__ = (
        "_collector", "_engine", "_forgiving", "_held", "_paused", "_state", "_tcp", "failure", "local_host",
        "local_port", "octets_in", "octets_out", "owner", "peer_host", "peer_port",
    )  # fmt: skip

    def __init__(
        self, reactor: Reactor, connected: socket.socket, peer: tuple[str, int], owner: StreamOwner | None = None
    ) -> None:
        self.owner = owner
        self.peer_host, self.peer_port = peer
        self.local_host, self.local_port = connected.getsockname()[:2]
        self.octets_in = self.octets_out = 0
        self.failure: TlsFailure | SSL.Error | None = None
        self._state = _State.CLEAR
        self._paused = False  # by the owner's wish
        self._held = False  # whatever the owner wishes
        self._collector: HelloCollector | None = None
        self._forgiving = False
        self._engine: TlsEngine | None = None
        self._tcp = TcpConnection(reactor, connected, self)

    @property
    def secured(self) -> bool:
        """Whether octets go inside TLS."""
        return self._state is _State.SECURED

    @property
    def gone(self) -> bool:
        """Whether the descriptor is given back."""
        return self._tcp.fileno() == -1

    def redirected_from(self) -> tuple[str, int] | None:
        """Return what the peer dialled if the kernel changed it, else ``None``."""
        return self._tcp.redirected_from()

    def has_ended(self) -> bool:
        """Whether the peer sends nothing more and all that it has sent was read."""
        return self._tcp.has_ended()

    def read_at_most(self, octets: int | None) -> None:
        """Take no more than so many octets of plaintext at a time, ``None`` for as many as ever."""
        self._tcp.read_limit_octets = READ_OCTETS if octets is None else octets

    def begin(self) -> None:
        """Start to read; a stream that nobody has taken is aborted."""
        if self._state is not _State.CLEAR:
            return
        if self.owner is None:
            self.abort()
        elif not self._paused:
            self._tcp.resume_reading()

    def send(self, data: bytes) -> None:
        """Send at once; what the peer does not take is kept, see ``stream_blocked``."""
        if not data:
            return
        if self._state is _State.CLEAR:
            self._tcp.send(data)
        elif self._state is _State.SECURED and self._engine is not None:
            self._tcp.send(self._engine.encrypt(data))
        else:
            return
        self.octets_out += len(data)

    def pause(self) -> None:
        """Deliver no plaintext; a hello and a handshake are read all the same."""
        self._paused = True
        if self._state is _State.CLEAR or self._state is _State.SECURED:
            self._tcp.pause_reading()

    def resume(self) -> None:
        """Deliver plaintext again."""
        if not self._paused:
            return
        self._paused = False
        if self._state is _State.CLEAR and self._collector is None:
            self._tcp.resume_reading()
        elif self._state is _State.SECURED and not self._held:
            self._tcp.resume_reading()
            self._tcp.later(self._deliver)  # what came right behind the handshake

    def hold(self) -> None:
        """Deliver no plaintext, whatever ``resume`` says, until `let_go`; for what the owner must know first."""
        self._held = True
        if self._state is _State.SECURED:
            self._tcp.pause_reading()

    def let_go(self) -> None:
        """Take back `hold`."""
        self._held = False
        if not self._paused:
            self._paused = True
            self.resume()

    def collect_hello(self, *, forgiving: bool = False) -> None:
        """Take what comes from now on as a ClientHello; read no further once it is whole.

        What is none ends the stream, or, if ``forgiving``, waits to be given back.
        """
        if self._state is not _State.CLEAR:
            return
        self._state = _State.COLLECTING
        self._collector, self._forgiving = HelloCollector(), forgiving
        self._tcp.read_limit_octets = HANDSHAKE_READ_OCTETS
        self._tcp.resume_reading()

    def give_back_hello(self) -> None:
        """Deliver what was collected as octets in clear, and read on; nothing, if nothing was."""
        if self._state is _State.HELLO:
            self._state = _State.CLEAR
            self._tcp.read_limit_octets = READ_OCTETS
            self._tcp.later(self._give_back)

    def end_sending(self) -> None:
        """Send no more once all is sent, and read on; in clear only, and the owner bounds the time."""
        if self._state is _State.CLEAR:
            self._tcp.end_sending()

    def start_tls(
        self, context: SSL.Context, role: Role, configure: Callable[[SSL.Connection], None] | None = None
    ) -> None:
        """Begin the handshake, in clear or with the ClientHello that was collected.

        Args:
            context: finished and shared.
            role: which end we are.
            configure: sets server name and session on the connection before anything is sent.
        """
        if self._state is not _State.CLEAR and self._state is not _State.HELLO:
            return
        self._engine = TlsEngine(context, role, configure)
        self._state = _State.HANDSHAKING
        self._tcp.read_limit_octets = HANDSHAKE_READ_OCTETS
        if self._collector is not None:
            self._engine.feed(self._collector.raw)
            self._collector = None
        self._tcp.resume_reading()
        try:
            self._shake(self._engine)
        except SSL.Error as error:
            self._tcp.later(self._fail, error)

    def decline(self) -> None:
        """Answer the ClientHello that was collected with an alert, and close: the fault is ours."""
        if self._state is _State.HELLO:
            self._tcp.send(_INTERNAL_ERROR)
            self._finish(Ending.TLS_FAILED)

    def close(self, last: bytes = b"") -> None:
        """Send what is unsent, ``last`` and our end of TLS in one go, wait for the peer within bounds, close."""
        self._finish(Ending.CLEAN, last)

    def abort(self) -> None:
        """Close at once and drop what is unsent."""
        self._state = _State.CLOSED
        self._tcp.abort()

    # From the connection

    def octets_received(self, octets: memoryview) -> None:
        """Take what was read from the socket."""
        match self._state:
            case _State.SECURED:
                self._deliver(octets)
            case _State.CLEAR:
                self.octets_in += len(octets)
                self._reported_to.stream_received(bytes(octets))
            case _State.COLLECTING:
                self._collect(bytes(octets))
            case _State.HANDSHAKING:
                self._receive_handshake(octets)

    def peer_finished(self) -> None:
        """Take the end of what the peer sends."""
        if self._state is _State.COLLECTING or self._state is _State.HANDSHAKING:
            self._fail(TlsFailure(TlsReason.CONNECTION_CLOSED))
        else:
            self._report_end(Ending.CLEAN if self._state is _State.CLEAR else Ending.TRUNCATED)

    def sending_blocked(self) -> None:
        """Pass it on."""
        if self._state is not _State.CLOSED:
            self._reported_to.stream_blocked()

    def sending_unblocked(self) -> None:
        """Pass it on."""
        if self._state is not _State.CLOSED:
            self._reported_to.stream_unblocked()

    def connection_closed(self, ending: Ending) -> None:
        """Let go of all; a handshake that the peer broke off has failed first."""
        engine, state = self._engine, self._state
        self._state, self._engine, self._collector = _State.CLOSED, None, None
        if engine is not None:
            engine.release()
        try:
            if self.owner is not None and state in _UPGRADING and ending is Ending.RESET:
                self.failure = TlsFailure(TlsReason.CONNECTION_CLOSED, "reset")
                self.owner.stream_tls_failed(self.failure, engine.connection if engine else None)
        finally:
            owner, self.owner = self.owner, None  # told of the failure, it may have let go of this stream
            if owner is not None:
                owner.stream_closed(ending)

    # Inside

    @property
    def _reported_to(self) -> StreamOwner:
        if self.owner is None:
            raise AssertionError("a stream that reads has an owner")
        return self.owner

    def _report_end(self, ending: Ending) -> None:
        self._tcp.end_reading()  # or a resume would find the end again
        if not self._reported_to.stream_finished(ending) and self._state is not _State.CLOSED:
            self._finish(ending)

    def _finish(self, ending: Ending, last: bytes = b"") -> None:
        octets = last if self._state is _State.CLEAR else b""
        if self._state is _State.SECURED and self._engine is not None and ending is not Ending.TLS_FAILED:
            octets = (self._engine.encrypt(last) if last else b"") + self._engine.close_notify()
        if octets:
            self.octets_out += len(last)
        self._state = _State.CLOSED
        self._tcp.finish(ending, octets)

    def _collect(self, octets: bytes) -> None:
        if self._collector is None:
            return
        try:
            hello = self._collector.feed(octets)
        except ProtocolError as error:
            failure = TlsFailure(TlsReason(error.reason))
            if not self._forgiving:
                self._fail(failure)
                return
            self._wait_for_owner()
            self._reported_to.stream_tls_failed(failure, None)
            return
        if hello is not None:
            self._wait_for_owner()
            self._reported_to.stream_hello(hello)

    def _wait_for_owner(self) -> None:
        self._state = _State.HELLO
        self._tcp.pause_reading()

    def _give_back(self) -> None:
        collector, self._collector = self._collector, None
        if collector is None or self._state is not _State.CLEAR:
            return
        self.octets_in += len(collector.raw)
        self._reported_to.stream_received(collector.raw)
        if self._state is _State.CLEAR and not self._paused:
            self._tcp.resume_reading()

    def _receive_handshake(self, octets: memoryview) -> None:
        if self._engine is None:
            return
        self._engine.feed(octets)
        try:
            is_done = self._shake(self._engine)
        except SSL.Error as error:
            self._fail(error)
            return
        if is_done:
            self._secure(self._engine)

    def _shake(self, engine: TlsEngine) -> bool:
        is_done = engine.shake()
        if not is_done and (octets := engine.outgoing()):
            self._tcp.send(octets)
        return is_done

    def _secure(self, engine: TlsEngine) -> None:
        """What ends our handshake leaves together with what the owner has to say first."""
        self._state = _State.SECURED
        self._tcp.read_limit_octets = READ_OCTETS
        self._reported_to.stream_upgraded(engine.connection)
        if self._state is not _State.SECURED:
            return
        if octets := engine.outgoing():
            self._tcp.send(octets)
        if engine.role is Role.CLIENT:
            # A server's tickets come now. One whose Nagle algorithm is on keeps its next words back until they are
            # acknowledged, and the kernel would take 40 ms for that.
            self._tcp.acknowledge_at_once()
        if self._paused or self._held:
            self._tcp.pause_reading()
        else:
            self._deliver()

    def _deliver(self, octets: memoryview | bytes = b"") -> None:
        engine = self._engine
        if engine is None or self._state is not _State.SECURED:
            return
        if self._paused or self._held:
            engine.feed(octets)
            return
        data = engine.decrypt(octets)
        if data:
            self.octets_in += len(data)
            self._reported_to.stream_received(data)
        elif octets and (answer := engine.outgoing()):  # to a key update, or a try at renegotiation
            self._tcp.send(answer)
        if engine.failure is not None or engine.finished:
            self._end_tls(engine)

    def _end_tls(self, engine: TlsEngine) -> None:
        if self._state is not _State.SECURED:
            return
        if engine.failure is None:
            self._report_end(Ending.CLEAN)
            return
        self.failure = engine.failure
        self._tcp.send(engine.close_notify())
        self._finish(Ending.TLS_FAILED)

    def _fail(self, failure: TlsFailure | SSL.Error) -> None:
        """No TLS came about: send the alert, then tell the owner, whose calls from there on come too late."""
        if self._state not in _UPGRADING:
            return
        self.failure = failure
        engine = self._engine
        if engine is not None:
            self._tcp.send(engine.outgoing())
        self._finish(Ending.TLS_FAILED)
        self._reported_to.stream_tls_failed(failure, engine.connection if engine else None)


_UPGRADING = (_State.COLLECTING, _State.HANDSHAKING)
