"""Legs of every kind, for tests of decisions."""

from __future__ import annotations

from ipaddress import ip_address

from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.smtp.addresses import Path, parse_forward_path, parse_reverse_path
from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts, TlsVersion

ADDRESS = ip_address("198.51.100.1")


def certificate(*names: str) -> PeerCertificate:
    """A certificate that bears ``names``."""
    return PeerCertificate(b"der of " + ",".join(names).encode(), "f" * 64, names, (), 2**31)


def tls(*names: str, chain: Chain = Chain.VALID, server_name: str | None = None) -> TlsFacts:
    """What a handshake established; the peer shows a certificate if there are ``names``."""
    peer = certificate(*names) if names else None
    return TlsFacts(
        TlsVersion.TLS1_3, "suite", server_name=server_name, peer=peer, chain=chain if names else Chain.ABSENT
    )


def legs(
    reached: Reached = Reached.ENCRYPTED,
    *,
    client: TlsFacts | None = None,
    upstream: TlsFacts | None = None,
    learns_name: bool = True,
) -> LegFacts:
    """A client on TLS, and an upstream leg that ``reached`` this."""
    encrypted = reached is Reached.ENCRYPTED
    return LegFacts(
        client=client or tls(),
        helo=b"client.test",
        reached=reached,
        upstream=upstream or tls() if encrypted else None,
        address=ADDRESS,
        learns_name=learns_name,
    )


def legs_in_clear(reached: Reached = Reached.ENCRYPTED) -> LegFacts:
    """A client in clear, and an upstream leg that ``reached`` this."""
    return LegFacts(client=None, helo=b"client.test", reached=reached, upstream=None, address=ADDRESS)


def rcpt(text: str) -> Path:
    """RCPT's path."""
    return parse_forward_path(f"<{text}>".encode())[0]


def mail(text: str) -> Path:
    """MAIL's path."""
    return parse_reverse_path(f"<{text}>".encode())[0]
