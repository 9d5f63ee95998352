"""Notice connections that the gateway made to itself.

Source: RFC 3463 s3.5 (X.4.6).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from smtpproxy.counts import Counts, OwnCounts
from smtpproxy.endpoint import Endpoint
from smtpproxy.lru import Lru
from smtpproxy.transport.routes import is_local
from smtpproxy.transport.sockets import may_have_end

Connection: TypeAlias = tuple[Endpoint, Endpoint]
"""Who dialled, and what."""

KEPT_S: Final = 30.0
"""How long it is kept whether an address is of this machine."""

KEPT_ADDRESSES: Final = 1024
QUIET_S: Final = 60.0
"""One alarm a destination in this time; a loop would fill the disk otherwise."""


MOMENT_S: Final = 0.02
"""Until a connection is noted that another process was making: two system calls, and a wait for the processor."""

_KEY: Final = "made"
_BEGINNING: Final = "beginning"


class Loops:
    """Knows the gateway's own ends of connections, and its own addresses; shared by all generations.

    Args:
        counts: those of all processes of the gateway; one may dial what another accepts.
        has_end: whether the kernel knows of a connection's end here; counts may err, and the more the fuller they are.
    """

    __slots__ = ("_alarmed_s", "_has_end", "_made", "_ours")

    def __init__(
        self, counts: Counts | None = None, has_end: Callable[[Endpoint, Endpoint], bool] = may_have_end
    ) -> None:
        self._has_end = has_end
        self._made: Counts = OwnCounts() if counts is None else counts
        self._ours: Lru[str, tuple[bool, float]] = Lru(KEPT_ADDRESSES)
        self._alarmed_s: Lru[Endpoint, float] = Lru(KEPT_ADDRESSES)

    @contextmanager
    def beginning(self, destination: Endpoint) -> Iterator[None]:
        """Note that a connection is being made whose own end the kernel has yet to choose."""
        key = _BEGINNING, str(destination)
        self._made.more(*key)
        try:
            yield
        finally:
            self._made.less(*key)

    def is_unsure(self, destination: Endpoint) -> bool:
        """Return whether another process makes a connection there right now, whose ends are not noted yet."""
        return self._made.has(_BEGINNING, str(destination))

    def begin(self, connection: Connection) -> None:
        """Note a connection that the gateway makes."""
        self._made.more(*_key_of(connection))

    def end(self, connection: Connection) -> None:
        """Forget it."""
        self._made.less(*_key_of(connection))

    def made(self, client: Endpoint, destination: Endpoint) -> bool:
        """Return whether it was the gateway that dialled; its end alone may be another connection's end as well."""
        return self._made.has(*_key_of((client, destination))) and self._has_end(client, destination)

    def is_here(self, host: str) -> bool:
        """Return whether an address is of this machine."""
        now_s = time.monotonic()
        known = self._ours.get(host)
        if known is None or now_s - known[1] > KEPT_S:
            known = (is_local(host), now_s)
            self._ours.put(host, known)
        return known[0]

    def is_news(self, destination: Endpoint) -> bool:
        """Return whether no alarm was raised about a destination lately, and note that one is now."""
        now_s, before_s = time.monotonic(), self._alarmed_s.get(destination)
        if before_s is not None and now_s - before_s < QUIET_S:
            return False
        self._alarmed_s.put(destination, now_s)
        return True


def _key_of(connection: Connection) -> tuple[str, ...]:
    client, destination = connection
    return _KEY, str(client), str(destination)
