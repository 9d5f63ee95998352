"""Look domains up ahead, one after another, and again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

from twisted.logger import Logger

MAX_WATCHED: Final = 2000
"""Domains, each once in a round."""

INTERVAL_S: Final = 0.25
"""From one look-up to the next: a round of the most domains takes 500 s."""

ROUND_S: Final = 600.0
"""From the begin of one round to that of the next, which is not begun before the last is over."""

_log = Logger()


class Refreshing:
    """Looks up what it watches; nothing runs while that is nothing.

    Args:
        reactor: Twisted's.
        look_up: begins the look-up of a domain, and never fails.
    """

    def __init__(self, reactor: Any, look_up: Callable[[str], object]) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._look_up = look_up
        self._watched: dict[str, None] = {}
        self._left: deque[str] = deque()
        self._begun_s = 0.0
        self._next: Any = None

    def watch(self, domains: Iterable[str]) -> None:
        """Watch these domains and no others, the first so many; those that are new are looked up first."""
        wanted = dict.fromkeys(islice(domains, MAX_WATCHED + 1))
        if len(wanted) > MAX_WATCHED:
            wanted.popitem()
            _log.warn("of the rules' domains only the first {limit} are looked up ahead", limit=MAX_WATCHED)
        added = [domain for domain in wanted if domain not in self._watched]
        self._left = deque([*added, *(domain for domain in self._left if domain in wanted)])
        self._watched = wanted
        if self._left:
            self._later(0)

    def watches(self, domain: str) -> bool:
        """Return whether a domain is watched."""
        return domain in self._watched

    def stop(self) -> None:
        """Watch nothing any more."""
        self._watched, self._left = {}, deque()
        self._cancel()

    def _later(self, delay_s: float) -> None:
        self._cancel()
        self._next = self._reactor.callLater(delay_s, self._go_on)

    def _cancel(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _go_on(self) -> None:
        self._next = None
        if not self._left:
            self._left.extend(self._watched)
            self._begun_s = self._reactor.seconds()
        if self._left:
            self._look_up(self._left.popleft())
            rest_s = 0.0 if self._left else self._begun_s + ROUND_S - self._reactor.seconds()
            self._later(max(INTERVAL_S, rest_s))
