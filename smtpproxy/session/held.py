"""Content that message rules must see before any of it goes upstream: its headers, or the whole of it.

The header block is held in memory, within its limit. If the rules can be judged by it, what they leave of it goes
upstream and the rest follows as it comes; if they ask for the size, the rest is spooled, judged at its end and
replayed. A header is changed where a rule says so, and nothing else ever is.

Source: RFC 5321 s4.1.1.4 (DATA), s4.5.3.2.6 (the client waits 10 minutes for the verdict); RFC 3030 s2 (BDAT).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from smtpproxy.enums import IdentityEnum
from smtpproxy.errors import ProtocolError
from smtpproxy.policy.decision import Refuse
from smtpproxy.session import timers
from smtpproxy.session.actions import DiscardSpool, ReplaySpool, SpoolWrite
from smtpproxy.session.client import Hold
from smtpproxy.session.content import SPOKE_EARLY
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.intake import ChunkIntake
from smtpproxy.session.ruling import Ruling
from smtpproxy.session.timers import Timer
from smtpproxy.session.transaction import Transaction
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.commands import Bdat, Data, Noop, Relayed
from smtpproxy.smtp.headers import CollectedHeaders, HeaderCollector, Headers, HeadersTooLong
from smtpproxy.smtp.replies import Reply

UNWRITTEN_OCTETS: Final = 1024 * 1024  # on their way to the disk: the client is not read until they are there

_BY_UPSTREAM: Final = "upstream-refused-data"
_TOO_LONG: Final = Refuse(catalogue.HEADERS_TOO_BIG, "headers-too-long")
_UNCLEAR: Final = Refuse(catalogue.HEADERS_UNCLEAR, "headers-unclear")


class Stage(IdentityEnum):
    """How far a held message has come."""

    COLLECTING = "collecting"  # its headers are not whole
    SPOOLING = "spooling"  # the rules wait for its size
    OPENING = "opening"  # it may pass; upstream has not said so yet
    PASSING = "passing"  # what comes goes on at once
    REPLAYING = "replaying"  # it was spooled, and goes out
    REFUSED = "refused"  # upstream does not take it
    OVER = "over"  # upstream has all of it, or nothing, and the rest is dropped


class Held(ABC):
    """A message that is held.

    Args:
        exchange: both legs.
        transaction: whose content it is.
        ruling: judges it.
        refuse: refuses the message.
        stuffed: whether the content is dot-stuffed.
    """

    def __init__(
        self,
        exchange: Exchange,
        transaction: Transaction,
        ruling: Ruling,
        refuse: Callable[[Refuse], None],
        *,
        stuffed: bool,
    ) -> None:
        self._exchange = exchange
        self._ruling = ruling
        self._transaction = transaction
        self._refuse = refuse
        self._stage = Stage.COLLECTING
        self._collector = HeaderCollector(stuffed=stuffed)
        self._headers = Headers(b"", stuffed)
        self._pending: list[bytes] = []  # behind the headers, and not on its way yet
        self._unwritten = 0
        self._spooled = 0
        self._is_whole = False
        self._await_upstream()

    @property
    def is_begun(self) -> bool:
        """Whether upstream has begun to take what only closing the connection takes back."""
        return self._stage in _BEGUN

    # From the client

    def take(self, octets: bytes) -> None:
        """Take octets of content."""
        match self._stage:
            case Stage.COLLECTING:
                self._collect(octets)
            case Stage.SPOOLING:
                self._spool(octets)
            case Stage.OPENING:
                self._pending.append(octets)
                self._exchange.client.hold(Hold.CONTENT)
            case Stage.PASSING:
                self._exchange.upstream.content(octets)
            case _:
                raise AssertionError(f"content of a message that is {self._stage.value}")

    def end(self) -> None:
        """The content is whole."""
        self._is_whole = True
        self._exchange.outbox.set_timer(Timer.VERDICT, timers.FINAL_S)
        match self._stage:
            case Stage.COLLECTING:
                self._end_collecting()
            case Stage.SPOOLING if self._passes(self._transaction.size_octets):
                self._begin_opening()
            case Stage.PASSING:
                self._finish()
            case _:
                pass  # it is being opened, or was refused just now

    def abandon(self) -> None:
        """The content is refused, or its session ends."""
        if self._stage is Stage.OVER:
            return
        if self._spooled:
            self._exchange.outbox.put(DiscardSpool())
        self._pending.clear()
        self._leave(Stage.OVER)

    def _collect(self, octets: bytes) -> None:
        collected = self._collected(lambda: self._collector.feed(octets))
        if collected is None:
            return
        self._headers = collected.block
        if self._ruling.still_needs_size(self._headers):
            self._stage = Stage.SPOOLING
            self._spool(collected.rest)
        elif self._passes(None):
            self._pending = [collected.rest]
            self._begin_opening()

    def _end_collecting(self) -> None:
        collected = self._collected(self._collector.finish)
        if collected is None:
            return
        self._headers = collected.block
        if self._passes(self._transaction.size_octets):
            self._pending = [collected.rest]
            self._begin_opening()

    def _collected(self, collect: Callable[[], CollectedHeaders | None]) -> CollectedHeaders | None:
        try:
            return collect()
        except ProtocolError as error:
            self._refuse(_TOO_LONG if isinstance(error, HeadersTooLong) else _UNCLEAR)
            return None

    def _passes(self, size_octets: int | None) -> bool:
        """Judge the message, and keep what came of its headers."""
        judged = self._ruling.judge(self._headers, size_octets)
        if isinstance(judged, Refuse):
            self._refuse(judged)
            return False
        self._headers = judged
        return True

    # The spool

    def _spool(self, octets: bytes) -> None:
        if not octets:
            return
        self._spooled += len(octets)
        self._unwritten += len(octets)
        self._exchange.outbox.put(SpoolWrite(octets))
        if self._unwritten > UNWRITTEN_OCTETS:
            self._exchange.client.hold(Hold.SPOOL)

    def spooled(self, octets: int) -> None:
        """So much more is kept."""
        self._unwritten -= octets
        if self._unwritten <= UNWRITTEN_OCTETS:
            self._exchange.client.release(Hold.SPOOL)

    def replayed(self) -> None:
        """All that was kept is sent."""
        outbox = self._exchange.outbox
        outbox.octets_replayed(self._spooled)
        outbox.put(DiscardSpool())
        self._spooled = 0
        self._finish()

    # Towards upstream

    def _begin_opening(self) -> None:
        self._leave(Stage.OPENING)
        self._open()

    def _pass(self) -> None:
        """Send what is held."""
        upstream = self._exchange.upstream
        self._leave(Stage.PASSING)
        upstream.content(self._headers.to_wire())
        for octets in self._pending:
            upstream.content(octets)
        self._pending.clear()
        if self._spooled:
            self._stage = Stage.REPLAYING
            self._exchange.outbox.put(ReplaySpool())
        elif self._is_whole:
            self._finish()

    def _finish(self) -> None:
        if self._exchange.upstream.speaks_early:  # a reply that has begun is not about the whole of it
            self._refuse(SPOKE_EARLY)
            return
        self._stage = Stage.OVER
        self._close()

    def _leave(self, stage: Stage) -> None:
        self._stage = stage
        self._exchange.client.release(Hold.CONTENT)
        self._exchange.client.release(Hold.SPOOL)
        self._exchange.outbox.set_timer(Timer.KEEP_AWAKE, None)

    # Time

    def keep_awake(self) -> None:
        """Say NOOP to upstream, which would wait for its next command no longer than some minutes."""
        if self._stage not in _WAITING:
            return
        if self._exchange.upstream.is_silent and self._may_say_noop:
            self._exchange.upstream.command(Noop(), own=True)
        self._await_upstream()

    def _await_upstream(self) -> None:
        self._exchange.outbox.set_timer(Timer.KEEP_AWAKE, timers.KEEP_AWAKE_S)

    # How it goes upstream

    @property
    def _may_say_noop(self) -> bool:
        return True

    @abstractmethod
    def begin_chunk(self, command: Bdat) -> None:
        """The octets of a chunk follow."""

    @abstractmethod
    def end_chunk(self) -> bool:
        """The chunk is whole, and was not the last; return whether upstream will answer it."""

    @abstractmethod
    def own_replied(self, command: Relayed, reply: Reply) -> None:
        """Take the reply to a command of this proxy's own."""

    @abstractmethod
    def _open(self) -> None:
        """Ask upstream to take the content, and pass what is held once it does."""

    @abstractmethod
    def _close(self) -> None:
        """The content is with upstream as a whole."""


class HeldData(Held):
    """Content that came by DATA and goes by DATA."""

    def __init__(
        self, exchange: Exchange, transaction: Transaction, ruling: Ruling, refuse: Callable[[Refuse], None]
    ) -> None:
        super().__init__(exchange, transaction, ruling, refuse, stuffed=True)

    def begin_chunk(self, command: Bdat) -> None:
        """Never: DATA and BDAT do not mix."""
        raise AssertionError(f"{command} behind DATA")

    def end_chunk(self) -> bool:
        """Never: DATA and BDAT do not mix."""
        raise AssertionError("a chunk behind DATA")

    def own_replied(self, command: Relayed, reply: Reply) -> None:
        """Pass what is held behind 354."""
        if isinstance(command, Noop) and self._stage is Stage.OPENING:
            self._exchange.upstream.command(Data(), own=True)
        elif isinstance(command, Data) and reply.is_intermediate:
            self._pass()
        elif isinstance(command, Data):
            self._stage = Stage.REFUSED
            self._refuse(Refuse(reply, _BY_UPSTREAM))
            self._transaction.because = None

    def _open(self) -> None:
        if not self._exchange.upstream.owes_reply:  # else a NOOP is under way, and DATA goes behind its reply
            self._exchange.upstream.command(Data(), own=True)

    def _close(self) -> None:
        self._exchange.upstream.end_content()


class HeldChunks(Held):
    """Content that came by BDAT and goes by BDAT.

    Chunks that are held are answered here; when their octets go out, they go in front of the chunk that is under way.
    """

    def __init__(
        self,
        exchange: Exchange,
        transaction: Transaction,
        ruling: Ruling,
        refuse: Callable[[Refuse], None],
        intake: ChunkIntake,
    ) -> None:
        super().__init__(exchange, transaction, ruling, refuse, stuffed=False)
        self._intake = intake
        self._last = False
        self._last_octet = b""  # of what is spooled; it completes the message, so it leaves when that is on record

    def begin_chunk(self, command: Bdat) -> None:
        """Send BDAT, if the chunk may pass."""
        self._last = command.last
        if self._stage is Stage.PASSING:
            self._exchange.upstream.begin_chunk(command)

    def end_chunk(self) -> bool:
        """Wait for upstream's answer, if it has the chunk."""
        if self._stage is Stage.PASSING:
            self._exchange.upstream.end_chunk(last=False)
            return True
        return False

    def own_replied(self, command: Relayed, reply: Reply) -> None:
        """Open what waited for the reply to a NOOP."""
        del reply
        if isinstance(command, Noop) and self._stage is Stage.OPENING:
            self._open()

    @property
    def is_begun(self) -> bool:
        """Whether a chunk is under way, or the last one has gone: between chunks RSET takes all back.

        Upstream's chunk may lack octets while the client's is whole: what was refused with its last ones is not sent.
        """
        return super().is_begun and self._exchange.upstream.is_in_content

    @property
    def _may_say_noop(self) -> bool:
        """Not before the headers are whole: the chunk that completes them goes out at once."""
        return self._stage is Stage.SPOOLING

    def _spool(self, octets: bytes) -> None:
        octets = self._last_octet + octets
        self._last_octet = octets[-1:]
        super()._spool(octets[:-1])

    def _open(self) -> None:
        if self._exchange.upstream.owes_reply:
            return
        waiting = (*self._pending, self._last_octet)
        held = len(self._headers.to_wire()) + sum(map(len, waiting)) + self._spooled
        self._exchange.upstream.begin_chunk(Bdat(held + self._intake.remaining, self._last))
        self._pass()

    def _close(self) -> None:
        self._exchange.upstream.content(self._last_octet)
        self._exchange.upstream.end_chunk(last=True)


_BEGUN: Final = frozenset({Stage.OPENING, Stage.PASSING, Stage.REPLAYING})
_WAITING: Final = frozenset({Stage.COLLECTING, Stage.SPOOLING})
