from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from smtpproxy.workers.channel import NoAnswer
from smtpproxy.workers.slots import Slot
from smtpproxy.workers.standing_in import STAND_DOWN, STAND_IN, StandingIn

HOST = "127.0.0.1"


class FakeWorker:
    """Hears what it is told; has an answer when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.serves = True
        self.told: list[tuple[str, Any]] = []
        self.asked: list[Deferred[Any]] = []
        self.ports: list[int] = []

    def ask(self, what: str, body: Any, *, patience_s: float, descriptors: Sequence[int]) -> Deferred[Any]:  # noqa: ANN401
        assert patience_s > 0
        self.told.append((what, body["slot"]))
        for descriptor in descriptors:
            with socket.socket(fileno=os.dup(descriptor)) as given:
                self.ports.append(given.getsockname()[1])
        self.asked.append(Deferred())
        return self.asked[-1]

    def tell(self, what: str, body: Any = None) -> None:  # noqa: ANN401 - what a line says
        self.told.append((what, body))


class House:
    """Slots with a socket each, and workers in them."""

    def __init__(self) -> None:
        self.slots = [Slot(1), Slot(2), Slot(3)]
        for slot in self.slots:
            listening = socket.create_server((HOST, 0))
            slot.sockets[HOST, 25] = listening
            slot.worker = FakeWorker(f"worker {slot.number}")  # type: ignore[assignment]
        self.standing_in = StandingIn()

    def worker(self, number: int) -> FakeWorker:
        worker: Any = self.slots[number - 1].worker
        found: FakeWorker = worker
        return found

    def port(self, number: int) -> int:
        port: int = self.slots[number - 1].sockets[HOST, 25].getsockname()[1]
        return port

    def arrange(self) -> None:
        self.standing_in.arrange(self.slots)

    def close(self) -> None:
        for slot in self.slots:
            for each in slot.keep(()):
                each.close()
            if slot.worker is not None:
                for asked in self.worker(slot.number).asked:
                    if not asked.called:
                        asked.callback(None)


@pytest.fixture
def house() -> Iterator[House]:
    with closing(House()) as house:
        yield house


def test_while_everybody_serves_nobody_stands_in(house: House) -> None:
    house.arrange()
    assert [house.worker(number).told for number in (1, 2, 3)] == [[], [], []]


def test_a_slot_without_a_worker_has_its_sockets_served_by_another_until_it_has_one(house: House) -> None:
    gone, house.slots[1].worker = house.slots[1].worker, None
    house.arrange()
    house.arrange()
    one = house.worker(1)
    assert house.standing_in.of(house.slots[1]) is house.slots[0].worker
    assert (one.told, one.ports) == ([(STAND_IN, 2)], [house.port(2)])
    house.slots[1].worker = gone
    house.arrange()
    assert one.told == [(STAND_IN, 2), (STAND_DOWN, 2)]
    assert house.standing_in.of(house.slots[1]) is None


def test_a_worker_that_has_not_begun_serves_nobody(house: House) -> None:
    house.worker(3).serves = False
    house.arrange()
    assert house.worker(1).told == [(STAND_IN, 3)]


def test_the_burden_is_shared(house: House) -> None:
    house.slots.append(Slot(4))
    house.slots[3].sockets[HOST, 25] = socket.create_server((HOST, 0))
    house.slots[1].worker = house.slots[3].worker = None
    house.arrange()
    assert house.worker(1).told == [(STAND_IN, 2)]
    assert house.worker(3).told == [(STAND_IN, 4)]


def test_whoever_stands_in_and_dies_is_followed_by_another(house: House) -> None:
    house.slots[1].worker = None
    house.arrange()
    house.worker(1).asked[0].errback(NoAnswer("gone"))
    house.slots[0].worker = None
    house.arrange()
    assert sorted(house.worker(3).told) == [(STAND_IN, 1), (STAND_IN, 2)]


def test_where_nobody_is_left_the_first_that_begins_stands_in(house: House) -> None:
    workers = [slot.worker for slot in house.slots]
    for slot in house.slots:
        slot.worker = None
    house.arrange()
    house.slots[2].worker = workers[2]
    house.arrange()
    assert house.worker(3).told == [(STAND_IN, 1), (STAND_IN, 2)]


def test_a_slot_without_sockets_needs_nobody(house: House) -> None:
    house.slots[1].worker = None
    for each in house.slots[1].keep(()):
        each.close()
    house.arrange()
    assert house.worker(1).told == []


def test_other_sockets_are_given_anew(house: House) -> None:
    house.slots[1].worker = None
    house.arrange()
    house.slots[1].sockets[HOST, 26] = socket.create_server((HOST, 0))
    house.standing_in.renew(house.slots)
    assert house.worker(1).told == [(STAND_IN, 2), (STAND_IN, 2)]
    assert len(house.worker(1).ports) == 3


def test_what_was_given_is_ours_to_close_when_it_has_arrived(house: House) -> None:
    house.slots[1].worker = None
    before = descriptors()
    house.arrange()
    assert descriptors() == before + 1
    house.worker(1).asked[0].callback(None)
    assert descriptors() == before


def test_without_a_descriptor_left_the_supervisor_goes_on_and_tries_again(house: House) -> None:
    house.slots[1].worker = None
    house.slots[1].sockets[HOST, 26] = socket.create_server((HOST, 0))
    before = descriptors()
    with capturedLogs() as told:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free() + 1, hard))  # room for one of two
        try:
            house.arrange()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "nobody can stand in for worker 2: Too many open files" in [formatEvent(event) for event in told]
    assert house.standing_in.of(house.slots[1]) is None
    assert descriptors() == before
    house.arrange()
    assert house.worker(1).told == [(STAND_IN, 2)]


def lowest_free() -> int:
    with Path(os.devnull).open("rb") as opened:
        return opened.fileno()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
