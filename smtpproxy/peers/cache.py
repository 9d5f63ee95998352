"""A bounded cache of what takes a look-up: each value has an end, and one look-up serves all who ask meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from smtpproxy.lru import CacheFigures, Lru

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Lasting(Generic[V]):
    """A value, and for how long it may be kept, in seconds."""

    value: V
    lifetime_s: float


class Cache(Generic[K, V]):
    """Keeps what was looked up for as long as it may.

    Args:
        limit: how many values, at least 1.
        now_s: a clock that is never set.
    """

    __slots__ = ("_flights", "_kept", "_now_s")

    def __init__(self, limit: int, now_s: Callable[[], float]) -> None:
        self._kept: Lru[K, tuple[V, float]] = Lru(limit)
        self._flights: dict[K, list[Deferred[V]]] = {}
        self._now_s = now_s

    @property
    def figures(self) -> CacheFigures:
        """How it does; a value past its end counts as found."""
        return self._kept.figures

    def known(self, key: K) -> V | None:
        """Return the value of ``key`` that is kept, ``None`` if there is none or it is past its end."""
        kept = self._kept.get(key)
        return kept[0] if kept is not None and self._now_s() < kept[1] else None

    def get(self, key: K, look_up: Callable[[], Deferred[Lasting[V]]]) -> Deferred[V]:
        """Return the value of ``key``, which is looked up if none is kept.

        Args:
            key: of the value.
            look_up: begins the look-up; an asker who gives up does not end it.
        """
        kept = self._kept.get(key)
        if kept is not None and self._now_s() < kept[1]:
            return succeed(kept[0])
        asker: Deferred[V] = Deferred()
        flight = self._flights.get(key)
        if flight is not None:
            flight.append(asker)
            return asker
        self._flights[key] = [asker]
        maybeDeferred(look_up).addCallbacks(self._land, self._fall, callbackArgs=(key,), errbackArgs=(key,))
        return asker

    def _land(self, found: Lasting[V], key: K) -> None:
        if found.lifetime_s > 0:
            self._kept.put(key, (found.value, self._now_s() + found.lifetime_s))
        for asker in self._flights.pop(key):
            if not asker.called:
                asker.callback(found.value)

    def _fall(self, failure: Failure, key: K) -> None:
        for asker in self._flights.pop(key):
            if not asker.called:
                asker.errback(failure)
