"""Waits for all connections: one epoll of our own, which is one descriptor to the reactor.

An event takes Twisted's reactor a dozen calls, most of them for the context of log messages. Here a turn of the reactor
serves all connections that are ready, at a call each.

Source: epoll(7) (an epoll descriptor is ready to read when it has events); Twisted's `IReadDescriptor`.
"""

from __future__ import annotations

import select
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorFDSet, IReactorPluggableNameResolver, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

EVENTS = 256  # served in a turn, then timers and listening ports have theirs

_READ, _WRITE, _GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR

_log = Logger()


class Reactor(IReactorFDSet, IReactorTime, IReactorPluggableNameResolver):
    """What this room asks of Twisted's reactor."""


class Waiting(Protocol):
    """Who waits for a descriptor; an exception that leaves one of these calls is logged, and ``crashed`` follows."""

    def readable(self) -> None:
        """Octets, or the end, can be read."""

    def writable(self) -> None:
        """The kernel takes octets; may come right behind ``readable``, whatever that has done."""

    def hung_up(self) -> None:
        """An error, without anything to read; or the reactor ends."""

    def crashed(self) -> None:
        """One of these calls failed."""


def poller_of(reactor: Reactor) -> Poller:
    """Return the one poller that waits on ``reactor``."""
    return _kept(reactor)


@implementer(IReadDescriptor)
class Poller:
    """Knows who waits for which descriptor; whoever closes one calls ``forget`` first."""

    __slots__ = ("_calls", "_epoll", "_interests", "_reactor", "_waiting", "_works")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        self._waiting: dict[int, Waiting] = {}
        self._interests: dict[int, int] = {}
        self._calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._works = False

    def wait_to_read(self, descriptor: int, waiting: Waiting) -> None:
        """Have ``waiting`` told when there is something to read."""
        self._begin(descriptor, waiting, _READ)

    def wait_to_write(self, descriptor: int, waiting: Waiting) -> None:
        """Have ``waiting`` told when the kernel takes octets."""
        self._begin(descriptor, waiting, _WRITE)

    def stop_reading(self, descriptor: int) -> None:
        """Wait no more for something to read."""
        self._end(descriptor, _READ)

    def stop_writing(self, descriptor: int) -> None:
        """Wait no more until the kernel takes octets."""
        self._end(descriptor, _WRITE)

    def forget(self, descriptor: int) -> None:
        """Wait for nothing more on a descriptor."""
        self._end(descriptor, _READ | _WRITE)

    def waits_to_write(self, descriptor: int) -> bool:
        """Whether it is waited until the kernel takes octets."""
        return bool(self._interests.get(descriptor, 0) & _WRITE)

    def later(self, function: Callable[..., object], *arguments: object) -> None:
        """Call when the events at hand are dealt with, never from inside this call; an exception is logged."""
        if not self._works and not self._calls:
            self._reactor.callLater(0, self._call_all)
        self._calls.append((function, arguments))

    # For the reactor

    def fileno(self) -> int:
        """For the reactor: the descriptor."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """For the reactor: nothing of the peer's in the log."""
        return "-"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """For the reactor: some descriptors are ready."""
        self._works = True
        # Whom an event is for is settled before the first of them is served, which may give descriptors away.
        waiting = self._waiting
        for each, event in [(waiting[descriptor], event) for descriptor, event in self._epoll.poll(0, EVENTS)]:
            try:
                if event & _READ:
                    each.readable()
                    if event & _WRITE:
                        each.writable()
                elif event & _GONE:
                    each.hung_up()
                else:
                    each.writable()
            except BaseException:  # noqa: BLE001 - as Twisted's reactor: one connection's failure ends no other
                _log.failure("a connection failed")
                self._guard(each.crashed)
        self._works = False
        self._call_all()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002, N802 - Twisted's name and form
        """For the reactor: it ends."""
        for each in list(self._waiting.values()):
            self._guard(each.hung_up)
        self._call_all()

    # Inside

    def _begin(self, descriptor: int, waiting: Waiting, interest: int) -> None:
        before = self._interests.get(descriptor, 0)
        after = before | interest
        if before:
            if after != before:
                self._epoll.modify(descriptor, after)
        else:
            self._epoll.register(descriptor, after)
            self._waiting[descriptor] = waiting
            if len(self._waiting) == 1:
                self._reactor.addReader(self)
        self._interests[descriptor] = after

    def _end(self, descriptor: int, interest: int) -> None:
        before = self._interests.get(descriptor, 0)
        after = before & ~interest
        if after == before:
            return
        if after:
            self._epoll.modify(descriptor, after)
            self._interests[descriptor] = after
            return
        self._epoll.unregister(descriptor)
        del self._interests[descriptor], self._waiting[descriptor]
        if not self._waiting:
            self._reactor.removeReader(self)

    def _call_all(self) -> None:
        calls, self._calls = self._calls, []
        for function, arguments in calls:
            self._guard(function, *arguments)

    @staticmethod
    def _guard(function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except BaseException:  # noqa: BLE001 - as above
            _log.failure("a connection failed")


_kept = lru_cache(maxsize=4)(Poller)  # a process has one reactor; tests have some more
