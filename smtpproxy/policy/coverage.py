"""Whether one set of entries leaves anything of another, and what the two share.

An entry is covered by the same entry, and by a wider one: a mailbox by its domain, a domain and ``*.domain`` by a
``*.domain`` above, a network by one around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple, TypeAlias

from smtpproxy.policy.entries import EVERYTHING, WILDCARD, Entries, _List

_IPV4: Final = 4
_IPV6: Final = 6


class Block(NamedTuple):
    """A network: the IP version, how many bits it leaves open, and the others as an integer."""

    version: int
    shift: int
    prefix: int

    def __str__(self) -> str:
        """Return it as a list has it."""
        bits = 32 if self.version == _IPV4 else 128
        base = self.prefix << self.shift
        address = IPv4Address(base) if self.version == _IPV4 else IPv6Address(base)
        return f"{address}/{bits - self.shift}" if self.shift else str(address)


_ByShift: TypeAlias = tuple[tuple[int, frozenset[int]], ...]

Atom: TypeAlias = str | Block
"""One entry: a domain, ``*.domain`` or mailbox as it is compared, or a network."""


def atoms(entries: Entries) -> Iterator[Atom]:
    """Yield every entry but ``*``; one that stands in two lists comes twice."""
    for each in entries.lists:
        yield from _atoms(each)


def is_empty(entries: Entries) -> bool:
    """Return whether a set names nobody, as a list of comments alone does."""
    return not (entries.everything or entries.names_mailboxes or entries.names_networks)


def covers(outer: Entries, inner: Entries) -> bool:
    """Return whether ``outer`` names all that ``inner`` does; a list that both have is not looked into."""
    if outer.everything or inner.everything:
        return outer.everything
    shared = set(map(id, outer.lists))
    own = [each for each in inner.lists if id(each) not in shared]
    return all(covers_atom(outer, atom) for each in own for atom in _atoms(each))


def covers_atom(outer: Entries, atom: Atom) -> bool:
    """Return whether ``outer`` names all that one entry does."""
    if outer.everything:
        return True
    if isinstance(atom, Block):
        return _covers_block(outer, atom)
    if atom.startswith(WILDCARD):
        return _covers_parent(outer, atom.removeprefix(WILDCARD))
    if "@" in atom:
        return any(atom in each.mailboxes for each in outer.lists) or _covers_domain(outer, atom.rpartition("@")[2])
    return _covers_domain(outer, atom)


def common_atoms(one: Entries, other: Entries) -> set[Atom]:
    """Return the entries of either that the other names as well; ``*`` if both name everybody."""
    if one.everything and other.everything:
        return {EVERYTHING}
    found = {atom for atom in atoms(one) if covers_atom(other, atom)}
    return found | {atom for atom in atoms(other) if covers_atom(one, atom)}


def shared_atoms(first: Entries, second: Entries) -> set[Atom]:
    """Return the entries that stand in both, word for word."""
    found = set[Atom]()
    for one in first.lists:
        for other in second.lists:
            found |= one.domains & other.domains
            found |= one.mailboxes & other.mailboxes
            found |= {f"{WILDCARD}{parent}" for parent in one.parents & other.parents}
            found |= _shared_blocks(one.ipv4.by_shift, other.ipv4.by_shift, _IPV4)
            found |= _shared_blocks(one.ipv6.by_shift, other.ipv6.by_shift, _IPV6)
    return found


def _atoms(entries: _List) -> Iterator[Atom]:
    yield from entries.domains
    yield from (f"{WILDCARD}{parent}" for parent in entries.parents)
    yield from entries.mailboxes
    for version, prefixes in ((_IPV4, entries.ipv4), (_IPV6, entries.ipv6)):
        yield from (Block(version, shift, prefix) for shift, found in prefixes.by_shift for prefix in found)


def _shared_blocks(first: _ByShift, second: _ByShift, version: int) -> set[Atom]:
    others = dict(second)
    return {
        Block(version, shift, prefix)
        for shift, prefixes in first
        for prefix in prefixes & others.get(shift, frozenset())
    }


def _covers_domain(outer: Entries, domain: str) -> bool:
    if not domain.startswith("["):
        return any(each.has_domain(domain) for each in outer.lists)
    try:
        return outer.has_address(ip_address(domain[1:-1]))
    except ValueError:  # a literal of another kind
        return False


def _covers_parent(outer: Entries, parent: str) -> bool:
    labels = parent.split(".")
    above = [".".join(labels[number:]) for number in range(len(labels))]
    return any(not each.parents.isdisjoint(above) for each in outer.lists)


def _covers_block(outer: Entries, block: Block) -> bool:
    families = (each.ipv4 if block.version == _IPV4 else each.ipv6 for each in outer.lists)
    return any(
        shift >= block.shift and block.prefix >> (shift - block.shift) in prefixes
        for family in families
        for shift, prefixes in family.by_shift
    )
