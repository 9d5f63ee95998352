"""Save MTA-STS policies a little after they change, and when the gateway ends; the reactor never waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.peers.sts_store import StsStore, load_policies, save_policies

DELAY_S: Final = 10.0
"""What is lost if the machine stops; policies that come together are saved together."""

_log = Logger()


def load_store(file: Path, now_s: Callable[[], float]) -> StsStore:
    """Return a store with what was saved; a file that cannot be read is told of, and costs a fetch each.

    Args:
        file: written by a keeper, or missing.
        now_s: seconds since the epoch.
    """
    try:
        return StsStore(now_s, load_policies(file, now_s()))
    except (OSError, ValueError) as error:
        _log.warn("{file}: the MTA-STS policies in it are lost: {error}", file=str(file), error=error)
        return StsStore(now_s)


class StsKeeper:
    """Saves a store.

    Args:
        reactor: Twisted's.
        store: whatever changes in it is saved.
        file: the place.
    """

    def __init__(self, reactor: Any, store: StsStore, file: Path) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._store = store
        self._file = file
        self._turn = DeferredLock()
        self._next: Any = None
        store.changed = self._later

    def stop(self) -> Deferred[None]:
        """Save what is not saved yet; fires when that is done."""
        if self._next is None:
            return self._turn.run(lambda: None)
        self._next.cancel()
        return self._save()

    def _later(self) -> None:
        if self._next is None:
            self._next = self._reactor.callLater(DELAY_S, self._save)

    def _save(self) -> Deferred[None]:
        self._next = None
        kept, pool = self._store.snapshot(), self._reactor.getThreadPool()
        saving = self._turn.run(deferToThreadPool, self._reactor, pool, save_policies, self._file, kept)
        return saving.addErrback(self._tell)

    def _tell(self, failure: Failure) -> None:
        failure.trap(OSError)
        _log.error("{file} cannot be written: {error}", file=str(self._file), error=failure.getErrorMessage())
