"""A slot whose worker is gone, or has not begun yet, is served by another slot's worker beside its own.

The kernel goes on sending connections to the slot's sockets, where they would wait until the next process has begun; if
each dies again at its start, for long.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from smtpproxy.workers.channel import NoAnswer, Refused
from smtpproxy.workers.slots import Place, Slot
from smtpproxy.workers.worker import Worker

STAND_IN: Final = "stand in"
STAND_DOWN: Final = "stand down"
"""What a worker is told."""

PATIENCE_S: Final = 10.0
"""To begin to accept; whoever is late hangs, and is soon found out by its pulse."""

_log = Logger(namespace="smtpproxy")


class StandingIn:
    """Knows who stands in for which slot."""

    def __init__(self) -> None:
        self._by: dict[Slot, Worker] = {}

    def of(self, slot: Slot) -> Worker | None:
        """Return who stands in for a slot."""
        return self._by.get(slot)

    def arrange(self, slots: Sequence[Slot]) -> None:
        """Have somebody stand in for each slot that nobody serves, and for no other."""
        able = [slot.worker for slot in slots if slot.worker is not None and slot.is_served]
        open_slots = [slot for slot in slots if not slot.is_served and slot.sockets]
        for slot, worker in list(self._by.items()):
            if slot not in open_slots or worker not in able:
                self._end(slot)
        for slot in open_slots:
            if slot not in self._by and able:
                self._begin(slot, self._freest(able))

    def renew(self, slots: Sequence[Slot]) -> None:
        """Arrange it anew: the slots have other sockets than before."""
        before = dict(self._by)
        self.arrange(slots)
        for slot, worker in before.items():
            if self._by.get(slot) is worker:
                self._begin(slot, worker)

    def _freest(self, able: Iterable[Worker]) -> Worker:
        burdens = Counter(worker.name for worker in self._by.values())
        return min(able, key=lambda worker: burdens[worker.name])

    def _begin(self, slot: Slot, worker: Worker) -> None:
        try:
            sockets = _copies(slot)
        except OSError as error:  # whoever is to be started meanwhile must not wait for it
            _log.error("nobody can stand in for worker {number}: {error}", number=slot.number, error=error.strerror)
            if slot in self._by:
                self._end(slot)
            return
        self._by[slot] = worker
        body = {"slot": slot.number, "places": list(sockets)}
        descriptors = [each.fileno() for each in sockets.values()]
        asked: Deferred[object] = worker.ask(STAND_IN, body, patience_s=PATIENCE_S, descriptors=descriptors)
        asked.addBoth(_close_all, sockets.values())
        asked.addErrback(lambda failure: failure.trap(NoAnswer, Refused))
        asked.addErrback(lambda failure: _log.failure("standing in broke", failure))

    def _end(self, slot: Slot) -> None:
        self._by.pop(slot).tell(STAND_DOWN, slot.number)


def _copies(slot: Slot) -> dict[Place, socket.socket]:
    """Return sockets that a channel may need a while longer than the slot."""
    copies: dict[Place, socket.socket] = {}
    try:
        for place, each in slot.sockets.items():
            copies[place] = each.dup()
    except OSError:
        _close_all(None, copies.values())
        raise
    return copies


def _close_all(result: object, sockets: Iterable[socket.socket]) -> object:
    for each in sockets:
        each.close()
    return result
