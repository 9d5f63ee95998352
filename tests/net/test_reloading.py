from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from smtpproxy.errors import SmtpProxyError
from smtpproxy.net.reloading import SWITCH_INTERVAL_S, Reloading

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproxy.net.gateway import Gateway
    from smtpproxy.net.generation import Generation


class Loaded:
    """Stands for a generation; notes its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = False

    async def end(self) -> None:
        self.ended = True


class House:
    """Stands for the gateway, and for what is loaded."""

    def __init__(self) -> None:
        self.running = 1
        self.newest = Loaded(1)
        self.made: list[Loaded] = []
        self.threads: list[threading.Thread] = []
        self.broken: dict[str, Exception] = {}
        self.go_on = threading.Event()
        self.go_on.set()

    def reopen(self) -> None:
        self._do("reopen")

    def load(self) -> Generation:
        self._do("load")
        self.made.append(Loaded(2 + len(self.made)))
        return cast("Generation", self.made[-1])

    def adopt(self, generation: Loaded) -> None:
        self._break("adopt")
        self.newest = generation

    def _do(self, name: str) -> None:
        self.threads.append(threading.current_thread())
        assert sys.getswitchinterval() <= SWITCH_INTERVAL_S
        self.go_on.wait(10)
        self._break(name)

    def _break(self, name: str) -> None:
        if name in self.broken:
            raise self.broken[name]


class ReloadingTests(TestCase):
    def setUp(self) -> None:
        self.house = House()
        self.reloading = Reloading(cast("Gateway", self.house), self.house.reopen, self.house.load)

    async def reload(self, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
        """Reload, and return what the log has of it."""
        with capturedLogs() as events:
            self.house.go_on.clear()
            self.answer = self.reloading.request()
            meanwhile()
            self.house.go_on.set()
            self.mistakes = await self.answer
        return [str(event["log_format"]).format(**event) for event in events]

    async def test_the_gateway_adopts_what_was_loaded_in_another_thread(self) -> None:
        before = sys.getswitchinterval()
        assert self.reloading.last is None
        assert await self.reload() == ["reload begun"]
        assert self.mistakes == []
        assert self.reloading.last is not None
        assert self.house.newest is self.house.made[0]
        assert threading.main_thread() not in self.house.threads
        assert sys.getswitchinterval() == before

    async def test_every_mistake_is_told_and_nothing_changes(self) -> None:
        self.house.broken["load"] = SmtpProxyError("a.yaml:1:2: one\na.yaml:3:4: two")
        assert await self.reload() == [
            "reload begun",
            "a.yaml:1:2: one",
            "a.yaml:3:4: two",
            "reload refused, generation 1 goes on",
        ]
        assert self.mistakes == ["a.yaml:1:2: one", "a.yaml:3:4: two"]
        assert self.reloading.last is not None
        assert self.reloading.last.mistakes == ("a.yaml:1:2: one", "a.yaml:3:4: two")
        assert self.house.made == []

    async def test_record_files_that_cannot_be_opened_refuse_what_was_loaded(self) -> None:
        self.house.broken["reopen"] = OSError("no such disk")
        assert await self.reload() == ["reload begun", "no such disk", "reload refused, generation 1 goes on"]
        assert [each.ended for each in self.house.made] == [True]

    async def test_record_files_are_reopened_beside_a_broken_configuration(self) -> None:
        self.house.broken = {"load": SmtpProxyError("broken"), "reopen": SmtpProxyError("closed")}
        assert (await self.reload())[1:3] == ["closed", "broken"]

    async def test_ports_that_cannot_be_had_end_what_was_loaded(self) -> None:
        self.house.broken["adopt"] = SmtpProxyError("127.0.0.1:25: cannot listen")
        assert (await self.reload())[1] == "127.0.0.1:25: cannot listen"
        assert self.house.newest.number == 1
        assert [each.ended for each in self.house.made] == [True]

    async def test_a_reload_that_breaks_is_a_refusal_too_and_the_next_one_works(self) -> None:
        self.house.broken["load"] = KeyError("unforeseen")
        assert (await self.reload())[-2:] == ["internal error", "reload refused, generation 1 goes on"]
        assert len(self.flushLoggedErrors(KeyError)) == 1  # type: ignore[no-untyped-call]
        self.house.broken.clear()
        await self.reload()
        assert self.house.newest is self.house.made[0]

    async def test_an_unforeseen_break_of_the_switch_ends_what_was_loaded(self) -> None:
        self.house.broken["adopt"] = KeyError("unforeseen")
        assert (await self.reload())[-1] == "reload refused, generation 1 goes on"
        assert len(self.flushLoggedErrors(KeyError)) == 1  # type: ignore[no-untyped-call]
        assert [each.ended for each in self.house.made] == [True]

    async def test_what_is_asked_for_meanwhile_is_done_once_behind_it(self) -> None:
        asked: list[Deferred[list[str]]] = []

        def ask_again() -> None:
            asked.extend(self.reloading.request() for _ in range(5))

        with capturedLogs() as events:
            await self.reload(ask_again)
            assert not any(each.called for each in asked)
            await gatherResults(asked)
        assert len(events) == 2
        assert self.house.newest is self.house.made[1]

    async def test_each_request_gets_the_answer_of_the_reload_that_began_behind_it(self) -> None:
        asked: list[Deferred[list[str]]] = []

        def break_and_ask() -> None:
            asked.append(self.reloading.request())
            self.answer.addCallback(lambda mistakes: self.house.broken.update(load=SmtpProxyError("later")) or mistakes)

        await self.reload(break_and_ask)
        assert self.mistakes == []
        assert await asked[0] == ["later"]
        assert self.house.newest is self.house.made[0]

    async def test_whoever_asks_when_an_answer_comes_gets_a_reload_of_its_own(self) -> None:
        asked: list[Deferred[list[str]]] = []
        again = self.reloading.request().addCallback(lambda _: asked.append(self.reloading.request()))
        await again
        assert await asked[0] == []
        assert len(self.house.made) == 2

    async def test_a_stopping_gateway_adopts_nothing(self) -> None:
        def stop() -> None:
            self.house.running = 0

        assert (await self.reload(stop))[1:] == ["the gateway is stopping", "reload refused, generation 1 goes on"]
        assert [each.ended for each in self.house.made] == [True]
        assert await self.reload() == ["reload not begun, the gateway is stopping"]
        assert self.mistakes == ["the gateway is stopping"]
