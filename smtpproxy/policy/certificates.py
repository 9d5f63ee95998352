"""Decide which certificate a client sees: interception never upgrades trust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.model import Direction
from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts
from smtpproxy.tls.names import matches


class Signer(IdentityEnum):
    """Who signs a minted leaf."""

    PROXY_AUTHORITY = "proxy authority"
    UNTRUSTED_AUTHORITY = "untrusted authority"


class LeafKey(IdentityEnum):
    """The kind of key of a minted leaf: ECDSA P-256, or RSA for clients whose hello has no ECDSA."""

    ECDSA = "ecdsa"
    RSA = "rsa"


@dataclass(frozen=True, slots=True)
class ProxyServerCertificate:
    """One of the configured Proxy Server certificates, picked by the client's SNI; the first is the default."""

    server_name: str | None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf to be minted: the names of ``certificate`` verbatim, or ``name`` alone where upstream showed none."""

    signer: Signer
    key: LeafKey
    certificate: PeerCertificate | None
    name: str


CertificateChoice: TypeAlias = ProxyServerCertificate | Leaf


@dataclass(frozen=True, slots=True)
class CertificateQuestion:
    """The facts that decide.

    Args:
        server_name: the client's SNI.
        ecdsa: whether the client's hello has an ECDSA signature algorithm.
        upstream: the facts of the upstream leg, ``None`` while it is in clear.
        looks: whether the profile looks at upstream's certificate; else no leaf is a trusted one.
        fallback_name: the upstream host or ``gateway.name``, for a leaf with nothing to copy.
    """

    server_name: str | None
    ecdsa: bool
    upstream: TlsFacts | None
    fallback_name: str
    looks: bool = True


def decide_certificate(direction: Direction, question: CertificateQuestion) -> CertificateChoice:
    """Return which certificate to show: inbound a Proxy Server certificate, outbound a leaf."""
    if direction is Direction.INBOUND:
        return ProxyServerCertificate(question.server_name)
    return Leaf(
        signer=Signer.PROXY_AUTHORITY if _trusted(question) else Signer.UNTRUSTED_AUTHORITY,
        key=LeafKey.ECDSA if question.ecdsa else LeafKey.RSA,
        certificate=question.upstream.peer if question.upstream else None,
        name=question.server_name or question.fallback_name,
    )


def _trusted(question: CertificateQuestion) -> bool:
    """Only a valid chain, and a client that asked for no other name, earn the trusted authority."""
    upstream = question.upstream
    if not question.looks or upstream is None or upstream.peer is None or upstream.chain is not Chain.VALID:
        return False
    return question.server_name is None or matches(question.server_name, upstream.peer)
