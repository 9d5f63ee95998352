"""The sockets that slots share a port with: those that the service manager has kept come first, and it keeps new ones.

Source: socket(7) SO_REUSEPORT, which lets sockets of one user only share; systemd.socket(5).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from smtpproxy.net.keeping import Keeping
from smtpproxy.net.listeners import Binding
from smtpproxy.net.listening import ListenError
from smtpproxy.transport.tcp import open_shared
from smtpproxy.transport.transparent import make_transparent
from smtpproxy.workers.slots import Place, Slot, place_of


class SharedPorts:
    """Opens, keeps and gives up the sockets of slots.

    Args:
        keeping: has sockets that listen already, and those that are to outlive the process.
    """

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._given: dict[Place, list[socket.socket]] = {}

    def open(self, bind: Binding, alone: bool) -> socket.socket:  # noqa: FBT001 - as `Open` has it
        """Return a socket that listens on an address, beside those of other slots there.

        One that the system's manager has opened cannot be joined by others, so all slots serve that one.

        Raises:
            ListenError: the address is taken or not ours, or what was kept does not fit.
        """
        place = place_of(bind)
        if place not in self._given:
            self._given[place] = list(self._keeping.take(*place))
        given = self._given[place]
        try:
            if not given:
                return open_shared(*place, alone=alone, transparent=bind.transparent)
            return _fitted(given[0].dup() if _is_foreign(given[0]) else given.pop(0), bind)
        except OSError as error:
            raise ListenError(*place, error) from error

    def rest(self, binds: Iterable[Binding]) -> list[tuple[Place, socket.socket]]:
        """Return what was kept for more slots, or for other addresses: it is to be served until it is empty."""
        given, self._given = self._given, {}
        found = [(place, each) for place, kept in given.items() for each in kept if not _is_foreign(each)]
        for each in (each for kept in given.values() for each in kept if _is_foreign(each)):
            each.close()
        for bind in binds:
            found += [(place_of(bind), each) for each in self._keeping.take_port(bind.port)]
        self._keeping.close_others()
        return found

    def keep(self, slots: Iterable[Slot]) -> None:
        """Have every socket outlive the process."""
        for slot in slots:
            for each in slot.sockets.values():
                self._keeping.keep(each, slot.number)
        self._given.clear()

    def give_up(self, sockets: Iterable[socket.socket], slots: Iterable[Slot]) -> None:
        """Close sockets, and have none of them outlive the process unless a slot still serves it."""
        served = {_number(each) for slot in slots for each in slot.sockets.values()}
        for each in sockets:
            if _number(each) not in served:
                self._keeping.drop(each)
            each.close()


def _fitted(kept: socket.socket, bind: Binding) -> socket.socket:
    kept.setblocking(False)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if bind.transparent:
        make_transparent(kept)
    return kept


def _is_foreign(kept: socket.socket) -> bool:
    return os.fstat(kept.fileno()).st_uid != os.geteuid()


def _number(listening: socket.socket) -> int:
    return os.fstat(listening.fileno()).st_ino
