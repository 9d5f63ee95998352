"""Have the process that signs for all workers hold the keys of what is decided."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from smtpproxy.workers.decision import Decision


class KeyHolder(Protocol):
    """Holds the keys of the authorities, and signs for workers that hang up and come again."""

    @property
    def address(self) -> str:
        """Where workers find it."""

    def prepare(self, decision: Decision) -> Deferred[None]:
        """Have the keys of a decision beside those in force; fails with what is wrong, and nothing has changed."""

    def adopt(self) -> None:
        """Keep what was prepared."""

    def discard(self) -> None:
        """Forget it."""
