"""Sources that are turned away for a time.

An IPv4 address is blocked by itself. Of IPv6 the network of 64 bits is: the host has all of its addresses to choose
from (RFC 8981), and what is shorter may be other people's.

Source: RFC 4291 s2.5.1 (interface identifiers of 64 bits); RFC 6177 s2 (an end site gets a /64 at least).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Final, Protocol

from twisted.logger import Logger

from smtpproxy.policy.selection import plain_address

MAX_BLOCKED: Final = 65_536
"""Some 20 MiB; who has more sources than that is stopped by no list. The one that would end first gives way."""

KEPT_SOURCES: Final = 4096
_PREFIX: Final = 64

_log = Logger(namespace="smtpproxy")


@dataclass(frozen=True, slots=True)
class Blocked:
    """A source that is turned away.

    Args:
        address: an IPv4 address, or an IPv6 network of 64 bits, as text.
        until: seconds since the epoch.
        reason: a token.
    """

    address: str
    until: float
    reason: str


class BlocklistWatcher(Protocol):
    """Who hears of changes, those that came from itself not included."""

    def blocked(self, entry: Blocked) -> None:
        """A source is blocked, or for longer than before."""

    def lifted(self, address: str) -> None:
        """A source is blocked no longer, before its time."""


class Blocklist:
    """Knows who is blocked; one for all generations of a process.

    Args:
        wall: returns seconds since the epoch, which the entries are kept in beyond the process.
        limit: how many entries there may be.
    """

    __slots__ = ("_blocked", "_ends", "_limit", "_wall", "_watchers")

    def __init__(self, wall: Callable[[], float] = time.time, limit: int = MAX_BLOCKED) -> None:
        self._wall = wall
        self._limit = limit
        self._blocked: dict[str, Blocked] = {}
        self._ends: list[tuple[float, str]] = []  # a heap; an entry that changed leaves its old end behind
        self._watchers: list[BlocklistWatcher] = []

    def __len__(self) -> int:
        self._expire()
        return len(self._blocked)

    def watch(self, watcher: BlocklistWatcher) -> None:
        """Tell ``watcher`` of every change from now on."""
        self._watchers.append(watcher)

    def is_blocked(self, address: str) -> bool:
        """Return whether connections of an IP address are turned away."""
        if not self._blocked:
            return False
        entry = self._blocked.get(source_of(address))
        return entry is not None and entry.until > self._wall()

    def block(self, address: str, seconds: float, reason: str) -> Blocked:
        """Turn a source away for ``seconds`` from now; one that is blocked for longer stays so.

        Args:
            address: an IP address, or an entry's network.
            seconds: for how long.
            reason: a token.

        Raises:
            ValueError: it is no address.
        """
        entry = Blocked(source_of(address), self._wall() + seconds, reason)
        before = self._blocked.get(entry.address)
        if before is not None and before.until >= entry.until:
            return before
        if before is None or before.until <= self._wall():
            message = "blocked for {seconds:g} s: {source}, {reason}"
            _log.warn(message, seconds=seconds, source=entry.address, reason=reason)
        self.share(entry)
        return entry

    def share(self, entry: Blocked) -> None:
        """Take an entry that was made in another process, and tell of it; one that ends later stays."""
        before = self._blocked.get(entry.address)
        if before is not None and before.until >= entry.until:
            return
        self.take([entry])
        for watcher in self._watchers:
            watcher.blocked(entry)

    def lift(self, address: str) -> bool:
        """Block a source no longer; return whether it was blocked.

        Raises:
            ValueError: it is no address.
        """
        source = source_of(address)
        entry = self._blocked.pop(source, None)
        if entry is None or entry.until <= self._wall():
            return False
        _log.info("blocked no longer: {source}", source=source)
        for watcher in self._watchers:
            watcher.lifted(source)
        return True

    def entries(self) -> list[Blocked]:
        """Return who is blocked now, in no order."""
        self._expire()
        return list(self._blocked.values())

    def take(self, entries: Iterable[Blocked]) -> None:
        """Take entries that were made elsewhere, by another process or an earlier one; nobody is told."""
        for entry in entries:
            self._blocked[entry.address] = entry
            heapq.heappush(self._ends, (entry.until, entry.address))
        self._expire()
        while len(self._blocked) > self._limit:
            self._drop(*heapq.heappop(self._ends))
        if len(self._ends) > 2 * self._limit:
            self._ends = [(entry.until, entry.address) for entry in self._blocked.values()]
            heapq.heapify(self._ends)

    def forget(self, address: str) -> None:
        """Drop an entry that was lifted elsewhere; nobody is told."""
        self._blocked.pop(address, None)

    def _expire(self) -> None:
        now_s = self._wall()
        while self._ends and self._ends[0][0] <= now_s:
            self._drop(*heapq.heappop(self._ends))

    def _drop(self, until: float, address: str) -> None:
        entry = self._blocked.get(address)
        if entry is not None and entry.until == until:
            del self._blocked[address]


@lru_cache(KEPT_SOURCES)
def source_of(address: str) -> str:
    """Return the entry that an IP address belongs to; of an entry, itself.

    Raises:
        ValueError: it is no address.
    """
    host, slash, length = address.partition("/")
    if slash and length != str(_PREFIX):
        raise ValueError(f"{address!r} is no IP address, and no IPv6 network of {_PREFIX} bits")
    parsed = plain_address(host)
    if not isinstance(parsed, IPv6Address):
        if slash:
            raise ValueError(f"{address!r} is no IPv6 network; of IPv4, addresses are blocked one by one")
        return str(parsed)
    return str(IPv6Network((int(parsed) >> _PREFIX << _PREFIX, _PREFIX)))
