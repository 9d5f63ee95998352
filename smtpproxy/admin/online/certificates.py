"""The certificates of a chain in words, from the trusted authority down to the leaf."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from smtpproxy.admin.online.judgement import Mark
from smtpproxy.authority.description import Description, describe

if TYPE_CHECKING:
    from smtpproxy.admin.online.findings import ShownChain


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate of a chain.

    Args:
        described: it in words, ``None`` for one that cannot be parsed.
        mark: whether verification passed it, never came to it, or ended at it.
        note: what is to be said of it; empty for nothing.
        sent: whether the server sent it; else it is our own copy.
    """

    described: Description | None
    mark: Mark
    note: str
    sent: bool


def links_of(chain: ShownChain) -> list[Link]:
    """Return the chain as it was built, the authority first, the leaf last."""
    return [_link(chain, depth, der) for depth, der in reversed(list(enumerate(chain.built)))]


def unused_of(chain: ShownChain) -> list[Description | None]:
    """Return what the server sent and the chain does not need, in its order."""
    return [_describe(der) for der in chain.sent if der not in chain.built]


def tlsa_of(leaf: bytes) -> str | None:
    """Return the TLSA record data that pins the leaf's key: DANE-EE, SPKI, SHA-256 (RFC 7672 s3.1.1)."""
    certificate = _parse(leaf)
    try:
        key = certificate.public_key() if certificate else None
    except ValueError:
        return None
    if key is None:
        return None
    return f"3 1 1 {sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"


def _link(chain: ShownChain, depth: int, der: bytes) -> Link:
    sent, fault = der in chain.sent, chain.fault
    if fault is not None and depth == fault.depth:
        return Link(_describe(der), Mark.BAD, fault.words, sent)
    if fault is not None:
        return Link(_describe(der), Mark.DOUBTFUL, "", sent)
    return Link(_describe(der), Mark.GOOD, "trusted" if depth == len(chain.built) - 1 else "", sent)


def _describe(der: bytes) -> Description | None:
    certificate = _parse(der)
    return describe(certificate) if certificate else None


def _parse(der: bytes) -> x509.Certificate | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # an odd serial number is the server's affair
            return x509.load_der_x509_certificate(der)
    except ValueError:
        return None
