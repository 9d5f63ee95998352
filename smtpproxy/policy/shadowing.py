"""Which encryption rules take the mail that others are written for.

The first rule that matches decides, so a rule behind one that is for the same mail or more is never reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from smtpproxy.policy.coverage import Atom, atoms, covers, covers_atom, is_empty, shared_atoms
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.rules import Audience, EncryptionRule, Network


def shadows(rules: Sequence[EncryptionRule], number: int) -> list[EncryptionRule]:
    """Return the rules that together leave nothing to the one at ``number``; none if there is mail that it gets."""
    wanted = rules[number].audience.to
    before = [] if is_empty(wanted) else _before(rules, number)
    if not before or not covers(Entries.union([rule.audience.to for rule in before]), wanted):
        return []
    alone = next((rule for rule in before if covers(rule.audience.to, wanted)), None)
    return [alone] if alone else _sharers(before, list(atoms(wanted)))


def taken(rules: Sequence[EncryptionRule], number: int) -> list[tuple[EncryptionRule, set[Atom]]]:
    """Return each rule that takes entries of the one at ``number``, and asks for something else, with those entries."""
    rule = rules[number]
    seen = set[Atom]()
    found: list[tuple[EncryptionRule, set[Atom]]] = []
    for other in _before(rules, number):
        shared = shared_atoms(other.audience.to, rule.audience.to) - seen
        seen |= shared
        if shared and _asks(other) != _asks(rule):
            found.append((other, shared))
    return found


def networks_cover(outer: Sequence[Network] | None, inner: Sequence[Network] | None) -> bool:
    """Return whether every address of ``inner`` is in ``outer``; ``None`` is all addresses."""
    if outer is None or inner is None:
        return outer is None
    ipv4 = list(collapse_addresses(network for network in outer if isinstance(network, IPv4Network)))
    ipv6 = list(collapse_addresses(network for network in outer if isinstance(network, IPv6Network)))
    return all(
        any(network.subnet_of(each) for each in ipv4)
        if isinstance(network, IPv4Network)
        else any(network.subnet_of(each) for each in ipv6)
        for network in inner
    )


def clients_may_meet(one: Audience, other: Audience) -> bool:
    """Return whether some client may be meant by both."""
    if one.client is None or other.client is None:
        return True
    return any(
        first.version == second.version and first.overlaps(second) for first in one.client for second in other.client
    )


def _before(rules: Sequence[EncryptionRule], number: int) -> list[EncryptionRule]:
    """Return the earlier rules that decide about all mail that this one is for, as far as ``to`` allows."""
    audience = rules[number].audience
    return [
        rule
        for rule in rules[:number]
        if rule.decides
        and covers(rule.audience.from_, audience.from_)
        and networks_cover(rule.audience.client, audience.client)
    ]


def _sharers(rules: Sequence[EncryptionRule], left: list[Atom]) -> list[EncryptionRule]:
    """Return the rules that take the entries among them, each its part of what those before it left."""
    found: list[EncryptionRule] = []
    for rule in rules:
        still = [atom for atom in left if not covers_atom(rule.audience.to, atom)]
        if len(still) < len(left):
            found.append(rule)
        left = still
    return found


def _asks(rule: EncryptionRule) -> tuple[object, ...]:
    return rule.sender, rule.recipient, rule.match, rule.sender_match
