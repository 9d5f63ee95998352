"""Keep the block list over a restart: read at the start, written behind every change, in a thread and whole or not."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from smtpproxy.net.blocklist import Blocked, Blocklist, source_of

BLOCKLIST_FILE: Final = "var/blocked.json"
DELAY_S: Final = 1.0
"""A flood of blocks is written once a second."""

MAX_OCTETS: Final = 16 * 1024 * 1024
SCHEMA: Final = 1

_LATEST: Final = 253_402_300_799
"""The last second of the year 9999; no later one can be written as a date."""

_log = Logger(namespace="smtpproxy")


class BlocklistFile(Service):
    """Reads and writes one block list.

    Args:
        reactor: Twisted's.
        path: the file, which need not be there.
        blocklist: what is kept.
    """

    def __init__(self, reactor: Any, path: Path, blocklist: Blocklist) -> None:  # noqa: ANN401 - Twisted's reactor has many interfaces
        self._reactor = reactor
        self._path = path
        self._blocklist = blocklist
        self._due: Any = None
        self._writing: Deferred[None] | None = None
        self._is_stale = False

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Take what the file has, and follow the list."""
        super().startService()  # type: ignore[no-untyped-call]
        self._blocklist.take(read(self._path))
        self._blocklist.watch(self)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Write what is not written yet."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._finish())

    def blocked(self, entry: Blocked) -> None:  # noqa: ARG002 - the whole list is written
        """Write the list soon."""
        self._write_soon()

    def lifted(self, address: str) -> None:  # noqa: ARG002
        """Write the list soon."""
        self._write_soon()

    def _write_soon(self) -> None:
        self._is_stale = True
        if self._due is None and self._writing is None and self.running:
            self._due = self._reactor.callLater(DELAY_S, self._write)

    async def _finish(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._writing is not None:
            await self._writing
        if self._is_stale:
            self._write()
            if self._writing is not None:
                await self._writing

    def _write(self) -> None:
        self._due, self._is_stale = None, False
        done: Deferred[None] = Deferred()
        self._writing = done
        writing = self._in_thread(write, self._path, self._blocklist.entries())
        writing.addErrback(lambda why: _log.error("the block list is not kept: {why}", why=why.getErrorMessage()))
        writing.addBoth(self._written, done)

    def _in_thread(self, function: Callable[..., None], *arguments: object) -> Deferred[Any]:
        pool = self._reactor.getThreadPool()
        return maybeDeferred(deferToThreadPool, self._reactor, pool, function, *arguments)

    def _written(self, _result: object, done: Deferred[None]) -> None:
        self._writing = None
        if self._is_stale:
            self._write_soon()
        done.callback(None)


def read(path: Path) -> list[Blocked]:
    """Return the entries of a file; of one that is broken none, and it is told."""
    try:
        with path.open("rb") as file:
            return [_entry(each) for each in _entries(file.read(MAX_OCTETS))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no block list"
        _log.error("{path} cannot be read: {why}; the block list begins anew", path=str(path), why=why)
        return []


def _entries(octets: bytes) -> list[dict[str, Any]]:
    document = json.loads(octets)
    if document["schema"] != SCHEMA or not isinstance(document["blocked"], list):
        raise ValueError("another schema")
    return list(document["blocked"])


def _entry(fields: dict[str, Any]) -> Blocked:
    until = float(fields["until"])
    if not 0 <= until <= _LATEST:
        raise ValueError("no time")
    return Blocked(source_of(str(fields["address"])), until, str(fields["reason"]))


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write(path: Path, entries: list[Blocked]) -> None:
    """Write a file anew, whole or not at all.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    blocked = [{"address": each.address, "until": each.until, "reason": each.reason} for each in entries]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    try:
        with open(temporary, "w", encoding="ascii", opener=_for_the_owner) as file:
            json.dump({"schema": SCHEMA, "blocked": blocked}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
