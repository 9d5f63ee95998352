"""How peers' certificates and words stand in the log."""

from __future__ import annotations

from typing import Final

from smtpproxy.tls.facts import PeerCertificate

MAX_NAMES: Final = 3
MAX_CHARACTERS: Final = 200


def described(peer: PeerCertificate) -> str:
    """Return a certificate's first names and its fingerprint."""
    names = (*peer.dns_names, *peer.ip_addresses)[:MAX_NAMES]
    return f"{printable(', '.join(names)) or 'nobody'} (certificate {peer.fingerprint})"


def printable(words: str) -> str:
    """Return a library's or a peer's words, cut, and without what could begin a new line."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in words[:MAX_CHARACTERS])
