"""The rules and routes that bring marked packets to this machine, whatever address they are for.

Source: ip-rule(8), ip-route(8); the kernel's Documentation/networking/tproxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.plan import VERSIONS
from smtpproxy.transport.transparent import MARK_MASK, TPROXY_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.firewall.plan import Plan

ROUTING_TABLE: Final = 25465
"""The number of our routing table; nothing else may use it."""

RULE_PRIORITY: Final = 465
"""Before the main table (32766) and what else steers by address, behind the local one (0)."""


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A rule that leads to our routing table, as ``ip rule`` writes its selector and place."""

    version: int
    priority: int
    selector: tuple[str, ...]

    def __str__(self) -> str:
        return f"ip -{self.version} rule: {' '.join(self.arguments)}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands behind ``ip rule add``."""
        return ("pref", str(self.priority), *self.selector, "lookup", str(ROUTING_TABLE))


@dataclass(frozen=True, slots=True)
class Route:
    """A route in our table."""

    version: int
    kind: str
    destination: str
    device: str

    def __str__(self) -> str:
        return f"ip -{self.version} route: {' '.join(self.arguments)}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands behind ``ip route replace``."""
        device = ("dev", self.device) if self.device else ()
        return (self.kind, self.destination, *device, "table", str(ROUTING_TABLE))


@dataclass(frozen=True, slots=True)
class Routing:
    """All rules that lead to our table, and all routes in it."""

    rules: tuple[RoutingRule, ...] = ()
    routes: tuple[Route, ...] = ()


def make_routing(plan: Plan) -> Routing:
    """Return the rules and routes that a plan wants."""
    if not plan.routes_to_itself:
        return Routing()
    selector = ("fwmark", f"0x{TPROXY_MARK:x}/0x{MARK_MASK:x}")
    return Routing(
        tuple(RoutingRule(version, RULE_PRIORITY, selector) for version in VERSIONS),
        tuple(Route(version, "local", "default", "lo") for version in VERSIONS),
    )


def commands(routing: Routing) -> Iterator[tuple[str, ...]]:
    """Yield the arguments of ``ip`` that make the routes, then the rules."""
    for route in routing.routes:
        yield (f"-{route.version}", "route", "replace", *route.arguments)
    for rule in routing.rules:
        yield (f"-{rule.version}", "rule", "add", *rule.arguments)
