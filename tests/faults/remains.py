"""What sessions leave behind: nothing, soon."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpproxy.net.driver import Driver
from smtpproxy.session.session import Session
from smtpproxy.transport.stream import Stream
from tests.faults.wire import reactor, turns

if TYPE_CHECKING:
    from smtpproxy.net.gateway import Gateway

_LIMIT_S: Final = 10.0  # more than any close may take: 2 s for a peer that keeps its half open


class Remains:
    """Compares with how it was before the first session."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._descriptors, self._calls = _descriptors(), _calls()

    async def vanish(self) -> None:
        """Return when no driver, descriptor or delayed call is left."""
        deadline = time.monotonic() + _LIMIT_S
        while self._are_there():
            assert time.monotonic() < deadline, (self._gateway.sessions_running, _descriptors(), _calls())
            await turns(1)

    def _are_there(self) -> bool:
        more_open = _descriptors() > self._descriptors
        return self._gateway.sessions_running > 0 or more_open or _calls() > self._calls


async def forget_all_but(count: int) -> None:
    """Return when only so many drivers, sessions and streams are in memory; a thread may have the last at hand."""
    deadline = time.monotonic() + _LIMIT_S
    while (now := living()) > count:
        assert time.monotonic() < deadline, f"{now} in memory"
        await turns(100)


def living() -> int:
    """Return how many drivers, sessions and streams there are in memory."""
    gc.collect()
    return sum(isinstance(each, Driver | Session | Stream) for each in gc.get_objects())


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _calls() -> int:
    return len(reactor.getDelayedCalls())
