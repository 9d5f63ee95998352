"""Start the process of a worker: its channel is descriptor 3, its lines go where ours go.

Source: socketpair(2); sd_notify(3), sd_listen_fds(3), whose variables are meant for one process alone.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from smtpproxy.workers.channel import Channel

CHANNEL: Final = 3
"""The worker's end of its channel."""

FORWARD: Final = "--forward"
"""The worker's lines go through the supervisor, which alone has the log."""

COMMAND: Final = (sys.executable, "-P", "-m", "smtpproxy.worker")

_OURS_ALONE: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@dataclass(frozen=True, slots=True)
class Launch:
    """How workers are started.

    Args:
        command: the program and its first arguments.
        relay: takes a worker's name and a line of its log; without it lines go to our own standard output.
    """

    command: tuple[str, ...] = COMMAND
    relay: Callable[[str, bytes], None] | None = None


class Process(ProcessProtocol):
    """A process of ours, until it is gone.

    Args:
        name: what it is called in the log.
        launch: how it is started.
        ended: told once, with the reason, when it is gone and reaped.

    Attributes:
        alive: whether it runs.
    """

    def __init__(self, name: str, launch: Launch, ended: Callable[[Failure], None]) -> None:
        self.name = name
        self.alive = False
        self._launch = launch
        self._ended = ended
        self._lines: dict[int, bytes] = {}

    def start(self, reactor: Any, channel: Channel) -> None:  # noqa: ANN401 - Twisted's
        """Start it with the other end of a channel.

        Raises:
            OSError: the system has no process or descriptor left.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs, Path(os.devnull).open("rb") as nothing:
            ours.setblocking(False)
            relayed = self._launch.relay is not None
            descriptors = {0: nothing.fileno(), 1: "r" if relayed else 1, 2: "r" if relayed else 2}
            arguments = (*self._launch.command, *((FORWARD,) if relayed else ()), self.name)
            reactor.spawnProcess(
                self, arguments[0], arguments, _environment(), childFDs={**descriptors, CHANNEL: theirs.fileno()}
            )
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, _Ready(channel))
        self.alive = True

    @property
    def pid(self) -> int | None:
        """The process's number."""
        pid: int | None = getattr(self.transport, "pid", None)
        return pid

    def kill(self) -> None:
        """End it whatever it is at, stopped or not."""
        with suppress(ProcessExitedAlready):
            self._transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 - Twisted's
        """Hand on whole lines; a worker bounds its own."""
        *lines, self._lines[childFD] = (self._lines.get(childFD, b"") + data).split(b"\n")
        for line in lines:
            self._relay(line)

    def processExited(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """It is gone; a program that it started may still hold its pipes."""
        self.alive = False
        for line in filter(None, self._lines.values()):
            self._relay(line)
        self._ended(reason)

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - Twisted's process
        return self.transport

    def _relay(self, line: bytes) -> None:
        if self._launch.relay is not None:
            self._launch.relay(self.name, line)


class _Ready(Factory):
    """Stands where Twisted wants a factory: the protocol is made already."""

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, _address: object) -> Channel:  # noqa: N802 - Twisted's
        return self._channel


def adopt_channel(reactor: Any, channel: Channel) -> None:  # noqa: ANN401 - Twisted's
    """In a worker: take the channel that the process was started with."""
    with socket.socket(fileno=CHANNEL) as end:
        end.setblocking(False)
        reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, _Ready(channel))


def _environment() -> dict[str, str]:
    """Ours, with the place of this very program."""
    search = os.pathsep.join(filter(None, map(os.path.abspath, filter(None, sys.path))))
    kept = {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}
    return {**kept, "PYTHONPATH": search}


def how_it_ended(reason: Failure) -> str:
    """Return what the end of a process was, in a few words."""
    error = reason.value
    if isinstance(error, ProcessTerminated):
        return (
            f"signal {error.signal}"
            if error.signal
            else f"status {error.status if error.exitCode is None else error.exitCode}"
        )
    return "it ended"
