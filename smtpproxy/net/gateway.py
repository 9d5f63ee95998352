"""The listeners: accept, select the policy, admit, and give each session its driver."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from smtpproxy.audit import Origin
from smtpproxy.net.admission import LIMITS, Admission
from smtpproxy.net.driver import Driver
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.listening import ListenError
from smtpproxy.net.refusals import Refusals
from smtpproxy.policy.model import Policy, PortKind
from smtpproxy.policy.selection import plain_address, select_policy
from smtpproxy.session.session import Session
from smtpproxy.session.terms import Circumstances, Terms
from smtpproxy.transport.stream import Stream
from smtpproxy.transport.tcp import listen

DRAIN_S = 10.0
"""How long a stopping gateway waits for messages that are under way."""

NO_POLICY = "no-policy"

_log = Logger(namespace="smtpproxy")


@dataclass(frozen=True, slots=True)
class Binding:
    """An address to listen on, and how its connections begin."""

    interface: str
    port: int
    kind: PortKind


def bindings(
    policies: Iterable[Policy], listen_on: Sequence[str], ports: Mapping[PortKind, tuple[int, ...]]
) -> list[Binding]:
    """Return what has to be bound: the kinds of port that some enabled policy takes, on every address."""
    kinds = {kind for policy in policies if policy.enabled for kind in policy.tls_support.ports}
    return [
        Binding(interface, port, kind)
        for kind in PortKind
        if kind in kinds
        for interface in listen_on
        for port in ports[kind]
    ]


class Gateway(Service):
    """Listens and runs sessions.

    Args:
        equipment: what all sessions share.
        policies: in their order.
        binds: what to listen on.
        gateway_name: ours, for the terms of a session.
        drain_s: how long a stopping gateway waits for messages that are under way.

    Attributes:
        addresses: after the start, where each binding really listens.
        sessions_begun: sessions that were begun.
        turned_away: connections that became no session, by the token of the reason.
    """

    def __init__(
        self,
        equipment: Equipment,
        policies: Sequence[Policy],
        binds: Sequence[Binding],
        gateway_name: str,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._equipment = equipment
        self._policies = tuple(policies)
        self._binds = tuple(binds)
        self._terms = {
            (policy.name, kind): Terms.of(policy, kind, gateway_name) for policy in policies for kind in PortKind
        }
        self._admission = Admission()
        self._refusals = Refusals()
        self._drivers: set[Driver] = set()
        self._ports: list[Any] = []
        self._drained: Deferred[None] | None = None
        self._drain_s = drain_s
        self.addresses: dict[Binding, tuple[str, int]] = {}
        self.sessions_begun = 0
        self.turned_away: Counter[str] = Counter(dict.fromkeys((NO_POLICY, *LIMITS), 0))

    @property
    def sessions_running(self) -> int:
        """How many sessions there are."""
        return len(self._drivers)

    # The service

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind every port, before twistd gives up its privileges; nothing is accepted until the reactor runs.

        Raises:
            ListenError: an address is not ours or a port is taken; whatever was bound is closed again.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            for bind in self._binds:
                self._listen(bind)
        except ListenError:
            while self._ports:
                self._ports.pop().stopListening()
            raise

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind every port, unless that is done."""
        if not self._ports:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]

    def _listen(self, bind: Binding) -> None:
        try:
            port = listen(self._equipment.reactor, bind.interface, bind.port, partial(self._accept, bind.kind))
        except CannotListenError as error:
            raise ListenError(bind.interface, bind.port, error.socketError) from error
        except OSError as error:  # of listen(2) itself, which Twisted does not translate
            raise ListenError(bind.interface, bind.port, error) from error
        self._ports.append(port)
        host = port.getHost()
        self.addresses[bind] = (host.host, host.port)
        _log.info("listening on {host}:{port} ({kind})", host=host.host, port=host.port, kind=bind.kind.value)

    def stopService(self) -> Deferred[Any]:  # noqa: N802 - Twisted's name
        """Stop listening, let messages under way end, then close."""
        super().stopService()  # type: ignore[no-untyped-call]
        closing = [port.stopListening() for port in self._ports]
        self._ports.clear()
        for driver in list(self._drivers):
            driver.drain()
        return DeferredList([each for each in [*closing, self._wait_for_sessions()] if each is not None])

    def _wait_for_sessions(self) -> Deferred[None] | None:
        if not self._drivers:
            return None
        self._drained = Deferred()
        deadline = self._equipment.reactor.callLater(self._drain_s, self._expire)
        self._drained.addCallback(lambda _: deadline.active() and deadline.cancel())
        return self._drained

    def _expire(self) -> None:
        """Every session that is left ends now, and is on record."""
        for driver in list(self._drivers):
            driver.expire()

    # A connection

    def _accept(self, kind: PortKind, stream: Stream) -> None:
        address, destination = plain_address(stream.peer_host), plain_address(stream.local_host)
        source = str(address)
        policy = select_policy(self._policies, address, destination, kind)
        if policy is None:
            self.turned_away[NO_POLICY] += 1
            _log.warn(
                "no policy takes {source} to {to}:{port}", source=source, to=str(destination), port=stream.local_port
            )
            stream.abort()
            return
        token = self._admission.admit(policy.action, source)
        if token is None:
            self._begin(policy, kind, stream, source)
        else:
            self.turned_away[token] += 1
            _log.warn("{token}: {source}, policy {policy}", token=token, source=source, policy=policy.name)
            self._refusals.turn_away(kind, stream)

    def _begin(self, policy: Policy, kind: PortKind, stream: Stream, source: str) -> None:
        terms = self._terms[policy.name, kind]
        origin = _origin(self._equipment.reference(), terms, stream)
        session = Session(terms, Circumstances(origin, time.monotonic))
        driver = Driver(session, stream, origin, self._equipment, partial(self._ended, policy, source))
        self._drivers.add(driver)
        self.sessions_begun += 1
        driver.start()

    def _ended(self, policy: Policy, source: str, driver: Driver) -> None:
        self._drivers.discard(driver)
        self._admission.release(policy.action, source)
        if self._drained is not None and not self._drivers:
            drained, self._drained = self._drained, None
            drained.callback(None)


def _origin(session: str, terms: Terms, stream: Stream) -> Origin:
    policy, upstream = terms.policy, terms.policy.upstream
    return Origin(
        session=session,
        policy=policy.name,
        proxy_action=policy.action.name,
        direction=policy.direction.value,
        port=terms.kind.value,
        client=_address(stream.peer_host, stream.peer_port),
        destination=_address(stream.local_host, stream.local_port),
        upstream=_address(upstream.host, upstream.port(terms.kind)),
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
