from __future__ import annotations

from typing import Any

from smtpproxy.net.blocklist import Blocked, Blocklist
from smtpproxy.workers.blocking import Telling, hear, read, written

NOW = 1_000_000.0
ENTRY = Blocked("192.0.2.1", NOW + 60.0, "noise")


class Worker:
    """Keeps a block list as a worker does, by what it is told."""

    def __init__(self) -> None:
        self.blocklist = Blocklist(lambda: NOW)

    def tell(self, what: str, body: Any = None) -> None:  # noqa: ANN401 - what a line says
        if what == "blocked":
            self.blocklist.take([read(body)])
        else:
            assert what == "lifted"
            self.blocklist.forget(body)


def _shared(workers: list[Worker]) -> Blocklist:
    shared = Blocklist(lambda: NOW)
    shared.watch(Telling(lambda: workers))
    return shared


def test_what_a_worker_blocks_reaches_every_other_as_it_was() -> None:
    workers = [Worker(), Worker()]
    shared = _shared(workers)
    hear(shared, "blocked", written(ENTRY))
    assert [each.blocklist.entries() for each in workers] == [[ENTRY], [ENTRY]]
    assert shared.lift(ENTRY.address)
    assert not any(each.blocklist.is_blocked(ENTRY.address) for each in workers)


def test_an_earlier_end_changes_nothing_and_is_told_to_nobody() -> None:
    workers: list[Worker] = []
    shared = _shared(workers)
    hear(shared, "blocked", written(ENTRY))
    workers.append(Worker())
    hear(shared, "blocked", written(Blocked(ENTRY.address, NOW + 5.0, "later news")))
    assert shared.entries() == [ENTRY]
    assert workers[0].blocklist.entries() == []


def test_a_worker_lifts_nothing() -> None:
    shared = _shared([])
    hear(shared, "blocked", written(ENTRY))
    hear(shared, "lifted", ENTRY.address)
    assert shared.is_blocked(ENTRY.address)
