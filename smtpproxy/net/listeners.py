"""The addresses that are listened on, and how one set of them follows another without a gap.

Source: socket(7) SO_REUSEADDR, SO_REUSEPORT; listen(2).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from smtpproxy.endpoint import Endpoint
from smtpproxy.net.keeping import Keeping
from smtpproxy.net.listening import ListenError
from smtpproxy.net.notify import Notifier
from smtpproxy.policy.model import InterceptionMode, Policy, PortKind
from smtpproxy.transport.stream import Stream
from smtpproxy.transport.tcp import Listener, adopt, listen

_log = Logger(namespace="smtpproxy")


@dataclass(frozen=True, slots=True)
class Binding:
    """An address to listen on, and how its connections begin.

    ``transparent`` is whether the kernel hands over connections to other addresses.
    """

    interface: str
    port: int
    kind: PortKind
    transparent: bool = False


class Interception(Protocol):
    """How connections come to the gateway."""

    @property
    def listen(self) -> Sequence[str]:
        """The IP addresses that ports are bound on."""

    @property
    def ports(self) -> Mapping[PortKind, tuple[int, ...]]:
        """The ports of each kind."""

    @property
    def mode(self) -> InterceptionMode:
        """How the gateway learns what a client dialled."""


def bindings(policies: Iterable[Policy], interception: Interception) -> list[Binding]:
    """Return what has to be bound: the kinds of port that some enabled policy takes, on every address."""
    kinds = {kind for policy in policies if policy.enabled for kind in policy.tls_support.ports}
    return [
        Binding(interface, port, kind, interception.mode is InterceptionMode.TPROXY)
        for kind in PortKind
        if kind in kinds
        for interface in interception.listen
        for port in interception.ports[kind]
    ]


class Source(Protocol):
    """Who has sockets that listen already, and may keep those that are to outlive the process."""

    def take(self, host: str, port: int, /) -> Sequence[socket.socket]:
        """Return those of an address, which are the taker's from now on."""

    def take_port(self, port: int, /) -> Sequence[socket.socket]:
        """Return those of a port that are at none of the addresses wanted, to be closed when they are empty."""

    def keep(self, listening: socket.socket, /) -> None:
        """Keep a socket."""

    def drop(self, listening: socket.socket, /) -> None:
        """Keep a socket no longer that is about to be closed."""

    def close_others(self) -> None:
        """Close what nobody has taken."""


class Listeners:
    """Listens on a set of addresses, and on another when it is told.

    Args:
        reactor: Twisted's.
        accept: is given each connection with the kind that its address has at that time.
        source: has sockets that listen already.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        accept: Callable[[PortKind, Stream], None],
        source: Source | None = None,
    ) -> None:
        self._reactor = reactor
        self._accept = accept
        self._keeping: Source = source or Keeping(Notifier(reactor, None))
        self._doors: dict[Binding, _Door] = {}
        self._others: dict[int, dict[Binding, _Door]] = {}

    @property
    def addresses(self) -> dict[Binding, tuple[str, int]]:
        """Where each binding really listens."""
        return {bind: (host.host, host.port) for bind, host in self._hosts()}

    def change(self, binds: Iterable[Binding]) -> None:
        """Listen on ``binds`` and nowhere else; an address that was listened on already is never let go of.

        Connections that wait at an address to be closed are accepted before this returns.

        Raises:
            ListenError: an address is not ours or a port is taken; then nothing has changed.
        """
        wanted = dict.fromkeys(binds)
        surplus = self._take_up(wanted)
        gone = {bind: door for bind, door in self._doors.items() if bind not in wanted}
        kept = {bind: door for bind, door in self._doors.items() if bind in wanted}
        turned = _turned(wanted.keys() - kept.keys(), gone)
        for bind in turned.values():
            del gone[bind]
        for bind, before in turned.items():
            self._doors[before].adapt(bind)
        leaving = [*gone.values(), *surplus]
        fresh = self._open([bind for bind in wanted if bind not in kept and bind not in turned], leaving)
        for door in leaving:
            self._keeping.drop(door.port.socket)
            self._reactor.callWhenRunning(door.close_when_empty)
        for bind, before in turned.items():
            kept[bind] = self._doors[before]
            kept[bind].kind = bind.kind
        self._doors = {bind: (kept | fresh)[bind] for bind in wanted}
        for door in self._doors.values():
            self._keeping.keep(door.port.socket)
        self._keeping.close_others()
        for number in list(self._others):
            self._leave(number, self._doors)

    def stand_in(self, number: int, sockets: Iterable[tuple[tuple[str, int], socket.socket]]) -> None:
        """Accept also from sockets of another process, at addresses that are listened on, until `stand_down`.

        Args:
            number: of the other; its earlier sockets are left.
            sockets: which listen, by interface and port; this process's from now on.
        """
        self.stand_down(number)
        binds = {(bind.interface, bind.port): bind for bind in self._doors}
        doors = self._others.setdefault(number, {})
        for place, listening in sockets:
            bind = binds.get(place)
            if bind is None:
                listening.close()
                continue
            doors[bind] = _Door(self._reactor, bind.kind, self._accept)
            doors[bind].borrow(listening, bind)

    def stand_down(self, number: int) -> None:
        """Accept from another process's sockets no longer."""
        self._leave(number, ())

    def _leave(self, number: int, wanted: Container[Binding]) -> list[Deferred[None]]:
        doors = self._others.pop(number, {})
        kept = {bind: door for bind, door in doors.items() if bind in wanted}
        if kept:
            self._others[number] = kept
        return [door.port.stop_when_empty() for bind, door in doors.items() if bind not in kept]

    def close(self) -> list[Deferred[None]]:
        """Listen nowhere; what waits is left to whoever else has the socket, another process's too."""
        doors, self._doors = self._doors, {}
        others, self._others = self._others, {}
        borrowed = [door for each in others.values() for door in each.values()]
        return [*(door.close() for door in doors.values()), *(door.give_back() for door in borrowed)]

    def close_when_empty(self) -> list[Deferred[None]]:
        """Listen nowhere, as soon as what waits has been accepted."""
        doors, self._doors = self._doors, {}
        leaving = [each for number in list(self._others) for each in self._leave(number, ())]
        return [*(door.close_when_empty() for door in doors.values()), *leaving]

    def _take_up(self, wanted: Iterable[Binding]) -> list[_Door]:
        """Have doors at sockets that listen already; return further ones, that are closed as soon as they are empty."""
        surplus: list[_Door] = []
        for bind in wanted:
            for listening in self._keeping.take(bind.interface, bind.port):
                door = _Door(self._reactor, bind.kind, self._accept)
                door.adopt(bind, listening)
                if self._doors.setdefault(bind, door) is not door:
                    surplus.append(door)
        for bind in wanted:
            for listening in self._keeping.take_port(bind.port):
                surplus.append(_Door(self._reactor, bind.kind, self._accept))
                surplus[-1].adopt(bind, listening)
        return surplus

    def _open(self, binds: Iterable[Binding], gone: Sequence[_Door]) -> dict[Binding, _Door]:
        opened: dict[Binding, _Door] = {}
        try:
            for bind in binds:
                opened[bind] = _Door(self._reactor, bind.kind, self._accept)
                opened[bind].open(bind, [door.port for door in gone if _overlap(bind, door.port)])
        except ListenError:
            del opened[bind]
            for door in opened.values():
                door.close()
            raise
        return opened

    def _hosts(self) -> Iterable[tuple[Binding, Any]]:
        return [(bind, door.port.getHost()) for bind, door in self._doors.items()]


class _Door:
    """One address that is listened on; its kind may change."""

    __slots__ = ("_accept", "_reactor", "kind", "port")

    port: Listener

    def __init__(self, reactor: Any, kind: PortKind, accept: Callable[[PortKind, Stream], None]) -> None:  # noqa: ANN401
        self.kind = kind
        self._reactor = reactor
        self._accept = accept

    def open(self, bind: Binding, beside: Sequence[Listener]) -> None:
        """Bind."""
        try:
            self.port = listen(
                self._reactor, bind.interface, bind.port, self._accepted, beside=beside, transparent=bind.transparent
            )
        except CannotListenError as error:
            raise ListenError(bind.interface, bind.port, error.socketError) from error
        except OSError as error:  # of listen(2) itself, which Twisted does not translate
            raise ListenError(bind.interface, bind.port, error) from error
        self._say("listening on")

    def adopt(self, bind: Binding, listening: socket.socket) -> None:
        """Take up a socket that listens already."""
        self.port = adopt(self._reactor, listening, self._accepted)
        self.adapt(bind)
        self._say("listening again on")

    def borrow(self, listening: socket.socket, bind: Binding) -> None:
        """Accept from another process's socket."""
        self.port = adopt(self._reactor, listening, self._accepted)
        self.adapt(bind)

    def adapt(self, bind: Binding) -> None:
        """Be transparent if that is wanted; once it is, a connection to an address of ours is taken all the same."""
        if bind.transparent and not self.port.is_transparent:
            try:
                self.port.become_transparent()
            except OSError as error:
                raise ListenError(bind.interface, bind.port, error) from error

    def close(self) -> Deferred[None]:
        self._say("no longer listening on")
        return self.give_back()

    def give_back(self) -> Deferred[None]:
        """Accept no longer; what waits is left."""
        closing: Deferred[None] = self.port.stopListening()  # type: ignore[no-untyped-call]
        return closing

    def close_when_empty(self) -> Deferred[None]:
        self._say("no longer listening on")
        return self.port.stop_when_empty()

    def _accepted(self, stream: Stream) -> None:
        self._accept(self.kind, stream)

    def _say(self, what: str) -> None:
        host = self.port.getHost()
        where = str(Endpoint(host.host, host.port))
        _log.info("{what} {where} ({kind})", what=what, where=where, kind=self.kind.value)


def _turned(fresh: Iterable[Binding], gone: Iterable[Binding]) -> dict[Binding, Binding]:
    """Return which addresses have only changed their kind, and what they were."""
    before = {(bind.interface, bind.port): bind for bind in gone if bind.port}
    found = {bind: before.get((bind.interface, bind.port)) for bind in fresh}
    return {bind: was for bind, was in found.items() if was is not None}


def _overlap(bind: Binding, port: Listener) -> bool:
    """Whether one takes what is meant for the other: any address, and an address."""
    host = port.getHost()
    first, second = ip_address(bind.interface), ip_address(host.host)
    same = bind.port == host.port and first.version == second.version
    return same and (first.is_unspecified or second.is_unspecified)
