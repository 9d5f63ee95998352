"""What the kernel must do so that exactly the traffic of the policies comes to the gateway.

A connection is taken if an enabled policy takes it, which is when `select_policy` finds one: no policy can exempt
traffic from those below it, so their order means nothing here.

Source: the kernel's Documentation/networking/tproxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from itertools import chain
from typing import TYPE_CHECKING, Final

from smtpproxy.policy.model import InterceptionMode, OnStop, PortKind, SourceAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from smtpproxy.policy.model import Policy
    from smtpproxy.policy.rules import Network

VERSIONS: Final = (4, 6)
_IPV4: Final = 4

_ALL: Final = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
_REDIRECTING: Final = frozenset({InterceptionMode.TPROXY, InterceptionMode.REDIRECT})


@dataclass(frozen=True, slots=True)
class Taking:
    """What one policy takes of one IP version.

    Args:
        number: the policy's place, from 1.
        policy: its name.
        version: 4 or 6.
        source: the clients' networks, none of them within another; empty for any.
        destination: the same of what they dial.
        ports: in ascending order.
    """

    number: int
    policy: str
    version: int
    source: tuple[Network, ...]
    destination: tuple[Network, ...]
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the kernel must do.

    Args:
        mode: how connections are handed to the gateway.
        takings: what is handed over; nothing in modes that need no help of the kernel.
        listeners: the address that takes each IP version, ``None`` for any of the machine's.
        on_stop: what becomes of that traffic while nobody listens.
        answering: the ports whose answers to clients' own addresses are the gateway's; with tproxy, where it costs no
            more, also those of sessions that stand, whatever has become of their policy.
        configured: the ports on which connections may stand that some policy took once.
    """

    mode: InterceptionMode
    takings: tuple[Taking, ...]
    listeners: Mapping[int, str | None]
    on_stop: OnStop
    answering: tuple[int, ...]
    configured: tuple[int, ...]

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that some policy takes."""
        return tuple(sorted(set(chain.from_iterable(taking.ports for taking in self.takings))))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wanted of the kernel."""
        return not (self.takings or self.answering)

    @property
    def blocks(self) -> bool:
        """Whether what nobody takes is dropped."""
        return bool(self.takings) and self.on_stop is OnStop.BLOCK

    @property
    def routes_to_itself(self) -> bool:
        """Whether packets for other addresses are to be taken as they are."""
        return bool(self.answering or (self.takings and self.mode is InterceptionMode.TPROXY))

    @property
    def unheard(self) -> tuple[int, ...]:
        """The IP versions that policies take and no listener hears."""
        versions = {taking.version for taking in self.takings}
        return tuple(sorted(versions - self.listeners.keys()))


def make_plan(
    policies: Sequence[Policy],
    mode: InterceptionMode,
    listen: Sequence[str],
    ports: Mapping[PortKind, Sequence[int]],
    on_stop: OnStop,
) -> Plan:
    """Return what the kernel must do.

    Args:
        policies: all, in the configured order.
        mode: how connections come to the gateway.
        listen: the addresses that ports are bound on.
        ports: the ports of each kind.
        on_stop: what becomes of the traffic of a stopped gateway.
    """
    takings = tuple(_takings(policies, ports)) if mode in _REDIRECTING else ()
    configured = tuple(sorted(set(chain.from_iterable(ports.values()))))
    answering = _answering(policies, ports)
    if takings and mode is InterceptionMode.TPROXY:
        answering = tuple(sorted({*configured, *_of_upstreams(policies)}))
    return Plan(mode, takings, _listeners(listen), on_stop, answering, configured)


def _takings(policies: Sequence[Policy], ports: Mapping[PortKind, Sequence[int]]) -> Iterator[Taking]:
    for number, policy in enumerate(policies, 1):
        taken = _ports(policy, ports)
        if not (policy.enabled and taken):
            continue
        for version in VERSIONS:
            source, destination = _of(version, policy.source), _of(version, policy.destination)
            if source and destination:
                yield Taking(number, policy.name, version, _unless_all(source), _unless_all(destination), taken)


def _ports(policy: Policy, ports: Mapping[PortKind, Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted(set(chain.from_iterable(ports[kind] for kind in policy.tls_support.ports))))


def _of(version: int, networks: Iterable[Network]) -> tuple[Network, ...]:
    if version == _IPV4:
        return tuple(collapse_addresses(each for each in networks if isinstance(each, IPv4Network)))
    return tuple(collapse_addresses(each for each in networks if isinstance(each, IPv6Network)))


def _unless_all(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    return () if networks[0] in _ALL.values() else networks


def _listeners(listen: Sequence[str]) -> dict[int, str | None]:
    """Return whom to hand over to: who listens on every address, else the first."""
    found: dict[int, str | None] = {}
    for address in map(ip_address, listen):
        if address.is_unspecified:
            found[address.version] = None
        else:
            found.setdefault(address.version, str(address))
    return found


def _answering(policies: Sequence[Policy], ports: Mapping[PortKind, Sequence[int]]) -> tuple[int, ...]:
    found: set[int] = set()
    for policy in policies:
        if policy.enabled and policy.source_address is SourceAddress.CLIENT:
            for kind in policy.tls_support.ports:
                target = policy.target(kind)
                found.update([target.port] if target else ports[kind])
    return tuple(sorted(found))


def _of_upstreams(policies: Sequence[Policy]) -> set[int]:
    return {target.port for policy in policies for kind in PortKind if (target := policy.target(kind))}
