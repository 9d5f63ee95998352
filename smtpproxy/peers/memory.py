"""Destinations whose TLS broke of late, so that mail which may go in clear is not kept waiting for it again.

Source: RFC 7435 s4 (opportunistic security: fall back where nothing better is to be had).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.tls.facts import TlsFailure

MAX_DESTINATIONS: Final = 10_000
"""Addresses with their ports, a few hundred octets each."""


class Destination(NamedTuple):
    """Whose TLS broke, and by whose terms: what is too old for one proxy action may do for another.

    Args:
        host: the address really dialled.
        port: the port really dialled.
        action: the proxy action.
    """

    host: str
    port: int
    action: str


class BrokenTls:
    """Remembers why TLS with a destination broke, for as long as each was to be remembered.

    Args:
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._broken: Lru[Destination, tuple[TlsFailure, float]] = Lru(MAX_DESTINATIONS)

    @property
    def figures(self) -> CacheFigures:
        """How it does."""
        return self._broken.figures

    def remember(self, destination: Destination, failure: TlsFailure, seconds: float) -> None:
        """Keep in mind that TLS with a server broke."""
        if seconds > 0:
            self._broken.put(destination, (failure, self._monotonic() + seconds))

    def forget(self, destination: Destination) -> None:
        """TLS with a server has come about again."""
        self._broken.drop(destination)

    def recall(self, destination: Destination) -> TlsFailure | None:
        """Return why TLS with a server broke of late, ``None`` if nothing is known against it."""
        found = self._broken.get(destination)
        if found is None or self._monotonic() >= found[1]:
            return None
        return found[0]
