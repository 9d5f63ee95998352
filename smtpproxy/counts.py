"""How many there are of something at present: sessions, connections under way."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Counts(Protocol):
    """Counts by keys of one word or several; what is counted as more is counted as less again."""

    def more(self, *key: str) -> int:
        """Count one more, and return how many there are now."""

    def less(self, *key: str) -> None:
        """Count one less."""

    def has(self, *key: str) -> bool:
        """Return whether there is any."""


class OwnCounts:
    """Counts of this process alone."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()

    def __len__(self) -> int:
        return len(self._counts)

    def more(self, *key: str) -> int:
        """Count one more, and return how many there are now."""
        self._counts[key] += 1
        return self._counts[key]

    def less(self, *key: str) -> None:
        """Count one less."""
        self._counts[key] -= 1
        if self._counts[key] <= 0:
            del self._counts[key]

    def has(self, *key: str) -> bool:
        """Return whether there is any."""
        return key in self._counts
