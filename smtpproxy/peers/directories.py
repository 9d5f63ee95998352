"""The directories that are in use: generations with the same resolver share one, so that a reload forgets nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Generic, TypeVar

from twisted.application.service import Service

from smtpproxy.peers.directory import Directory

S = TypeVar("S")
"""What a directory is made of; equal ones make equal directories."""


class Directories(Generic[S]):
    """Makes directories, and stops each when nobody uses it any more; any thread may take one.

    Args:
        make: makes one, which does nothing yet.
    """

    __slots__ = ("_directories", "_lock", "_make", "_users")

    def __init__(self, make: Callable[[S], Directory]) -> None:
        self._make = make
        self._directories: dict[S, Directory] = {}
        self._users: Counter[S] = Counter()
        self._lock = Lock()

    def lease(self, settings: S, domains: Iterable[str]) -> DirectoryLease[S]:
        """Return the use of a directory until the lease is stopped.

        Args:
            settings: what it is made of.
            domains: watched while the lease is the last that was started.
        """
        with self._lock:
            directory = self._directories.get(settings)
            if directory is None:
                directory = self._directories[settings] = self._make(settings)
            self._users[settings] += 1
            return DirectoryLease(self, settings, directory, tuple(domains))

    def release(self, settings: S) -> None:
        """Count one user less; in the reactor's thread."""
        with self._lock:
            self._users[settings] -= 1
            unused = None if self._users[settings] else self._directories.pop(settings)
        if unused is not None:
            unused.stop()


class DirectoryLease(Service, Generic[S]):
    """A generation's use of a directory.

    Attributes:
        directory: the one.
    """

    def __init__(
        self, directories: Directories[S], settings: S, directory: Directory, domains: tuple[str, ...]
    ) -> None:
        self._directories = directories
        self._settings = settings
        self._domains = domains
        self.directory = directory

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Watch what this generation's rules name."""
        super().startService()  # type: ignore[no-untyped-call]
        self.directory.watch(self._domains)

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Give the directory back."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._directories.release(self._settings)
