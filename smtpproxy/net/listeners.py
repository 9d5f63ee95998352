"""The addresses that are listened on, and how one set of them follows another without a gap.

Source: socket(7) SO_REUSEADDR, SO_REUSEPORT; listen(2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from smtpproxy.net.listening import ListenError
from smtpproxy.policy.model import InterceptionMode, Policy, PortKind
from smtpproxy.transport.stream import Stream
from smtpproxy.transport.tcp import Listener, listen

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


class Listeners:
    """Listens on a set of addresses, and on another when it is told.

    Args:
        reactor: Twisted's.
        accept: is given each connection with the kind that its address has at that time.
    """

    def __init__(self, reactor: Any, accept: Callable[[PortKind, Stream], None]) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._accept = accept
        self._doors: dict[Binding, _Door] = {}

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
        gone = {bind: door for bind, door in self._doors.items() if bind not in wanted}
        kept = {bind: door for bind, door in self._doors.items() if bind in wanted}
        turned = _turned(wanted.keys() - kept.keys(), gone)
        for bind in turned.values():
            del gone[bind]
        for bind, before in turned.items():
            self._doors[before].adapt(bind)
        fresh = self._open([bind for bind in wanted if bind not in kept and bind not in turned], gone)
        for door in gone.values():
            door.close_when_empty()
        for bind, before in turned.items():
            kept[bind] = self._doors[before]
            kept[bind].kind = bind.kind
        self._doors = {bind: (kept | fresh)[bind] for bind in wanted}

    def close(self) -> list[Deferred[None]]:
        """Listen nowhere."""
        doors, self._doors = self._doors, {}
        return [door.close() for door in doors.values()]

    def _open(self, binds: Iterable[Binding], gone: Mapping[Binding, _Door]) -> dict[Binding, _Door]:
        opened: dict[Binding, _Door] = {}
        try:
            for bind in binds:
                beside = [door.port for each, door in gone.items() if _overlap(bind, each)]
                opened[bind] = _Door(self._reactor, bind, self._accept, beside)
        except ListenError:
            for door in opened.values():
                door.close()
            raise
        return opened

    def _hosts(self) -> Iterable[tuple[Binding, Any]]:
        return [(bind, door.port.getHost()) for bind, door in self._doors.items()]


class _Door:
    """One address that is listened on; its kind may change."""

    __slots__ = ("_accept", "kind", "port")

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        bind: Binding,
        accept: Callable[[PortKind, Stream], None],
        beside: Sequence[Listener],
    ) -> None:
        self.kind = bind.kind
        self._accept = accept
        try:
            self.port = listen(
                reactor, bind.interface, bind.port, self._accepted, beside=beside, transparent=bind.transparent
            )
        except CannotListenError as error:
            raise ListenError(bind.interface, bind.port, error.socketError) from error
        except OSError as error:  # of listen(2) itself, which Twisted does not translate
            raise ListenError(bind.interface, bind.port, error) from error
        self._say("listening on")

    def adapt(self, bind: Binding) -> None:
        """Be transparent if that is wanted; once it is, a connection to an address of ours is taken all the same."""
        if bind.transparent and not self.port.is_transparent:
            try:
                self.port.become_transparent()
            except OSError as error:
                raise ListenError(bind.interface, bind.port, error) from error

    def close(self) -> Deferred[None]:
        self._say("no longer listening on")
        closing: Deferred[None] = self.port.stopListening()  # type: ignore[no-untyped-call]
        return closing

    def close_when_empty(self) -> None:
        self._say("no longer listening on")
        self.port.stop_when_empty()

    def _accepted(self, stream: Stream) -> None:
        self._accept(self.kind, stream)

    def _say(self, what: str) -> None:
        host = self.port.getHost()
        _log.info("{what} {host}:{port} ({kind})", what=what, host=host.host, port=host.port, kind=self.kind.value)


def _turned(fresh: Iterable[Binding], gone: Iterable[Binding]) -> dict[Binding, Binding]:
    """Return which addresses have only changed their kind, and what they were."""
    before = {(bind.interface, bind.port): bind for bind in gone if bind.port}
    found = {bind: before.get((bind.interface, bind.port)) for bind in fresh}
    return {bind: was for bind, was in found.items() if was is not None}


def _overlap(one: Binding, other: Binding) -> bool:
    """Whether one of two bindings takes what is meant for the other: any address, and an address."""
    first, second = ip_address(one.interface), ip_address(other.interface)
    return (
        one.port == other.port and first.version == second.version and (first.is_unspecified or second.is_unspecified)
    )
