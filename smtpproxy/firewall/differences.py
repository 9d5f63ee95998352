"""Say in words how what the kernel has differs from what is wanted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING, TypeVar

from smtpproxy.firewall.routing import Routing
from smtpproxy.firewall.table import FAMILY, NAME, UNREADABLE, Chain, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from smtpproxy.firewall.routing import Route, RoutingRule
    from smtpproxy.firewall.table import AddressSet
    from smtpproxy.policy.rules import Network


_N = TypeVar("_N", "AddressSet", Chain)


@dataclass(frozen=True, slots=True)
class State:
    """A table, or none, with its routing: as wanted, or as the kernel has it."""

    table: Table | None
    routing: Routing


def differences(wanted: State, found: State) -> list[str]:
    """Return each difference; none if the kernel has what is wanted."""
    return [*_tables(wanted.table, found.table), *_routing(wanted.routing, found.routing)]


def _tables(wanted: Table | None, found: Table | None) -> Iterator[str]:
    if wanted is None or found is None:
        if found is not None:
            yield f"the table {FAMILY} {NAME} is there, and the configuration wants none"
        elif wanted is not None:
            yield f"the table {FAMILY} {NAME} is missing"
        return
    yield from (f"the table has {other}, which is not wanted" for other in found.others)
    if found is not UNREADABLE:
        yield from _by_name("the set", wanted.sets, found.sets, _elements)
        yield from _by_name("the chain", wanted.chains, found.chains, _chain)


def _by_name(
    what: str, wanted: Iterable[_N], found: Iterable[_N], compare: Callable[[_N, _N], Iterator[str]]
) -> Iterator[str]:
    should, does = {each.name: each for each in wanted}, {each.name: each for each in found}
    for name, each in should.items():
        if name in does:
            yield from compare(each, does[name])
        else:
            yield f"{what} {name} is missing"
    yield from (f"{what} {name} is not wanted" for name in sorted(does.keys() - should.keys()))


def _elements(wanted: AddressSet, found: AddressSet) -> Iterator[str]:
    """Compare what is covered: nft may list the same addresses as other networks."""
    covered, missing = set(found.networks), set(wanted.networks)
    if _covered(covered) != _covered(missing):
        yield from (f"the set {wanted.name} lacks {network}" for network in sorted(missing - covered, key=str))
        yield from (f"the set {wanted.name} has {network} besides" for network in sorted(covered - missing, key=str))


def _covered(networks: Iterable[Network]) -> list[Network]:
    every = list(networks)
    return [
        *collapse_addresses(each for each in every if isinstance(each, IPv4Network)),
        *collapse_addresses(each for each in every if isinstance(each, IPv6Network)),
    ]


def _chain(wanted: Chain, found: Chain) -> Iterator[str]:
    name = f"the chain {wanted.name}"
    if wanted.hook != found.hook:
        yield f"{name} has '{found.hook or 'no hook'}' instead of '{wanted.hook or 'no hook'}'"
    should, does = Counter(rule.text for rule in wanted.rules), Counter(rule.text for rule in found.rules)
    yield from (f"{name} lacks the rule '{text}'" for text in should - does)
    yield from (f"{name} has the rule '{text}' besides" for text in does - should)
    if should == does and [rule.text for rule in wanted.rules] != [rule.text for rule in found.rules]:
        yield f"{name} has its rules in another order"


def _routing(wanted: Routing, found: Routing) -> Iterator[str]:
    yield from _compared(wanted.rules, found.rules)
    yield from _compared(wanted.routes, found.routes)


def _compared(wanted: Iterable[RoutingRule | Route], found: Iterable[RoutingRule | Route]) -> Iterator[str]:
    should, does = Counter(map(str, wanted)), Counter(map(str, found))
    yield from (f"{text} is missing" for text in should - does)
    yield from (f"{text} is not wanted" for text in does - should)
