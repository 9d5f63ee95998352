"""A session that passes octets as they come, each leg's to the other, and only looks at what it may.

Both handshakes are the client's and upstream's own. Their hellos are read as they pass; where what passes must be TLS,
it is followed record by record, and nothing goes on behind the first octet that is none.

Source: RFC 8446 s5.1, s6.1; RFC 9293 s3.6 (half-closed connections: either side may end first and still hear).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from smtpproxy.audit import Tunnelled
from smtpproxy.errors import ProtocolError
from smtpproxy.session import timers
from smtpproxy.session.actions import EndSending, PauseReading, Splice
from smtpproxy.session.events import (
    ClientFinished,
    Closed,
    Drain,
    Event,
    Received,
    TimedOut,
    UpstreamFinished,
    WriteBlocked,
)
from smtpproxy.session.journal import Journal
from smtpproxy.session.legs import Leg
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.timers import Timer
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.passing import passing_client, passing_server

_TOO_OLD: Final = "session-too-old"


class TunnelEnder(Protocol):
    """Who watches over the session."""

    def finish(self, farewell: Reply | None, token: str) -> None:
        """Send what is unsent, close both legs and report the session as ended by ``token``."""

    def break_off(self, token: str) -> None:
        """Close both legs at once."""


class Counted(Protocol):
    """A leg, whose octets are counted."""

    octets_in: int


@dataclass(frozen=True, slots=True)
class Passage:
    """What passes, and why.

    Args:
        because: the token of the reason.
        exception: the number of the exception that says so, ``None`` if none does.
        strict: whether only TLS may pass.
        idle_timeout_s: how long nothing may pass.
    """

    because: str
    exception: int | None
    strict: bool
    idle_timeout_s: float


class Tunnel:
    """Both legs of a session that is not inspected.

    Args:
        passage: what passes, and why.
        legs: count what comes.
        ender: ends the session.
        journal: takes incidents.
        outbox: takes what is to be done.
    """

    __slots__ = ("_client", "_ender", "_ending", "_journal", "_legs", "_open", "_outbox", "_passage", "_upstream")

    def __init__(
        self,
        passage: Passage,
        legs: Mapping[Leg, Counted],
        ender: TunnelEnder,
        journal: Journal,
        outbox: Outbox,
    ) -> None:
        self._passage = passage
        self._legs = legs
        self._ender = ender
        self._journal = journal
        self._outbox = outbox
        self._client = passing_client(strict=passage.strict)
        self._upstream = passing_server(strict=passage.strict)
        self._open = {Leg.CLIENT, Leg.UPSTREAM}
        self._ending: str | None = None
        outbox.put(Splice())
        self._wait()

    def seen(self) -> Tunnelled:
        """Return what is known of it."""
        client, upstream = self._client, self._upstream
        return Tunnelled(self._passage.because, self._passage.exception, client.hello, upstream.hello, upstream.alert)

    def take(self, event: Event) -> bool:
        """Take an event; return whether it was of a tunnel's own, so that nobody else has to look at it."""
        match event:
            case Received(leg, data):
                self._pass_on(leg, data)
            case ClientFinished():
                self._end_half(Leg.CLIENT)
            case UpstreamFinished():
                self._end_half(Leg.UPSTREAM)
            case Closed(leg, how):
                self._ender.break_off(f"client-{how}" if leg is Leg.CLIENT else f"upstream-closed-{how}")
            case WriteBlocked(Leg.CLIENT):  # its own octets still go on, or both ends could wait for each other
                self._outbox.put(PauseReading(Leg.UPSTREAM))
                self._outbox.set_timer(Timer.CLIENT_WRITE, timers.WRITE_S)
            case TimedOut(Timer.CLIENT):
                self._ender.finish(None, self._ending or "tunnel-idle")
            case TimedOut(Timer.AGE):
                self._age()
            case Drain():
                self._end_soon("shutting-down")
            case _:
                return False
        return True

    def _pass_on(self, leg: Leg, data: bytes) -> None:
        self._journal.heard()
        self._legs[leg].octets_in += len(data)
        try:
            (self._client if leg is Leg.CLIENT else self._upstream).feed(data)
        except ProtocolError as error:
            token = f"tunnel-{error.reason}"
            self._journal.incident(leg, token)
            self._ender.break_off(token)
            return
        self._outbox.send(leg.other, data)
        self._wait()

    def _end_half(self, leg: Leg) -> None:
        self._open.discard(leg)
        if self._open:
            self._outbox.put(EndSending(leg.other))
        else:
            self._ender.finish(None, "tunnel-closed")

    def _age(self) -> None:
        if self._ending == _TOO_OLD:
            self._ender.break_off(_TOO_OLD)
        else:
            self._outbox.set_timer(Timer.AGE, timers.GRACE_S)
            self._end_soon(_TOO_OLD)

    def _end_soon(self, token: str) -> None:
        """A message that is under way cannot be seen: end when nothing has passed for a while."""
        self._ending = token
        self._wait()

    def _wait(self) -> None:
        seconds = self._passage.idle_timeout_s if self._ending is None else timers.TUNNEL_REST_S
        self._outbox.set_timer(Timer.CLIENT, seconds)
