"""What a configuration has in force beside its sessions: services that are bound, begun and ended with it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from twisted.application.service import Service
from twisted.internet.defer import maybeDeferred


class InForce:
    """One configuration, from its switch until nobody needs it any more.

    Args:
        parts: services that are begun with it and end with it.

    Attributes:
        number: counts the configurations that came into force, from 1.
        begun_s: when it came into force, in seconds since the epoch; 0 before.
    """

    __slots__ = ("_parts", "begun_s", "number")

    def __init__(self, parts: Sequence[Service]) -> None:
        self.number = 1
        self.begun_s = 0.0
        self._parts = tuple(parts)

    def bind(self) -> None:
        """Have each part take its ports.

        Raises:
            OSError: one cannot be had; this is to be ended then.
        """
        for part in self._parts:
            part.privilegedStartService()

    def begin(self) -> None:
        """Start every part."""
        self.begun_s = time.time()
        for part in self._parts:
            part.startService()

    async def end(self) -> None:
        """Stop every part, in the reverse of the order in which they were begun."""
        for part in reversed(self._parts):
            await maybeDeferred(part.stopService)
