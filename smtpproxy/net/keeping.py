"""Listening sockets that outlive the process: those of a socket unit, and those that the service manager keeps for us.

A connection that comes while nobody runs waits in their queue for the next process.

Source: systemd.service(5) FileDescriptorStoreMax=; sd_pid_notify_with_fds(3) FDNAME=; systemd.socket(5).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Final

from twisted.logger import Logger

from smtpproxy.endpoint import Endpoint
from smtpproxy.net.listening import ListenError
from smtpproxy.net.notify import Notifier
from smtpproxy.transport.activation import Activated

_OURS: Final = "kept"
_EX_CONFIG: Final = 78

_log = Logger(namespace="smtpproxy")


class UnfitSocketError(ListenError):
    """A socket that was handed over cannot be what the configuration asks for."""

    def __init__(self, given: Activated) -> None:
        host, port = given.address
        Exception.__init__(
            self,
            f"[{host}]:{port}: the socket {given.name} takes IPv4 too; give its socket unit BindIPv6Only=ipv6-only, "
            "and a ListenStream of its own for IPv4",
        )
        self.status = _EX_CONFIG


class Keeping:
    """Hands out what was kept, and has the service manager keep what is new.

    Args:
        notifier: tells the service manager.
        given: what the process was started with.
    """

    def __init__(self, notifier: Notifier, given: Iterable[Activated] = ()) -> None:
        self._notifier = notifier
        self._given = list(given)
        self._names = {_number(each.socket): each.name for each in self._given}  # of all that outlive the process

    def take(self, host: str, port: int) -> list[socket.socket]:
        """Return the sockets that listen on an address already, in the order of their slots; they are the caller's.

        Raises:
            UnfitSocketError: one takes more than this address.
        """
        found = sorted((each for each in self._given if each.address == (host, port)), key=lambda each: each.name)
        for each in found:
            if each.takes_both_families:
                raise UnfitSocketError(each)
            self._given.remove(each)
        return [each.socket for each in found]

    def take_port(self, port: int) -> list[socket.socket]:
        """Return the sockets of ours that listen on a port, whatever their address; they are the caller's to close."""
        found = [each for each in self._given if each.address[1] == port and is_kept_for_us(each.name)]
        for each in found:
            self._given.remove(each)
        return [each.socket for each in found]

    def close_others(self) -> None:
        """Close what nobody has taken."""
        given, self._given = self._given, []
        for each in given:
            _log.info("{name}: nothing is served at {where} any more", name=each.name, where=_where(each.socket))
            self.drop(each.socket)
            each.socket.close()

    def keep(self, listening: socket.socket, slot: int = 0) -> None:
        """Have a socket kept from now on, unless it is."""
        number = _number(listening)
        if number not in self._names:
            host, port = listening.getsockname()[:2]
            self._names[number] = socket_name(host, port, slot)
            self._notifier.store(self._names[number], listening)

    def drop(self, listening: socket.socket) -> None:
        """Have a socket that is about to be closed kept no longer."""
        name = self._names.pop(_number(listening), None)
        if name is None:
            return
        if is_kept_for_us(name):
            self._notifier.remove(name)
        else:
            _log.warn(
                "{name} goes on listening on {where}, where clients will wait in vain: take it out of the socket unit",
                name=name,
                where=_where(listening),
            )


def socket_name(host: str, port: int, slot: int) -> str:
    """Return what a kept socket is called, which may have no colon."""
    return "_".join((_OURS, host.replace(":", "-"), str(port), str(slot)))


def is_kept_for_us(name: str) -> bool:
    """Return whether it is a name that we gave, not a socket unit."""
    return name.startswith(f"{_OURS}_")


def _number(listening: socket.socket) -> int:
    """What tells sockets from each other, whichever descriptor they have."""
    return os.fstat(listening.fileno()).st_ino


def _where(listening: socket.socket) -> str:
    return str(Endpoint(*listening.getsockname()[:2]))
