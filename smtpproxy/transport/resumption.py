"""Keep TLS sessions of upstreams, each beside our own verdict on the peer, until they are offered again.

A resumed handshake verifies nothing and reports success: what is known of the peer is what was found when its
certificate was looked at, so a session is worth nothing without that.

Source: RFC 8446 s2.2, s4.6.1 (lifetime), appendix C.4 (a ticket serves once); RFC 5246 s7.3; RFC 5077.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from OpenSSL import SSL

from smtpproxy.lru import CacheFigures
from smtpproxy.tls.facts import TlsFacts, TlsVersion
from smtpproxy.transport.ticket import Ticket

MAX_AGE_S: Final = 2 * 60 * 60.0
"""How long a verdict is believed without another look at the chain, through however many resumptions. RFC 8446 s4.6.1
allows 7 days. After two hours, in which servers expect to see their tickets back (OpenSSL's default), there is little
left to gain: one handshake in full every two hours costs nothing, and an authority that was revoked is noticed."""

MAX_SESSIONS: Final = 1024
"""About 11 KiB each after a handshake in full, 2 KiB after a resumed one, whose certificates are shared."""

MAX_SESSIONS_OF_DESTINATION: Final = 32
"""A ticket is away from the start of one handshake to the first octets after it, two or three round trips: so many
handshakes may be under way with one server before one of them has to be done in full."""


class Destination(NamedTuple):
    """Whom a session may be offered to.

    Args:
        context: stands for the TLS profile, the trust store and the generation of the configuration.
        host: the address really dialled.
        port: the port really dialled.
        server_name: the SNI, ``None`` for none.
    """

    context: SSL.Context
    host: str
    port: int
    server_name: str | None


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session, and what was found of its peer.

    Args:
        session: the library's.
        ticket: what its server resumes it by.
        facts: of the handshake that it comes from.
        verified_at_s: when the peer's chain was looked at, by the clock that is never set.
        usable_until_s: its end by the same clock.
    """

    session: SSL.Session
    ticket: Ticket
    facts: TlsFacts
    verified_at_s: float
    usable_until_s: float

    @property
    def serves_once(self) -> bool:
        """Whether it is used up by being offered."""
        return self.facts.version >= TlsVersion.TLS1_3


class TlsSessions:
    """Keeps sessions by destination, those of the destination that was not used for the longest time go first.

    Args:
        monotonic: a clock that is never set, in seconds.
        wall: the time of day, in seconds since the epoch.
    """

    __slots__ = ("_hits", "_misses", "_pools", "_size", "_wall", "monotonic")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.monotonic = monotonic
        self._wall = wall
        self._pools: OrderedDict[Destination, deque[KeptSession]] = OrderedDict()
        self._size = self._hits = self._misses = 0

    @property
    def figures(self) -> CacheFigures:
        """How it does."""
        return CacheFigures(self._size, MAX_SESSIONS, self._hits, self._misses)

    def take(self, destination: Destination) -> KeptSession | None:
        """Return the newest session that may be offered to ``destination``, ``None`` if there is none."""
        pool = self._pools.get(destination)
        found = None
        while pool and found is None:
            newest = pool[-1]
            found = newest if self._is_usable(newest) else None
            if found is None or newest.serves_once:
                pool.pop()
                self._size -= 1
        self._note(destination, pool)
        self._hits += found is not None
        self._misses += found is None
        return found

    def keep(self, destination: Destination, kept: KeptSession) -> None:
        """Keep a session, unless its time is over."""
        if not self._is_usable(kept):
            return
        pool = self._pools.setdefault(destination, deque())
        if not kept.serves_once:  # one does for all
            self._size -= len(pool)
            pool.clear()
        pool.append(kept)
        self._size += 1
        if len(pool) > MAX_SESSIONS_OF_DESTINATION:
            self._drop_oldest(destination)
        self._note(destination, pool)
        self._make_room()

    def forget(self, destination: Destination) -> None:
        """Drop every session of ``destination``."""
        self._size -= len(self._pools.pop(destination, ()))

    def _is_usable(self, kept: KeptSession) -> bool:
        peer = kept.facts.peer
        return peer is not None and self._wall() < peer.not_after and self.monotonic() < kept.usable_until_s

    def _note(self, destination: Destination, pool: deque[KeptSession] | None) -> None:
        """Count a destination as used; one without a session is none."""
        if pool:
            self._pools.move_to_end(destination)
        else:
            self._pools.pop(destination, None)

    def _make_room(self) -> None:
        """Drop what is over and what is too much: keys that nobody can use any more stay in memory no longer."""
        while self._pools:
            oldest = next(iter(self._pools))
            if not self._is_usable(self._pools[oldest][-1]):
                self.forget(oldest)
            elif self._size > MAX_SESSIONS:
                self._drop_oldest(oldest)
            else:
                return

    def _drop_oldest(self, destination: Destination) -> None:
        pool = self._pools[destination]
        pool.popleft()
        self._size -= 1
        if not pool:
            del self._pools[destination]
