"""Clients that go on coming while something happens: each connects, sends a message of its own, and leaves."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from tests.integration.lab.ports import HOST, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAUSE_S: Final = 0.005
LOOPS: Final = 8
GOING_DOWN: Final = b"421 4.3.2 Service shutting down, closing connection\r\n"
_COMMANDS: Final = (b"HELO client.test", b"MAIL FROM:<a@client.test>", b"RCPT TO:<b@upstream.test>", b"DATA")
_CLONE_NEWNET: Final = 0x40000000
_TIMEOUT_S: Final = 30.0


def enter(network: Path | None) -> None:
    """Have this thread's sockets in another network from now on (setns(2))."""
    if network is None:
        return
    number = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(number, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(number)


class Newcomers:
    """A client in each of some threads, every few ms.

    Args:
        port: where they connect.
        network: the namespace that it is in, ``None`` for this one.

    Attributes:
        sent: what was accepted.
        told: how many were told in the middle that the gateway goes down, as a session at rest is.
        failures: of those that were refused, cut off or left waiting.
        slowest_s: the longest wait for a greeting.
    """

    def __init__(self, port: int, network: Path | None = None) -> None:
        self._port = port
        self._network = network
        self._over = threading.Event()
        self.sent: list[bytes] = []
        self.told = 0
        self.failures: list[Exception] = []
        self.slowest_s = 0.0

    def over(self, act: Callable[[], object]) -> None:
        """Be there before, while and after something happens."""
        threads = [threading.Thread(target=self._run, args=(number,)) for number in range(LOOPS)]
        with ExitStack() as stack:
            for thread in threads:
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._over.set)
            wait_until(lambda: len(self.sent) > 2 * LOOPS, "they have come")
            act()
            after = len(self.sent)
            wait_until(lambda: len(self.sent) > after + 2 * LOOPS, "they come still")

    def _run(self, number: int) -> None:
        enter(self._network)
        count = 0
        while not self._over.wait(PAUSE_S):
            count += 1
            try:
                self._converse(b"message %d of %d\r\n" % (count, number))
            except OSError as error:
                self.failures.append(error)

    def _converse(self, content: bytes) -> None:
        begun = time.monotonic()
        with socket.create_connection((HOST, self._port), _TIMEOUT_S) as client, client.makefile("rb") as replies:
            reply = replies.readline()
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            for command in (*_COMMANDS, content + b"."):
                if reply == GOING_DOWN:  # its sender comes again
                    self.told += 1
                    return
                if reply[:1] not in {b"2", b"3"}:
                    raise ConnectionError(f"{reply!r} before {command!r}")
                client.sendall(command + b"\r\n")
                reply = replies.readline()
            if reply[:3] != b"250":
                raise ConnectionError(f"{reply!r} to the content")
            self.sent.append(content)
