"""A gateway switches from one generation to the next while its sessions go on."""

from __future__ import annotations

import gc
import socket
import weakref
from typing import TYPE_CHECKING

import pytest
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from smtpproxy.audit import Record, SessionRecord, Status, TransactionRecord
from smtpproxy.net.gateway import EARLIER_GENERATIONS
from smtpproxy.net.listeners import Binding
from smtpproxy.net.listening import ListenError
from smtpproxy.policy.model import General, PortKind
from tests.net.gateways import SMTP, GatewayCase, begin_content, greeted, leave

if TYPE_CHECKING:
    from smtpproxy.net.generation import Generation


class Part(Service):
    """A part of a generation that notes what is asked of it."""

    def __init__(self, name: str, told: list[str], ended: Deferred[None] | None = None) -> None:
        self.name = name
        self.told = told
        self.ended = ended or succeed(None)

    def privilegedStartService(self) -> None:  # noqa: N802
        self.told.append(f"bind {self.name}")

    def startService(self) -> None:  # noqa: N802
        self.told.append(f"begin {self.name}")

    def stopService(self) -> Deferred[None]:  # noqa: N802
        self.told.append(f"end {self.name}")
        return self.ended


class GenerationTests(GatewayCase):
    def ended(self) -> list[tuple[str, str]]:
        """Policy and end of each session that is over."""
        return [(each.origin.policy, each.ended) for each in self.records if isinstance(each, SessionRecord)]

    async def test_a_session_keeps_its_generation_and_the_next_has_the_newest(self) -> None:
        port = self.start()
        first = await deferToThread(greeted, port)
        self.gateway.adopt(self.generation(name="Second"))
        second = await deferToThread(greeted, port)
        for client in (first, second):
            await deferToThread(leave, client)
        assert self.ended() == [("First", "quit"), ("Second", "quit")]

    async def test_a_generation_is_freed_when_its_last_session_ends(self) -> None:
        port = self.start()
        clients = [await deferToThread(greeted, port) for _ in range(2)]
        generation = weakref.ref(self.gateway.newest)
        equipment = _Watched(self.gateway.newest)
        self.gateway.adopt(self.generation())
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        await deferToThread(leave, clients[0])
        assert generation() is not None
        assert equipment.is_alive
        await deferToThread(leave, clients[1])
        await _next_turn()
        assert generation() is None
        assert not equipment.is_alive

    async def test_an_earlier_generation_without_sessions_ends_at_once(self) -> None:
        told: list[str] = []
        self.start()
        for name in ("2", "3"):
            self.gateway.adopt(self.generation(parts=[Part(name, told)]))
        assert told == ["bind 2", "begin 2", "bind 3", "begin 3", "end 2"]
        assert self.gateway.newest.number == 3

    async def test_a_crash_is_on_record_before_its_generation_ends(self) -> None:
        told: list[str] = []
        port = self.start()
        self.gateway.adopt(self.generation(parts=[_Closing(self.records, told)]))
        client = await deferToThread(greeted, port)
        self.gateway.adopt(self.generation())
        await deferToThread(_break_down, client)
        assert told == ["Crash"]
        assert len(self.flushLoggedErrors(KeyError)) == 1  # type: ignore[no-untyped-call]

    async def test_parts_end_one_behind_the_other_when_the_sessions_have(self) -> None:
        told: list[str] = []
        slow: Deferred[None] = Deferred()
        port = self.start()
        self.gateway.adopt(self.generation(parts=[Part("first", told), Part("second", told, slow)]))
        client = await deferToThread(greeted, port)
        self.gateway.adopt(self.generation())
        assert "end second" not in told
        await deferToThread(leave, client)
        assert told[-1] == "end second"
        slow.callback(None)
        assert told[-1] == "end first"

    async def test_the_newest_generation_ends_with_the_gateway(self) -> None:
        told: list[str] = []
        self.start()
        self.gateway.adopt(self.generation(parts=[Part("2", told)]))
        await self.gateway.stopService()
        assert told == ["bind 2", "begin 2", "end 2"]

    async def test_a_generation_whose_ports_cannot_be_had_changes_nothing(self) -> None:
        told: list[str] = []
        port = self.start()
        before = self.gateway.newest
        with socket.create_server(("127.0.0.1", 0)) as taken:
            bind = Binding("127.0.0.1", taken.getsockname()[1], PortKind.SMTP)
            with pytest.raises(ListenError):
                self.gateway.adopt(self.generation(binds=[SMTP, bind], parts=[Part("refused", told)]))
        assert told == ["bind refused"]
        assert self.gateway.newest is before
        await deferToThread(leave, await deferToThread(greeted, port))
        assert self.ended() == [("First", "quit")]

    async def test_limits_count_the_sessions_of_all_generations(self) -> None:
        one = General(max_sessions_per_source=1)
        port = self.start(one)
        first = await deferToThread(greeted, port)
        self.gateway.adopt(self.generation(one))
        assert (await deferToThread(_words, port)).startswith(b"421 4.7.0")
        self.gateway.adopt(self.generation(General(max_sessions_per_source=2)))
        second = await deferToThread(greeted, port)
        assert (await deferToThread(_words, port)).startswith(b"421 4.7.0")
        await deferToThread(leave, first)
        third = await deferToThread(greeted, port)
        for client in (second, third):
            await deferToThread(leave, client)
        assert len(self.counts) == 0

    async def test_generations_do_not_pile_up(self) -> None:
        port = self.start()
        idle = await deferToThread(greeted, port)
        busy = await deferToThread(begin_content, port)
        kept = []
        for number in range(EARLIER_GENERATIONS):
            assert self.ended() == []
            self.gateway.adopt(self.generation(name=f"Next {number}"))
            kept.append(await deferToThread(greeted, port))
        self.gateway.adopt(self.generation(name="Last"))
        assert await deferToThread(idle.recv, 1024) == b"421 4.3.2 Service shutting down, closing connection\r\n"
        idle.close()
        assert (await deferToThread(_finish_content, busy)).startswith(b"250 ")
        assert self.ended() == [("First", "shutting-down")] * 2
        for client in kept:
            await deferToThread(leave, client)
        assert self.gateway._generations == [self.gateway.newest]

    async def test_a_stop_drains_every_generation(self) -> None:
        port = self.start()
        idle = await deferToThread(greeted, port)
        busy = await deferToThread(begin_content, port)
        self.gateway.adopt(self.generation(name="Second"))
        beside = await deferToThread(greeted, port)
        stopped = self.gateway.stopService()
        for client in (idle, beside):
            assert (await deferToThread(client.recv, 1024)).startswith(b"421 4.3.2")
            client.close()
        assert not stopped.called
        assert (await deferToThread(_finish_content, busy)).startswith(b"250 ")
        await stopped
        assert sorted(self.ended()) == [
            ("First", "shutting-down"),
            ("First", "shutting-down"),
            ("Second", "shutting-down"),
        ]

    async def test_whoever_is_in_a_hurry_waits_for_no_message(self) -> None:
        port = self.start()
        clients = [await deferToThread(begin_content, port)]
        self.gateway.adopt(self.generation(name="Second"))
        clients.append(await deferToThread(begin_content, port))
        stopped = self.gateway.stopService()
        self.gateway.expire()
        await stopped
        for client in clients:
            assert await deferToThread(client.recv, 1024) == b""
            client.close()
        transactions = [each for each in self.records if isinstance(each, TransactionRecord)]
        assert [each.recipients[0].status for each in transactions] == [Status.ABANDONED] * 2
        assert self.ended() == [("First", "drain-deadline"), ("Second", "drain-deadline")]


class _Watched:
    """Whether what a generation's equipment holds is still there; the equipment itself cannot be watched."""

    def __init__(self, generation: Generation) -> None:
        self._mint = weakref.ref(generation.equipment._mint)

    @property
    def is_alive(self) -> bool:
        return self._mint() is not None


class _Closing(Service):
    """Notes at its end which record was the last."""

    def __init__(self, records: list[Record], told: list[str]) -> None:
        self._records = records
        self._told = told

    def stopService(self) -> None:  # noqa: N802
        self._told.append(type(self._records[-1]).__name__)


def _break_down(client: socket.socket) -> None:
    """The record of a message that is far too big breaks the session, see `GatewayCase.write`."""
    with client:
        client.sendall(b"EHLO c.test\r\nMAIL FROM:<a@c.test> SIZE=99999999999\r\n")
        while client.recv(4096):
            pass


def _words(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        return client.recv(1024)


def _finish_content(client: socket.socket) -> bytes:
    with client:
        client.sendall(b"the other half\r\n.\r\n")
        return client.recv(1024)


def _next_turn() -> Deferred[None]:
    return deferLater(reactor, 0, lambda: None)
