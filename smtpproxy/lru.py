"""A bounded cache that drops what was not used for the longest time, and counts how it does."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """How a cache does.

    Args:
        size: values kept now.
        limit: how many there may be.
        hits: look-ups since it was made that found a value.
        misses: look-ups that found none.
    """

    size: int
    limit: int
    hits: int
    misses: int


class Lru(Generic[K, V]):
    """Keeps at most ``limit`` values.

    Args:
        limit: how many values, at least 1.
    """

    __slots__ = ("_hits", "_limit", "_misses", "_values")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[K, V] = OrderedDict()
        self._hits = self._misses = 0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def figures(self) -> CacheFigures:
        """How it does."""
        return CacheFigures(len(self._values), self._limit, self._hits, self._misses)

    def get(self, key: K) -> V | None:
        """Return the value of ``key`` and count it as used, ``None`` if there is none."""
        value = self._values.get(key)
        if value is None:
            self._misses += 1
        else:
            self._hits += 1
            self._values.move_to_end(key)
        return value

    def drop(self, key: K) -> None:
        """Keep nothing of ``key``."""
        self._values.pop(key, None)

    def put(self, key: K, value: V) -> None:
        """Keep ``value``, and drop the one not used for the longest time if there are too many."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self._values.popitem(last=False)
