"""A service manager that stands in for systemd: it hears a gateway, keeps its sockets, and starts it anew with them.

Source: sd_notify(3), sd_listen_fds(3), systemd.service(5) FileDescriptorStoreMax=, Type=notify.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.lab.ports import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WATCHDOG_S = 0.4
_HANDING_OVER = Path(__file__).with_name("handing_over.py")
_MESSAGE_OCTETS = 4096
_DESCRIPTORS = 8


class ServiceManager:
    """Starts and hears one service.

    Args:
        folder: for its socket.
        units: what socket units listen on, by name.

    Attributes:
        messages: what it was told, assignments by name, in order.
        store: the sockets that it keeps, by name.
    """

    def __init__(self, folder: Path, units: Mapping[str, socket.socket] | None = None) -> None:
        self.messages: list[dict[str, str]] = []
        self.store: dict[str, socket.socket] = {}
        self._units = {} if units is None else units
        self._path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._over, self._end = os.pipe()
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()

    def start(self, command: Sequence[str | Path], folder: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a program with what it keeps."""
        self.messages.clear()
        given = {**self._units, **self.store}
        named = [f"{name}={kept.fileno()}" for name, kept in given.items()]
        told = {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000))}
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, _HANDING_OVER, *named, "--", *command],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **told},
                pass_fds=[kept.fileno() for kept in given.values()],
            )

    def is_up(self, _port: int) -> bool:
        """Whether it has said so since it was started."""
        return "1" in self.heard("READY")

    def heard(self, name: str) -> list[str]:
        """Return the values that were told of a name."""
        return [message[name] for message in list(self.messages) if name in message]

    def await_word(self, name: str, value: str = "1", count: int = 1) -> None:
        """Wait until an assignment was told so many times."""
        wait_until(lambda: self.heard(name).count(value) >= count, f"the service manager hears {name}={value}")

    def let_go(self) -> None:
        """Keep nothing any more, as when the service is stopped for good."""
        while self.store:
            self.store.popitem()[1].close()

    def close(self) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._over)
        self._socket.close()
        self.let_go()

    def _hear(self) -> None:
        while True:
            readable, _, _ = select.select([self._socket.fileno(), self._over], [], [])
            if self._over in readable:
                return
            octets, numbers, _, _ = socket.recv_fds(self._socket, _MESSAGE_OCTETS, _DESCRIPTORS)
            self._take(octets.decode(), [socket.socket(fileno=number) for number in numbers])

    def _take(self, text: str, sockets: list[socket.socket]) -> None:
        message = dict(line.split("=", 1) for line in text.split("\n"))
        if "FDSTORE" in message:
            (self.store[message["FDNAME"]],) = sockets
        if "FDSTOREREMOVE" in message:
            self.store.pop(message["FDNAME"]).close()
        self.messages.append(message)
