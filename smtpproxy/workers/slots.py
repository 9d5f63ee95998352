"""The slots of workers: each has a socket of its own for every address, kept here whoever serves it.

A socket that nobody reads goes on attracting connections, so the sockets belong to the slot and not to the process:
the next process finds what waits there.

Source: socket(7) SO_REUSEPORT; the kernel's net/core/sock_reuseport.c.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from twisted.internet.interfaces import IDelayedCall

from smtpproxy.errors import SmtpProxyError
from smtpproxy.net.listeners import Binding
from smtpproxy.workers.worker import Worker

STEADY_S: Final = 3.0
"""A worker that lived so long did not die of its start, which takes a second: nobody should wait for the next one."""

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0

Place: TypeAlias = tuple[str, int]
"""The address and the port of a socket."""

Sockets: TypeAlias = dict[Place, socket.socket]

Open: TypeAlias = Callable[[Binding, bool], socket.socket]
"""Opens a socket that listens and may share its port; the second argument is whether none of ours is there already."""


class NoRoom(SmtpProxyError):  # noqa: N818 - it says what is wrong
    """Further workers cannot have the ports of the present ones."""


def place_of(bind: Binding) -> Place:
    """Return where a binding is."""
    return bind.interface, bind.port


class Slot:
    """Where a worker stands.

    Args:
        number: from 1.

    Attributes:
        worker: who serves it.
        sockets: what it serves.
        starting: the start that is waited for.
        rest: what its first worker serves until it is empty.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: Worker | None = None
        self.sockets: Sockets = {}
        self.starting: IDelayedCall | None = None
        self.rest: list[tuple[Place, socket.socket]] = []
        self._deaths = 0

    @property
    def is_served(self) -> bool:
        """Whether its worker takes connections."""
        return self.worker is not None and self.worker.serves

    @property
    def has_died(self) -> bool:
        """Whether any of its workers has."""
        return self._deaths > 0

    def pause_s(self, lived_s: float) -> float:
        """Return how long to wait until the next start: nothing, but for one that dies again and again."""
        self._deaths = 1 if lived_s >= STEADY_S else self._deaths + 1
        return 0.0 if self._deaths == 1 else min(FIRST_PAUSE_S * 2.0 ** (self._deaths - 2), LONGEST_PAUSE_S)

    def keep(self, places: Iterable[Place]) -> list[socket.socket]:
        """Let go of every socket that is at none of these places, and return them; a worker that has one listens on."""
        return [self.sockets.pop(place) for place in self.sockets.keys() - set(places)]

    def start_no_more(self) -> None:
        """Forget a start that is waited for."""
        if self.starting is not None:
            self.starting.cancel()
            self.starting = None


class Opened:
    """Sockets that slots lacked, until the slots have them.

    Args:
        slots: which are to have them.
        binds: where.
        open_socket: opens one.

    Raises:
        NoRoom: a further slot cannot have a port that another has.
        ListenError: an address cannot be listened on; whatever was opened is closed again.
    """

    def __init__(self, slots: Sequence[Slot], binds: Sequence[Binding], open_socket: Open) -> None:
        self._taken = {port for slot in slots for _, port in slot.sockets}
        self._fresh: dict[Slot, Sockets] = {slot: {} for slot in slots}
        try:
            for bind in binds:
                self._open(slots, bind, open_socket)
        except Exception:
            self.close()
            raise

    def places(self, slot: Slot) -> list[Place]:
        """Return where a slot's new sockets are."""
        return sorted(self._fresh[slot])

    def hand_over(self) -> None:
        """Have the slots keep them."""
        for slot, sockets in self._fresh.items():
            slot.sockets.update(sockets)

    def close(self) -> None:
        """Open nothing after all."""
        for sockets in self._fresh.values():
            for each in sockets.values():
                each.close()

    def _open(self, slots: Sequence[Slot], bind: Binding, open_socket: Open) -> None:
        place = place_of(bind)
        is_held = any(place in slot.sockets for slot in slots)
        for slot in slots:
            if place in slot.sockets:
                continue
            try:
                self._fresh[slot][place] = open_socket(bind, bind.port not in self._taken)
            except SmtpProxyError as error:
                raise NoRoom(f"{error}; restart to change gateway.workers") if is_held else error from None
            self._taken.add(bind.port)
