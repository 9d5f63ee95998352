from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from smtpproxy.net.spooling import CHUNK_OCTETS, WAITING_OCTETS, Spooling
from smtpproxy.session.events import ReplayDone, Spooled, SpoolEvent, SpoolFailed
from smtpproxy.spool import Spools
from tests.test_spool import descriptors, files_end_at

reactor: Any = _reactor
MEMORY = 1000
BIG = bytes(range(256)) * 4096  # 1 MiB, so four chunks

T = TypeVar("T")


class Gate:
    """The reactor with a pool whose threads wait before each call until a test lets one through."""

    def __init__(self) -> None:
        self.pool = ThreadPool(0, 2, "gate")
        self.pool.start()
        self.calls = 0
        self._passes = threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all the rest is the reactor's
        return getattr(reactor, name)

    def getThreadPool(self) -> Gate:  # noqa: N802 - Twisted's name
        return self

    def callInThreadWithCallback(  # noqa: N802 - Twisted's name
        self,
        on_result: Callable[[bool, object], None],
        function: Callable[..., T],
        *arguments: object,
        **by_name: object,
    ) -> None:
        def wait() -> T:
            assert self._passes.acquire(timeout=30)
            return function(*arguments, **by_name)

        self.calls += 1
        self.pool.callInThreadWithCallback(on_result, wait)

    def let_through(self, calls: int = 1) -> None:
        self._passes.release(calls)

    def stop(self) -> None:
        self._passes.release(1000)
        self.pool.stop()


class SpoolingTests(TestCase):
    timeout = 60
    directory: Path

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    def setUp(self) -> None:
        self.events: list[SpoolEvent] = []
        self.sent: list[bytes] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self.spools = Spools(self.directory, MEMORY, 10_000_000)

    def spooling(self, gate: Gate | None = None) -> Spooling:
        made = Spooling(gate or reactor, self.spools, self._note)
        self.addCleanup(self._clear, made, gate)
        return made

    def gate(self) -> Gate:
        gate = Gate()
        self.addCleanup(gate.stop)
        return gate

    def _note(self, event: SpoolEvent) -> None:
        self.events.append(event)

    async def _clear(self, spooling: Spooling, gate: Gate | None) -> None:
        spooling.discard()
        if gate is not None:
            gate.let_through(100)
        await self.until(lambda: not spooling._busy)
        assert spooling._spool.in_memory
        assert self.spools.budget.taken_octets == 0

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.turn()

    async def turn(self) -> None:
        await cast("Deferred[None]", deferLater(reactor, 0))

    async def finished(self) -> SpoolEvent:
        await self.until(lambda: bool(self.events) and not isinstance(self.events[-1], Spooled))
        return self.events[-1]

    # Writing

    def test_what_fits_in_memory_is_held_at_once(self) -> None:
        spooling = self.spooling()
        spooling.write(b"one")
        spooling.write(b"three")
        assert self.events == [Spooled(3), Spooled(5)]

    async def test_what_does_not_is_held_in_order_by_a_thread(self) -> None:
        gate = self.gate()
        spooling = self.spooling(gate)
        spooling.write(b"a" * MEMORY)
        spooling.write(b"b" * 500)
        spooling.write(b"c" * 500)
        spooling.write(b"d")
        assert self.events == [Spooled(MEMORY)]
        assert gate.calls == 1
        gate.let_through(2)
        await self.until(lambda: len(self.events) == 3)
        assert self.events == [Spooled(MEMORY), Spooled(500), Spooled(501)]
        gate.let_through(100)
        spooling.replay(self.sent.append)
        assert await self.finished() == ReplayDone()
        assert b"".join(self.sent) == b"a" * MEMORY + b"b" * 500 + b"c" * 500 + b"d"

    async def test_no_more_waits_than_may(self) -> None:
        spooling = self.spooling(self.gate())
        for _ in range(WAITING_OCTETS // len(BIG) + 1):
            spooling.write(BIG)  # the first is on its way already
        assert self.events == []
        spooling.write(b"x")
        spooling.write(b"x")
        assert self.events == [SpoolFailed("spool-overrun")]

    async def test_a_full_disk_is_told_once(self) -> None:
        spooling = self.spooling()
        with files_end_at(2000):
            spooling.write(b"x" * 3000)
            assert await self.finished() == SpoolFailed("spool-failed")
        spooling.write(b"x")
        spooling.write(b"x" * 3000)
        spooling.replay(self.sent.append)
        await self.turn()
        assert self.events == [SpoolFailed("spool-failed")]
        assert self.sent == []

    async def test_a_message_that_is_too_big_for_all_spools(self) -> None:
        self.spools = Spools(self.directory, MEMORY, 5000)
        spooling = self.spooling()
        spooling.write(b"x" * 5001)
        assert await self.finished() == SpoolFailed("spool-full")

    def test_a_message_that_is_too_big_for_memory_as_well(self) -> None:
        self.spools = Spools(self.directory, MEMORY, 500)
        self.spooling().write(b"x" * 501)
        assert self.events == [SpoolFailed("spool-full")]

    # Replaying

    async def test_memory_is_replayed(self) -> None:
        spooling = self.spooling()
        spooling.write(b"one")
        spooling.write(b"two")
        spooling.replay(self.sent.append)
        assert await self.finished() == ReplayDone()
        assert b"".join(self.sent) == b"onetwo"

    async def test_nothing_is_replayed_too(self) -> None:
        self.spooling().replay(self.sent.append)
        assert await self.finished() == ReplayDone()
        assert self.sent == []

    async def test_a_file_is_replayed_in_chunks(self) -> None:
        spooling = self.spooling()
        spooling.write(BIG)
        spooling.write(b"end")
        spooling.replay(self.sent.append)  # what waits to be written comes first
        assert await self.finished() == ReplayDone()
        assert b"".join(self.sent) == BIG + b"end"
        assert max(map(len, self.sent)) <= CHUNK_OCTETS

    async def test_memory_that_has_room_for_much_is_replayed_in_chunks(self) -> None:
        self.spools = Spools(self.directory, 2 * len(BIG), 10_000_000)
        spooling = self.spooling()
        spooling.write(BIG)
        spooling.replay(self.sent.append)
        assert [len(chunk) for chunk in self.sent] == [CHUNK_OCTETS]  # the others come on later turns
        assert await self.finished() == ReplayDone()
        assert b"".join(self.sent) == BIG
        assert not descriptors(self.directory)

    async def test_nothing_is_sent_from_a_file_while_upstream_is_blocked(self) -> None:
        await self.replay_against_a_slow_upstream()

    async def test_nothing_is_sent_from_memory_while_upstream_is_blocked(self) -> None:
        self.spools = Spools(self.directory, 2 * len(BIG), 10_000_000)
        await self.replay_against_a_slow_upstream()

    async def replay_against_a_slow_upstream(self) -> None:
        spooling = self.spooling()

        def block(data: bytes) -> None:
            self.sent.append(data)
            spooling.pause()

        spooling.write(BIG)
        spooling.replay(block)
        for chunks in range(1, 5):
            await self.until(lambda: len(self.sent) >= chunks)  # noqa: B023 - it is over before the next round
            for _ in range(20):
                await self.turn()
            assert len(self.sent) == chunks
            assert ReplayDone() not in self.events
            spooling.resume()
        assert await self.finished() == ReplayDone()
        assert b"".join(self.sent) == BIG

    async def test_a_pause_while_a_thread_reads_keeps_what_it_brings(self) -> None:
        gate = self.gate()
        spooling = self.spooling(gate)
        spooling.write(BIG)
        gate.let_through()
        await self.until(lambda: bool(self.events))
        spooling.replay(self.sent.append)
        assert gate.calls == 2
        spooling.pause()
        gate.let_through()
        await self.until(lambda: not spooling._busy)
        await self.turn()
        assert self.sent == []
        spooling.resume()
        assert self.sent == [BIG[:CHUNK_OCTETS]]
        gate.let_through(100)
        assert await self.finished() == ReplayDone()
        assert b"".join(self.sent) == BIG

    async def test_a_pause_from_before_the_replay_counts(self) -> None:
        spooling = self.spooling()
        spooling.pause()
        spooling.write(b"x")
        spooling.replay(self.sent.append)
        await self.turn()
        assert self.sent == []
        spooling.resume()
        assert await self.finished() == ReplayDone()
        assert self.sent == [b"x"]

    # Discarding

    async def test_discarding_while_a_thread_writes_waits_for_it(self) -> None:
        gate = self.gate()
        spooling = self.spooling(gate)
        spooling.write(BIG)
        spooling.write(b"never written")
        spooling.discard()
        spooling.discard()
        assert gate.calls == 1
        gate.let_through()
        await self.until(lambda: gate.calls == 2)
        assert len(descriptors(self.directory)) == 1
        gate.let_through()
        await self.until(lambda: not descriptors(self.directory) and not self.spools.budget.taken_octets)
        assert self.events == []

    async def test_discarding_while_a_thread_reads_sends_nothing_more(self) -> None:
        gate = self.gate()
        spooling = self.spooling(gate)
        spooling.write(BIG)
        gate.let_through()
        await self.until(lambda: bool(self.events))
        spooling.replay(self.sent.append)
        spooling.discard()
        gate.let_through(2)
        await self.until(lambda: not descriptors(self.directory))
        assert self.sent == []
        assert self.events == [Spooled(len(BIG))]

    async def test_discarding_from_inside_a_send(self) -> None:
        spooling = self.spooling()
        spooling.write(BIG)

        def discard(data: bytes) -> None:
            self.sent.append(data)
            spooling.discard()

        spooling.replay(discard)
        await self.until(lambda: bool(self.sent))
        await self.until(lambda: not descriptors(self.directory))
        assert len(self.sent) == 1
        assert ReplayDone() not in self.events

    async def test_discarding_from_inside_an_event(self) -> None:
        def discard(event: SpoolEvent) -> None:
            self.events.append(event)
            spooling.discard()

        spooling = Spooling(reactor, self.spools, discard)
        spooling.write(BIG)
        await self.until(lambda: bool(self.events))
        await self.until(lambda: not descriptors(self.directory))
        assert self.events == [Spooled(len(BIG))]

    def test_after_the_end_nothing_happens(self) -> None:
        spooling = self.spooling()
        spooling.write(b"x")
        spooling.discard()
        spooling.write(b"y")
        spooling.pause()
        spooling.resume()
        spooling.replay(self.sent.append)
        assert self.events == [Spooled(1)]
        assert self.sent == []

    async def test_a_mistake_of_ours_in_a_thread_fails_the_spool_and_is_logged(self) -> None:
        spooling = self.spooling()
        spooling.write(b"x" * MEMORY)
        spooling._spool._file = cast("Any", object())
        spooling.write(b"y")
        assert await self.finished() == SpoolFailed("spool-failed")
        assert len(cast("list[Any]", self.flushLoggedErrors(AttributeError))) == 1  # type: ignore[no-untyped-call]
        spooling._spool._file = None
