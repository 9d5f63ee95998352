"""Sets of entries: whom a rule or a list names, by domain, by address, and by network.

Source: RFC 5321 s2.4 (domains have no case; local parts do, but no server of note tells them apart by it), s4.1.2
(a quoted local part is the same without needless quotes), s4.1.3 (address literals); RFC 5890 s2.3.2.1 (A-labels);
RFC 4291 s2.5.5.2 (IPv4-mapped addresses).

Names stand in hash sets. Networks do too, one set of prefixes for each length that occurs: a look-up masks the address
once a length, 32 or 128 times at the most and mostly a few, whatever the number of networks. A tree walks as many
steps, but each in Python, and needs an object a node, where this needs an integer a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias
from unicodedata import normalize

from smtpproxy.smtp.addresses import Path
from smtpproxy.tls.names import ascii_name

Address: TypeAlias = IPv4Address | IPv6Address

EVERYTHING: Final = "*"
WILDCARD: Final = "*."

_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Prefixes:
    """Networks of one family: the prefixes of each length, as the shift that leaves them over, and integers."""

    by_shift: tuple[tuple[int, frozenset[int]], ...]

    @classmethod
    def of(cls, family: type[Address], texts: Iterable[str]) -> _Prefixes:
        found: dict[int, set[int]] = {}
        for text in texts:
            address_text, _, length = text.partition("/")
            address = family(address_text)
            shift = address.max_prefixlen - int(length) if length else 0
            found.setdefault(shift, set()).add(int(address) >> shift)
        return cls(tuple((shift, frozenset(found[shift])) for shift in sorted(found)))

    @property
    def count(self) -> int:
        return sum(len(prefixes) for _, prefixes in self.by_shift)

    def has(self, address: int) -> bool:
        return any(address >> shift in prefixes for shift, prefixes in self.by_shift)


@dataclass(frozen=True, slots=True)
class _List:
    """What one list names; shared by all the sets that it is part of."""

    everything: bool
    domains: frozenset[str]
    parents: frozenset[str]  # of "*.domain"
    mailboxes: frozenset[str]
    ipv4: _Prefixes
    ipv6: _Prefixes

    @property
    def count(self) -> int:
        names = len(self.domains) + len(self.parents) + len(self.mailboxes)
        return self.everything + names + self.ipv4.count + self.ipv6.count

    def has_domain(self, domain: str) -> bool:
        return domain in self.domains or (
            bool(self.parents) and any(parent in self.parents for parent in _parents(domain))
        )

    def has_address(self, address: Address) -> bool:
        prefixes = self.ipv4 if isinstance(address, IPv4Address) else self.ipv6
        return prefixes.has(int(address))


@dataclass(frozen=True, slots=True)
class Entries:
    """An immutable set of entries, made when the configuration is loaded.

    Args:
        lists: what it is composed of.
        everything: whether it has ``*``.
        names_mailboxes: whether it has any domain, ``*.domain`` or address.
        names_networks: whether it has any IP address or network.
    """

    lists: tuple[_List, ...]
    everything: bool = field(init=False, repr=False, compare=False)
    names_mailboxes: bool = field(init=False, repr=False, compare=False)
    names_networks: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lists = self.lists
        object.__setattr__(self, "everything", any(each.everything for each in lists))
        named = any(each.domains or each.parents or each.mailboxes for each in lists)
        object.__setattr__(self, "names_mailboxes", named)
        object.__setattr__(self, "names_networks", any(each.ipv4.by_shift or each.ipv6.by_shift for each in lists))

    @classmethod
    def of(cls, texts: Iterable[str]) -> Entries:
        """Return the set of some entries.

        Args:
            texts: ``*``, or an entry in canonical form (``smtpproxy.config.lists.parse_entry``).
        """
        return cls((_sorted_out(texts),))

    @property
    def count(self) -> int:
        """How many entries it has, those of each list by itself."""
        return sum(each.count for each in self.lists)

    @property
    def names_domains(self) -> bool:
        """Whether it has any domain or ``*.domain``."""
        return any(each.domains or each.parents for each in self.lists)

    @classmethod
    def union(cls, parts: Sequence[Entries]) -> Entries:
        """Return a set that has what any of ``parts`` has; their lists are shared, not copied."""
        if len(parts) == 1:
            return parts[0]
        return cls(tuple({id(each): each for part in parts for each in part.lists}.values()))

    def has_mailbox(self, path: Path) -> bool:
        """Return whether it names a mailbox.

        By address, domain, ``*.domain``, which is strictly below it, or an address literal's IP address. The null
        reverse-path and ``<Postmaster>`` have no domain, so only ``*`` names them.
        """
        if self.everything:
            return True
        if not path.domain:
            return False
        local, domain = path.local.decode(errors="replace"), path.domain.decode(errors="replace")
        if domain.startswith("["):
            return self._has_literal(local, domain)
        name = ascii_name(domain)
        return name is not None and (self._has_mailbox(_mailbox(local, name)) or self._has_domain(name))

    def has_domain(self, domain: str) -> bool:
        """Return whether it names every mailbox of a domain, of A-labels or U-labels."""
        name = ascii_name(domain)
        return self.everything or (name is not None and self._has_domain(name))

    def has_address(self, address: Address) -> bool:
        """Return whether it names an IP address; an IPv4-mapped one is an IPv4 address."""
        if self.everything:
            return True
        address = _plain(address)
        return any(each.has_address(address) for each in self.lists)

    def domains(self) -> Iterator[str]:
        """Yield each domain that stands in it, those of addresses too, once; those below ``*.domain`` are not known."""
        of_addresses = (mailbox.rpartition("@")[2] for each in self.lists for mailbox in each.mailboxes)
        named = {domain for domain in of_addresses if not domain.startswith("[")}
        yield from named.union(*(each.domains for each in self.lists))

    def _has_literal(self, local: str, literal: str) -> bool:
        canonical = _literal(literal)
        if isinstance(canonical, str):
            return self._has_mailbox(_mailbox(local, canonical))
        return self._has_mailbox(_mailbox(local, f"[{canonical}]")) or self.has_address(canonical)

    def _has_mailbox(self, mailbox: str) -> bool:
        return any(mailbox in each.mailboxes for each in self.lists)

    def _has_domain(self, domain: str) -> bool:
        return any(each.has_domain(domain) for each in self.lists)


def mailbox_of(path: Path) -> str:
    """Return a path's address as it is compared: local part without needless quotes, domain in A-labels; both small.

    That of the null reverse-path is empty, and that of ``<Postmaster>`` has no domain.
    """
    domain = path.domain.decode(errors="replace").lower()
    mailbox = _mailbox(path.local.decode(errors="replace"), ascii_name(domain) or domain)
    return mailbox if domain else mailbox.removesuffix("@")


def _sorted_out(texts: Iterable[str]) -> _List:
    domains, parents, mailboxes, ipv4, ipv6 = set[str](), set[str](), set[str](), set[str](), set[str]()
    everything = False
    for text in texts:
        if "@" in text:
            mailboxes.add(compared(text))
        elif text.startswith(WILDCARD):
            parents.add(text.removeprefix(WILDCARD))
        elif text == EVERYTHING:
            everything = True
        elif ":" in text:
            ipv6.add(text)
        elif "/" in text or text.replace(".", "").isdecimal():
            ipv4.add(text)
        else:
            domains.add(text)
    return _List(
        everything,
        frozenset(domains),
        frozenset(parents),
        frozenset(mailboxes),
        _Prefixes.of(IPv4Address, ipv4),
        _Prefixes.of(IPv6Address, ipv6),
    )


def _parents(domain: str) -> Iterator[str]:
    _, _, parent = domain.partition(".")
    while parent:
        yield parent
        _, _, parent = parent.partition(".")


def compared(text: str) -> str:
    """Return what two entries in canonical form have in common if they name the same."""
    local, at, domain = text.rpartition("@")
    if not at:
        return text
    if not domain.startswith("["):
        return _mailbox(local, domain)
    canonical = _literal(domain)
    return _mailbox(local, canonical if isinstance(canonical, str) else f"[{canonical}]")


def _mailbox(local: str, domain: str) -> str:
    """Return a mailbox as it is compared; lower case, which folds no two letters into one as ``casefold`` does."""
    if local.startswith('"'):
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    return f"{local.lower() if local.isascii() else normalize('NFC', local.lower())}@{domain}"


def _literal(literal: str) -> Address | str:
    """Return the IP address of an address literal, or a literal of another kind in lower case."""
    inside = literal[1:-1].lower()
    if inside.startswith("ipv6:"):
        return _plain(IPv6Address(inside.removeprefix("ipv6:")))
    if ":" in inside:
        return f"[{inside}]"
    return IPv4Address(bytes(map(int, inside.split("."))))  # Snum may have leading zeros and is decimal all the same


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


ANYBODY: Final = Entries.of([EVERYTHING])
"""Names all and everybody."""
