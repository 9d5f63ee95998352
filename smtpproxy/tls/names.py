"""Match a reference name against the names that a certificate presents.

Source: RFC 9525 s6.3 (DNS names), s6.4 (IP addresses), s2 (the CN is never a name); RFC 5890 s2.3.2.1 (A-labels).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import idna

if TYPE_CHECKING:
    from smtpproxy.tls.facts import PeerCertificate

MAX_NAME_OCTETS = 253
"""Longest DNS name in its textual form (RFC 1035 s2.3.4: 255 octets on the wire)."""

MAX_LABEL_OCTETS = 63
"""Longest label (RFC 1035 s2.3.4)."""

MAX_KEPT_NAMES = 4096
"""Names whose form is kept; the same few come with every session."""

_LEAST_WILDCARD_LABELS = 3
"""``*.example.net`` counts, ``*.net`` and ``*`` do not: no verifier that matters lets a whole TLD be one name."""


def matches(name: str, certificate: PeerCertificate) -> bool:
    """Return whether ``certificate`` presents ``name``.

    Args:
        name: a DNS name, of A-labels or U-labels, with or without the root's dot, or a textual IP address.
        certificate: what the peer showed; an IP address is compared with its IP addresses only, a DNS name
            with its DNS names only.
    """
    address = parse_address(name)
    if address is not None:
        return any(parse_address(presented) == address for presented in certificate.ip_addresses)
    reference = ascii_name(name)
    if reference is None:
        return False
    return any(covers(presented, reference) for presented in certificate.dns_names)


def ascii_name(name: str) -> str | None:
    """Return ``name`` as lower-case A-labels without the root's dot, ``None`` if it is no DNS name.

    Underscores pass: they stand in names of real mail hosts, though not in those of RFC 952.
    """
    return None if len(name) > MAX_NAME_OCTETS + len(".") else _ascii_name(name)


@lru_cache(maxsize=MAX_KEPT_NAMES)
def _ascii_name(name: str) -> str | None:
    name = name.removesuffix(".")
    labels = name.lower().split(".") if name.isascii() else _alabels(name)
    name = ".".join(labels)
    if len(name) > MAX_NAME_OCTETS or not all(_is_label(label) for label in labels):
        return None
    return name


def covers(presented: str, reference: str) -> bool:
    """Return whether a presented DNS name covers ``reference``, which is in the form of ``ascii_name``.

    A wildcard is the whole left-most label, and stands for exactly one label.
    """
    presented = presented.lower()
    if "*" not in presented:
        return presented == reference
    wildcard, _, parent = presented.partition(".")
    if wildcard != "*" or "*" in parent or presented.count(".") + 1 < _LEAST_WILDCARD_LABELS:
        return False
    return reference.partition(".")[2] == parent


def parse_address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that ``name`` writes, ``None`` if it is no address."""
    if not (":" in name or name[-1:].isdigit()):
        return None  # the common case of a host name, without the price of an exception
    try:
        return ip_address(name)
    except ValueError:
        return None


def _alabels(name: str) -> list[str]:
    """Encode label by label, for beside a U-label there may be one that no IDNA knows, with an underscore."""
    try:
        labels = idna.uts46_remap(name, std3_rules=False).removesuffix(".").split(".")
        return [label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels]
    except idna.IDNAError:
        return [""]


def _is_label(label: str) -> bool:
    return 0 < len(label) <= MAX_LABEL_OCTETS and label.replace("-", "").replace("_", "").isalnum()
