"""The timers of one session on one delayed call of the reactor.

Setting a timer again is what happens most, and costs no call: the delayed call is moved only to come earlier, and
looks when it fires whether anything is really due. The first look comes soon, so that of all the timers that a short
session sets none moves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from smtpproxy.session.timers import Timer

FIRST_LOOK_S = 10.0
"""Most sessions are over by then, and none has many timers that are shorter."""


def _nobody(_timer: Timer) -> None:
    pass


class Deadlines:
    """Calls ``on_due`` with each timer whose deadline passed."""

    __slots__ = ("_at", "_call", "_on_due", "_reactor", "_wakes_at")

    def __init__(self, reactor: IReactorTime, on_due: Callable[[Timer], None]) -> None:
        self._reactor = reactor
        self._on_due = on_due
        self._at: dict[Timer, float] = {}
        self._call: IDelayedCall | None = None
        self._wakes_at = 0.0

    def set(self, timer: Timer, seconds: float | None) -> None:
        """Let ``timer`` be due in ``seconds``, or never."""
        if seconds is None:
            self._at.pop(timer, None)
            return
        now = self._reactor.seconds()
        at = self._at[timer] = now + seconds
        if self._call is None:
            self._wake_at(min(at, now + FIRST_LOOK_S))
        elif at < self._wakes_at:
            self._wake_at(at)

    def stop(self) -> None:
        """Forget every timer, and who wanted to hear of it."""
        self._at.clear()
        self._cancel()
        self._on_due = _nobody

    def _wake_at(self, at: float) -> None:
        self._cancel()
        self._wakes_at = at
        self._call = self._reactor.callLater(max(0.0, at - self._reactor.seconds()), self._wake)

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wake(self) -> None:
        self._call = None
        now = self._reactor.seconds()
        for timer in [timer for timer, at in self._at.items() if at <= now]:
            if self._at.get(timer, math.inf) <= now:  # an earlier one may have moved it, or ended the session
                del self._at[timer]
                self._on_due(timer)
        if self._at:
            self._wake_at(min(self._at.values()))  # what was set meanwhile may be later than what waited before
