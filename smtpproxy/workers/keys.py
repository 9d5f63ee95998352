"""Have the process that signs for all workers hold the keys of what is decided."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from smtpproxy.workers.decision import Decision


class KeyHolder(Protocol):
    """Holds the keys of the authorities, and signs for workers that hang up and come again."""

    @property
    def address(self) -> str | None:
        """Where workers find it, ``None`` if there is none."""

    def prepare(self, decision: Decision) -> Deferred[None]:
        """Have the keys of a decision beside those in force; fails with what is wrong, and nothing has changed."""

    def adopt(self) -> None:
        """Keep what was prepared."""

    def discard(self) -> None:
        """Forget it."""


class NoKeys:
    """Stands where no worker needs a signature."""

    address = None

    def prepare(self, decision: Decision) -> Deferred[None]:  # noqa: ARG002 - none has keys
        """Do nothing."""
        return succeed(None)

    def adopt(self) -> None:
        """Do nothing."""

    def discard(self) -> None:
        """Do nothing."""
