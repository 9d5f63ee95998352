"""Servers for administrators at the place that the newest configuration names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

P = TypeVar("P")

_log = Logger(namespace="smtpproxy")


class Server(Protocol):
    """Serves at one place."""

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Take the place."""

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Serve."""

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Let go of it."""


class Moving(Service, Generic[P]):
    """Keeps the server that answers; `Move` exchanges it.

    Args:
        make: makes a server for a place.
        what: is served, for the log.
    """

    def __init__(self, make: Callable[[P], Server], what: str) -> None:
        self._make = make
        self._what = what
        self._place: P | None = None
        self._server: Server | None = None

    def bind(self, place: P | None) -> Server | None:
        """Return a server that has taken a place; none if none is wanted, or it is served already.

        Raises:
            OSError: the place cannot be had.
        """
        if place is None or place == self._place:
            return None
        server = self._make(place)
        server.privilegedStartService()
        return server

    def move(self, place: P | None, server: Server | None) -> None:
        """Answer at a place from now on, and nowhere else."""
        if place == self._place:
            return
        before, self._place, self._server = self._server, place, server
        if server is not None:
            server.startService()
        if before is not None:
            before.stopService().addErrback(partial(_log.failure, "{what} did not end well", what=self._what))

    def stopService(self) -> Deferred[None] | None:  # noqa: N802 - Twisted's name
        """Answer nowhere."""
        super().stopService()  # type: ignore[no-untyped-call]
        return None if self._server is None else self._server.stopService()


class Move(Service, Generic[P]):
    """A configuration's wish for a place: taken with its ports, and served from its switch on.

    Args:
        moving: whose place it is.
        place: where, ``None`` for nowhere.
    """

    def __init__(self, moving: Moving[P], place: P | None) -> None:
        self._moving = moving
        self._place = place
        self._bound: Server | None = None

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Take the place.

        Raises:
            OSError: it cannot be had.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bound = self._moving.bind(self._place)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Move there; it is not this wish's to end any more."""
        super().startService()  # type: ignore[no-untyped-call]
        bound, self._bound = self._bound, None
        self._moving.move(self._place, bound)

    def stopService(self) -> Deferred[None] | None:  # noqa: N802 - Twisted's name
        """Let go of a place that was never served."""
        super().stopService()  # type: ignore[no-untyped-call]
        bound, self._bound = self._bound, None
        return None if bound is None else bound.stopService()
