"""Reload: load the configuration anew beside the reactor, then switch to it whole, or say what is wrong with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from smtpproxy.errors import SmtpProxyError

SWITCH_INTERVAL_S = 0.0005
"""How long the loading thread goes on while the reactor waits for its turn, as it does after each system call."""

_STOPPING: Final = "the gateway is stopping"

_T = TypeVar("_T")

_log = Logger(namespace="smtpproxy")


class _State(Enum):
    IDLE = auto()
    LOADING = auto()


class Loaded(Protocol):
    """What was loaded, and is in force or not."""

    @property
    def number(self) -> int:
        """Counts what came into force."""

    async def end(self) -> None:
        """Give up what it has."""


class Adopter(Protocol):
    """Goes over from one thing that was loaded to another."""

    @property
    def running(self) -> bool | int:
        """Whether it does not stop."""

    @property
    def newest(self) -> Loaded:
        """What is in force."""

    def adopt(self, loaded: Any, /) -> Awaitable[None] | None:  # noqa: ANN401 - what it has loaded
        """Go over, or raise and stay."""


@dataclass(frozen=True, slots=True)
class Reload:
    """A reload that is over.

    Args:
        ended_s: when, in seconds since the epoch.
        mistakes: what refused it; none if what was loaded is in force.
    """

    ended_s: float
    mistakes: tuple[str, ...]


class Reloading:
    """Reloads on request, one at a time.

    Args:
        gateway: adopts what was loaded.
        reopen: has the record files opened anew, whatever comes of the load; called in a thread.
        load: makes what is to be adopted of the configuration as it is now; called in a thread.

    Attributes:
        last: the reload that ended last, ``None`` before the first.
    """

    def __init__(self, gateway: Adopter, reopen: Callable[[], None], load: Callable[[], Loaded]) -> None:
        self.last: Reload | None = None
        self._gateway = gateway
        self._reopen = reopen
        self._load = load
        self._state = _State.IDLE
        self._asked: list[Deferred[list[str]]] = []

    def request(self) -> Deferred[list[str]]:
        """Reload; behind the reload that is under way, once however often it is asked for meanwhile.

        Returns:
            the mistakes that it was refused for, one a line, when it is over.
        """
        if not self._gateway.running:
            _log.warn("reload not begun, {reason}", reason=_STOPPING)
            return succeed([_STOPPING])
        over: Deferred[list[str]] = Deferred()
        self._asked.append(over)
        if self._state is _State.IDLE:
            self._state = _State.LOADING
            Deferred.fromCoroutine(self._run())
        return over

    async def _run(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            mistakes = await self._reload()
            self.last = Reload(time.time(), tuple(mistakes))
            for over in asked:
                over.callback(list(mistakes))
        self._state = _State.IDLE

    async def _reload(self) -> list[str]:
        _log.info("reload begun")
        mistakes: list[str] = []
        try:
            await _attempt(self._reopen, mistakes)
            generation = await _attempt(self._load, mistakes)
            if generation is not None:
                await self._adopt(generation, mistakes)
        except Exception:  # noqa: BLE001 - an edge: a reload that breaks leaves the gateway as it was
            _log.failure("the reload broke")
            mistakes.append("internal error")
        if mistakes:
            self._refuse(mistakes)
        return mistakes

    async def _adopt(self, generation: Loaded, mistakes: list[str]) -> None:
        try:
            if not self._gateway.running:
                mistakes.append(_STOPPING)
            if not mistakes:
                adopting = self._gateway.adopt(generation)
                if adopting is not None:
                    await adopting
        except (SmtpProxyError, OSError) as error:
            mistakes.extend(_lines(error))
        finally:
            if self._gateway.newest is not generation:
                await generation.end()

    def _refuse(self, mistakes: Sequence[str]) -> None:
        for mistake in mistakes:
            _log.error("{mistake}", mistake=mistake)
        _log.error("reload refused, generation {number} goes on", number=self._gateway.newest.number)


async def _attempt(function: Callable[[], _T], mistakes: list[str]) -> _T | None:
    """Return what ``function`` returns in a thread, ``None`` after a mistake."""
    try:
        return await deferToThread(politely, function)
    except (SmtpProxyError, OSError) as error:
        mistakes.extend(_lines(error))
        return None


def politely(function: Callable[[], _T]) -> _T:
    """Call a function in a thread that gives way to the reactor sooner than usual."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        return function()
    finally:
        sys.setswitchinterval(interval_s)


def _lines(error: Exception) -> list[str]:
    """Return what is wrong, one mistake a line."""
    return [error.strerror] if isinstance(error, OSError) and error.strerror else str(error).split("\n")
