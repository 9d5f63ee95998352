"""Tell addresses of the Internet from all others, so that what a stranger published makes us dial none of ours.

Source: RFC 6890 (special-purpose addresses); RFC 6052 s2.1 (addresses inside 64:ff9b::/96); RFC 3056 s2 (6to4);
RFC 4291 s2.4 and RFC 3587 s3 (what is given out of IPv6).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from smtpproxy.policy.selection import Address

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_GIVEN_OUT: Final = IPv6Network("2000::/3")
"""All else is of a site (fec0::/10), translated (::/96, 64:ff9b:1::/48) or nobody's; Python does not know all of it."""


def is_public(address: Address) -> bool:
    """Return whether an address is one host's on the Internet; one that leads to another counts as that."""
    inner = _inner(address) if isinstance(address, IPv6Address) else None
    if inner is not None:
        return is_public(inner)
    if isinstance(address, IPv6Address) and address not in _GIVEN_OUT:
        return False
    return address.is_global and not address.is_multicast


def _inner(address: IPv6Address) -> IPv4Address | None:
    if address in _TRANSLATED:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
