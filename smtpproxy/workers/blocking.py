"""One block list for all workers: what one of them blocks reaches the supervisor, and by it the others.

The supervisor's list is the whole one, and kept over a restart. Workers lift nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from smtpproxy.net.blocklist import Blocked, Blocklist
from smtpproxy.workers.channel import Body


class Told(Protocol):
    """The other end of a channel."""

    def tell(self, what: str, body: Body = None) -> None:
        """Tell it something."""


class Telling:
    """Watches a block list, and tells others of its changes.

    Args:
        others: returns who is told.
    """

    def __init__(self, others: Callable[[], Iterable[Told]]) -> None:
        self._others = others

    def blocked(self, entry: Blocked) -> None:
        """Tell of a source that is blocked."""
        for other in self._others():
            other.tell("blocked", written(entry))

    def lifted(self, address: str) -> None:
        """Tell of a source that is blocked no longer."""
        for other in self._others():
            other.tell("lifted", address)


def written(entry: Blocked) -> Body:
    """Return an entry as a line can say it."""
    return [entry.address, entry.until, entry.reason]


def read(body: Body) -> Blocked:
    """Return an entry that was written."""
    address, until, reason = body
    return Blocked(str(address), float(until), str(reason))


def hear(blocklist: Blocklist, what: str, body: Body) -> None:
    """In the supervisor: share what a worker tells of."""
    if what == "blocked":
        blocklist.share(read(body))
