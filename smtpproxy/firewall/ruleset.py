"""The table that a plan wants.

Packets of connections that have a socket here come first, whatever became of the policy that took them. Then the
gateway's own traffic is left alone, and so is what is for the machine itself; of the rest each policy's is taken.

Source: the kernel's Documentation/networking/tproxy; nft(8) on tproxy, socket and fib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.plan import VERSIONS
from smtpproxy.firewall.table import BLOCKED, PRIORITIES, AddressSet, Chain, Hook, Rule, Table
from smtpproxy.policy.model import InterceptionMode
from smtpproxy.transport.transparent import MARK_MASK, OWN_MARK, TPROXY_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpproxy.firewall.plan import Plan, Taking
    from smtpproxy.policy.rules import Network

_ALL_BITS: Final = 0xFFFFFFFF
_COMMENT_OCTETS: Final = 127
_ADDRESSES: Final = {4: "ip", 6: "ip6"}
_FAMILIES: Final = {4: "meta nfproto ipv4", 6: "meta nfproto ipv6"}
_MANGLE: Final = Hook("filter", "prerouting", PRIORITIES["mangle"])
_DSTNAT: Final = Hook("nat", "prerouting", PRIORITIES["dstnat"])
_FORWARD: Final = Hook("filter", "forward", PRIORITIES["filter"])

_SET_MARK: Final = f"meta mark set meta mark & 0x{_ALL_BITS ^ MARK_MASK:08x} | 0x{TPROXY_MARK:08x} accept"
_IS_OWN: Final = f"meta mark & 0x{MARK_MASK:08x} == 0x{OWN_MARK:08x}"
_IS_TAKEN: Final = f"meta mark & 0x{MARK_MASK:08x} == 0x{TPROXY_MARK:08x}"

_OWN: Final = (
    Rule('iifname "lo" accept', "this machine's own"),
    Rule(f"{_IS_OWN} accept", "the gateway's own"),
)
_LOCAL: Final = Rule("fib daddr type local accept", "for this machine, so it comes anyway")


def make_table(plan: Plan) -> Table | None:
    """Return the table, ``None`` if none is wanted."""
    if plan.is_empty:
        return None
    return Table(tuple(_sets(plan)), tuple(_chains(plan)))


def _sets(plan: Plan) -> Iterator[AddressSet]:
    for taking in plan.takings:
        for side, networks in (("source", taking.source), ("destination", taking.destination)):
            if networks:
                yield AddressSet(_set_name(taking, side), taking.version, networks)


def _set_name(taking: Taking, side: str) -> str:
    return f"policy_{taking.number}_{side}_{taking.version}"


def _chains(plan: Plan) -> Iterator[Chain]:
    """Yield the chains, each behind those that it calls."""
    if plan.blocks:
        yield Chain(BLOCKED, None, (Rule("counter drop", "on_stop: block"),))
    if plan.routes_to_itself:
        yield Chain("divert", None, _divert())
    if plan.takings:
        yield Chain("take", None, tuple(_take(plan)))
    if plan.mode is InterceptionMode.TPROXY:
        yield Chain("intercept", _MANGLE, (*_OWN, *_answers(plan), *_policies(plan)))
    else:
        yield from _separate_chains(plan)
    if plan.blocks:
        yield Chain("forward", _FORWARD, tuple(_forward(plan)))


def _separate_chains(plan: Plan) -> Iterator[Chain]:
    if plan.answering:
        yield Chain("answers", _MANGLE, (*_OWN, *_answers(plan)))
    if plan.takings:
        yield Chain("intercept", _DSTNAT, (*_OWN, *_policies(plan)))


def _divert() -> tuple[Rule, ...]:
    """Take what a transparent socket is for; one that listens on every address is for nothing in particular."""
    return (
        Rule("socket wildcard 1 return", "a listener: policies decide"),
        Rule(f"socket transparent 1 {_SET_MARK}", "of a connection that stands"),
    )


def _answers(plan: Plan) -> Iterator[Rule]:
    if plan.mode is InterceptionMode.TPROXY and plan.takings:
        yield Rule(f"tcp dport {_ports(plan.configured)} jump divert", "from clients")
    if plan.answering:
        yield Rule(f"tcp sport {_ports(plan.answering)} jump divert", "answers to clients' own addresses")


def _policies(plan: Plan) -> Iterator[Rule]:
    if plan.takings:
        yield _LOCAL
    for taking in plan.takings:
        yield Rule(f"{_match(taking)} counter goto take", _comment(taking.policy))


def _match(taking: Taking) -> str:
    words = [
        *_addresses(taking, "saddr", "source", taking.source),
        *_addresses(taking, "daddr", "destination", taking.destination),
    ]
    return " ".join([*(words or [_FAMILIES[taking.version]]), f"tcp dport {_ports(taking.ports)}"])


def _addresses(taking: Taking, field: str, side: str, networks: tuple[Network, ...]) -> list[str]:
    return [f"{_ADDRESSES[taking.version]} {field} @{_set_name(taking, side)}"] if networks else []


def _take(plan: Plan) -> Iterator[Rule]:
    """Hand over; where nobody listens, tproxy goes on with the next rule."""
    versions = {taking.version for taking in plan.takings}
    for version in (each for each in VERSIONS if each in versions and each in plan.listeners):
        for port in plan.ports:
            yield Rule(f"{_FAMILIES[version]} tcp dport {port} {_hand_over(plan, version, port)}")
    if plan.blocks and plan.mode is InterceptionMode.TPROXY:
        yield Rule(f"goto {BLOCKED}", "nobody listens")


def _hand_over(plan: Plan, version: int, port: int) -> str:
    listener = plan.listeners[version]
    address = "" if listener is None else f"[{listener}]" if ":" in listener else listener
    if plan.mode is InterceptionMode.TPROXY:
        return f"tproxy {_ADDRESSES[version]} to {address}:{port} {_SET_MARK}"
    return f"dnat {_ADDRESSES[version]} to {address}:{port}" if address else f"redirect to :{port}"


def _forward(plan: Plan) -> Iterator[Rule]:
    """Let nothing through that the gateway was to have, whoever changed what."""
    if plan.routes_to_itself:
        yield Rule(f"{_IS_TAKEN} goto {BLOCKED}", "not routed to the gateway")
    for taking in plan.takings:
        yield Rule(f"{_match(taking)} goto {BLOCKED}", _comment(taking.policy))


def _ports(ports: Sequence[int]) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{{ {', '.join(map(str, ports))} }}"


def _comment(name: str) -> str:
    """Return a name as nft takes it: short, and without what ends a string."""
    plain = name.translate({ord('"'): "'", ord("\\"): "/"})
    return plain.encode()[:_COMMENT_OCTETS].decode(errors="ignore")
