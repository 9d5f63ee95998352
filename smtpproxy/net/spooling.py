"""Runs a spool beside the reactor: what may block goes to its thread pool, one call at a time, in order."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.session.events import ReplayDone, Spooled, SpoolEvent, SpoolFailed
from smtpproxy.spool import SpoolError, SpoolFull, Spools

CHUNK_OCTETS: Final = 256 * 1024
"""What is read and sent at a time."""

WAITING_OCTETS: Final = 4 * 1024 * 1024
"""What may wait to be written: a session stops reading long before, so more is a mistake of ours."""

Result = TypeVar("Result")

_log = Logger()


class _State(Enum):
    WRITING = auto()
    REPLAYING = auto()
    OVER = auto()  # replayed or failed: nothing more happens
    DISCARDED = auto()


class Spooling:
    """One message in a spool.

    Args:
        reactor: Twisted's.
        spools: makes the spool.
        post: takes the events; from inside a call, too.
    """

    __slots__ = (
        "_busy", "_next_step", "_paused", "_post", "_reactor", "_ready", "_replayed_octets", "_send", "_spool",
        "_state", "_waiting", "_waiting_octets",
    )  # fmt: skip

    def __init__(self, reactor: Any, spools: Spools, post: Callable[[SpoolEvent], None]) -> None:  # noqa: ANN401 - as in `Equipment`
        self._reactor = reactor
        self._spool = spools.open()
        self._post = post
        self._state = _State.WRITING
        self._busy = False  # a call is under way in a thread
        self._waiting: list[bytes] = []
        self._waiting_octets = 0
        self._send: Callable[[bytes], None] | None = None
        self._paused = False
        self._ready = b""  # read, and not sent yet
        self._replayed_octets = 0
        self._next_step: Any = None

    def write(self, data: bytes) -> None:
        """Hold octets; `Spooled` comes when they are held, `SpoolFailed` once if they cannot be."""
        if self._state is not _State.WRITING:
            return
        if not self._busy and self._spool.keeps_in_memory(len(data)):
            self._write_to_memory(data)
        elif self._waiting_octets + len(data) > WAITING_OCTETS:
            self._fail("spool-overrun")
        else:
            self._waiting.append(data)
            self._waiting_octets += len(data)
            self._go_on()

    def replay(self, send: Callable[[bytes], None]) -> None:
        """Send all that was written, in order, then post `ReplayDone`."""
        if self._state is not _State.WRITING:
            return
        self._state = _State.REPLAYING
        self._send = send
        self._go_on()

    def pause(self) -> None:
        """Send nothing until ``resume``."""
        self._paused = True

    def resume(self) -> None:
        """Send on."""
        if self._paused:
            self._paused = False
            self._go_on()

    def discard(self) -> None:
        """Hold nothing any more; a call under way in a thread ends first, and nothing is heard of it."""
        if self._state is _State.DISCARDED:
            return
        self._state = _State.DISCARDED
        self._forget()
        if not self._busy:
            self._close()

    # Inside

    def _go_on(self) -> None:
        """Begin what is due, unless a thread is at work: its end leads here again."""
        if self._busy:
            return
        if self._waiting:
            self._write_waiting()
        elif self._state is _State.REPLAYING and not self._paused and self._next_step is None:
            self._replay_on()

    def _write_to_memory(self, data: bytes) -> None:
        try:
            self._spool.write(data)
        except SpoolFull as full:
            self._fail(full.reason)
        else:
            self._post(Spooled(len(data)))

    def _write_waiting(self) -> None:
        waiting, octets = self._waiting, self._waiting_octets
        self._waiting, self._waiting_octets = [], 0
        self._in_thread(lambda: self._spool.write(b"".join(waiting)), lambda _: self._post(Spooled(octets)))

    def _replay_on(self) -> None:
        """Send one chunk, and have the next follow on a later turn: upstream may have said stop by then."""
        if self._ready:
            self._send_chunk(self._ready)
        elif self._replayed_octets == self._spool.size:
            self._state = _State.OVER
            self._post(ReplayDone())
        elif self._spool.in_memory:
            self._send_chunk(self._spool.read(self._replayed_octets, CHUNK_OCTETS))
        else:
            self._in_thread(lambda: self._spool.read(self._replayed_octets, CHUNK_OCTETS), self._chunk_read)

    def _chunk_read(self, chunk: bytes) -> None:
        self._ready = chunk

    def _send_chunk(self, chunk: bytes) -> None:
        self._ready = b""
        self._replayed_octets += len(chunk)
        if self._send is not None:
            self._send(chunk)
        if self._state is _State.REPLAYING:
            self._next_step = self._reactor.callLater(0, self._step)

    def _step(self) -> None:
        self._next_step = None
        self._go_on()

    def _in_thread(self, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        self._busy = True
        done: Deferred[Result] = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)
        done.addCallbacks(self._worked, self._broke, callbackArgs=(then,))

    def _worked(self, result: Result, then: Callable[[Result], None]) -> None:
        self._busy = False
        if self._state is _State.DISCARDED:
            self._close()
            return
        if self._state is not _State.OVER:
            then(result)
        self._go_on()

    def _broke(self, failure: Failure) -> None:
        self._busy = False
        if self._state is _State.DISCARDED:
            self._close()
            return
        error = failure.value
        if isinstance(error, SpoolFull | SpoolError):
            _log.error("a message could not be held: {error}", error=str(error))
            self._fail(error.reason)
        else:
            _log.failure("a spool broke", failure)
            self._fail(SpoolError.reason)

    def _fail(self, reason: str) -> None:
        if self._state is _State.OVER:
            return
        self._state = _State.OVER
        self._forget()
        self._post(SpoolFailed(reason))

    def _forget(self) -> None:
        self._waiting, self._waiting_octets = [], 0
        self._ready = b""
        self._send = None
        if self._next_step is not None:
            self._next_step.cancel()
            self._next_step = None

    def _close(self) -> None:
        """Freeing a big file takes a while, so that is done in a thread too."""
        if self._spool.in_memory:
            self._spool.close()
        else:
            self._in_thread(self._spool.close, lambda _: None)
