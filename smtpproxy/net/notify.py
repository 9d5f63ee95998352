"""Tell the service manager how the gateway is, and have it keep sockets over a restart.

Source: sd_notify(3), sd_pid_notify_with_fds(3), sd_watchdog_enabled(3); unix(7).
"""

from __future__ import annotations

import os
import socket
import time
from array import array
from collections import deque
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

WAITING: Final = 1024
"""Messages that the manager had no room for yet; more than there are sockets to be kept."""

RETRY_S: Final = 0.1

_US_IN_S: Final = 1_000_000
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

_log = Logger(namespace="smtpproxy")


@dataclass(frozen=True, slots=True)
class Manager:
    """Who started this process, and what it wants to hear.

    Args:
        address: where it listens: a path, or ``@`` and an abstract name; ``None`` for nobody.
        watchdog_s: after how many seconds of silence it takes the process for hung, ``None`` for never.
    """

    address: str | None
    watchdog_s: float | None


def find_manager(environ: MutableMapping[str, str] = os.environ) -> Manager:
    """Return who wants to hear from this process.

    The variables that tell are taken out, so that no program that is started from here speaks in its name.
    """
    told = {name: environ.pop(name, "") for name in _VARIABLES}
    concerns_us = told["WATCHDOG_PID"] in {"", str(os.getpid())}
    watchdog_us = int(told["WATCHDOG_USEC"]) if told["WATCHDOG_USEC"].isdecimal() and concerns_us else 0
    return Manager(told["NOTIFY_SOCKET"] or None, watchdog_us / _US_IN_S or None)


class Notifier:
    """Sends a service manager what it is told, in order, and never waits: what has no room yet is sent a little later.

    Args:
        reactor: Twisted's.
        address: as in ``Manager``; ``None`` has everything come to nothing.
    """

    def __init__(self, reactor: Any, address: str | None) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._address = address
        self._waiting: deque[_Message] = deque()
        self._retry: IDelayedCall | None = None
        self._is_down = False
        self._socket = None
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @property
    def is_heard(self) -> bool:
        """Whether there is a manager at all."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Say that the gateway serves; after a reload, that it is over."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """Say that a reload has begun."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str, within_s: float) -> None:
        """Say that the end has begun, and after how many seconds at most it is reached."""
        self._send(f"STOPPING=1\nSTATUS={_line(status)}\nEXTEND_TIMEOUT_USEC={int(within_s * _US_IN_S)}")

    def status(self, text: str) -> None:
        """Say what the gateway is at, in one line; not if the manager has more to hear already."""
        if not self._waiting:
            self._send(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """Say that the reactor turns."""
        if not self._waiting:
            self._send("WATCHDOG=1")

    def store(self, name: str, kept: socket.socket) -> None:
        """Have a socket kept while the gateway is restarted.

        Args:
            name: at most 255 printable ASCII characters, no colon.
            kept: a duplicate of it is kept.
        """
        self._send(f"FDSTORE=1\nFDNAME={name}", kept)

    def remove(self, name: str) -> None:
        """Have the sockets of a name kept no longer."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        """Tell nothing any more."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _send(self, text: str, carried: socket.socket | None = None) -> None:
        if self._socket is None:
            return
        if len(self._waiting) >= WAITING:
            self._tell("it takes nothing")
            return
        self._waiting.append(_Message(text.encode(), carried))
        if self._retry is None:
            self._flush()

    def _flush(self) -> None:
        self._retry = None
        while self._waiting and self._socket is not None:
            try:
                self._waiting[0].send(self._socket, _socket_address(self._address or ""))
            except BlockingIOError:
                self._retry = self._reactor.callLater(RETRY_S, self._flush)
                return
            except OSError as error:
                self._tell(error.strerror or str(error))
            else:
                self._is_down = False
            self._waiting.popleft()

    def _tell(self, reason: str) -> None:
        if not self._is_down:
            _log.warn("the service manager at {address} is not told: {reason}", address=self._address, reason=reason)
        self._is_down = True


@dataclass(frozen=True, slots=True)
class _Message:
    octets: bytes
    carried: socket.socket | None

    def send(self, through: socket.socket, address: bytes) -> None:
        if self.carried is None:
            through.sendto(self.octets, address)
        elif self.carried.fileno() >= 0:  # else it was closed while the message waited
            rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [self.carried.fileno()])
            through.sendmsg([self.octets], [rights], 0, address)  # `socket.send_fds` forgets the address


def _socket_address(address: str) -> bytes:
    octets = os.fsencode(address)
    return b"\0" + octets[1:] if octets.startswith(b"@") else octets


def _line(text: str) -> str:
    return " ".join(text.split())
