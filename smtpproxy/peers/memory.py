"""Destinations whose TLS broke of late, so that mail which may go in clear is not kept waiting for it again.

Source: RFC 7435 s4 (opportunistic security: fall back where nothing better is to be had).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.tls.facts import TlsFailure

MAX_DESTINATIONS: Final = 10_000
"""Addresses with their ports, a few hundred octets each."""


class BrokenTls:
    """Remembers why TLS with a destination broke, for as long as each was to be remembered.

    Args:
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._broken: Lru[tuple[str, int], tuple[TlsFailure, float]] = Lru(MAX_DESTINATIONS)

    @property
    def figures(self) -> CacheFigures:
        """How it does."""
        return self._broken.figures

    def remember(self, host: str, port: int, failure: TlsFailure, seconds: float) -> None:
        """Keep in mind that TLS with the server at an address broke."""
        if seconds > 0:
            self._broken.put((host, port), (failure, self._monotonic() + seconds))

    def recall(self, host: str, port: int) -> TlsFailure | None:
        """Return why TLS with the server at an address broke of late, ``None`` if nothing is known against it."""
        found = self._broken.get((host, port))
        if found is None or self._monotonic() >= found[1]:
            return None
        return found[0]
