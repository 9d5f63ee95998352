"""Certify a new authority by the one before it: clients that trust only that one then verify what the new one signs.

Source: RFC 5280 s3.2 (cross-certificates), s4.2.1.9 (path length); RFC 4158 s2.4.2 (paths in a mesh of authorities).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509

from smtpproxy.authority.checks import authority_flaw, chain_problems, date_problem, is_issued_by
from smtpproxy.authority.create import BACKDATE
from smtpproxy.authority.credentials import CredentialError, read_chain
from smtpproxy.authority.leaf import authority_key_identifier, authority_key_usage, digest_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smtpproxy.authority.credentials import Authority, Credential


def crossing_problem(signer: x509.Certificate, subject: x509.Certificate) -> str | None:
    """Return why an authority cannot certify another so that clients verify it, ``None`` if it can.

    Args:
        signer: the authority that would certify.
        subject: the one that would be certified.
    """
    length = signer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if length == 0:
        return "it may certify no other authority (its path length is 0)"
    if signer.subject == subject.subject:
        return "both have the same name"
    return None


def create_cross_certificate(authority: Credential, signer: Credential, now: datetime) -> x509.Certificate:
    """Return the certificate of an authority by another, which ends with whichever of the two ends first.

    Args:
        authority: the new one, whose name and key are certified.
        signer: the one before it.
        now: the present, aware.
    """
    subject, issuer = authority.certificate, signer.certificate
    identifier = subject.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(subject.subject)
        .issuer_name(issuer.subject)
        .public_key(subject.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before((now - BACKDATE).replace(microsecond=0))
        .not_valid_after(min(subject.not_valid_after_utc, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(authority_key_usage(), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(authority_key_identifier(issuer), critical=False)
        .sign(signer.key, digest_for(signer.key))
    )


def load_cross(path: Path, authority: x509.Certificate, now: datetime | None = None) -> tuple[x509.Certificate, ...]:
    """Load the cross-certificate of an authority, and what certifies that.

    Args:
        path: PEM file, the cross-certificate first.
        authority: the one that it must be for.
        now: the present, aware; left out for that of the clock.

    Raises:
        CredentialError: it cannot be read, is for another authority, can certify no leaf, or is not valid yet.
    """
    chain = read_chain(path)
    problem = next(chain_problems(chain), None) or _flaw(chain, authority, now or datetime.now(UTC))
    if problem:
        raise CredentialError(path, problem)
    return tuple(chain)


def _flaw(chain: Sequence[x509.Certificate], authority: x509.Certificate, now: datetime) -> str | None:
    cross = chain[0]
    if cross.subject != authority.subject or cross.public_key() != authority.public_key():
        return "certifies another authority than the one beside it; name the file that was made with that"
    if cross.issuer == cross.subject:
        return "certified by itself and not by the authority before it; name the cross-certificate"
    if flaw := authority_flaw(cross):
        return flaw
    if _key_identifier(cross) != _key_identifier(authority):
        return "its subjectKeyIdentifier is not the authority's, so clients would not find it; have it issued anew"
    if any(now < each.not_valid_before_utc for each in chain):
        return date_problem(next(each for each in chain if now < each.not_valid_before_utc), now)
    return None


def _key_identifier(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def ended(crosses: Sequence[x509.Certificate], now: datetime) -> str | None:
    """Return that a cross-certificate is over, ``None`` if it is not: it is of no use then, and does no harm."""
    end = min(each.not_valid_after_utc for each in crosses)
    if now <= end:
        return None
    return f"has ended ({end:%Y-%m-%d %H:%M} UTC) and is not sent any more; 'smtpproxy ca retire' takes it out"


def common_key(proxy: Credential | Authority, untrusted: Credential | Authority) -> str | None:
    """Return how a client that trusts the Proxy Authority would trust the untrusted one, ``None`` if it would not."""
    trusted = (*proxy.certificates, *proxy.crosses)
    if any(one.public_key() == other.public_key() for one in untrusted.certificates for other in trusted):
        return "the same key as proxy_authority, so clients would trust every upstream; make an authority of its own"
    if any(is_issued_by(untrusted.certificates[-1], each) for each in trusted):
        return "certified by proxy_authority, so clients would trust every upstream; make an authority of its own"
    if any(is_issued_by(proxy.crosses[-1], each) for each in untrusted.certificates if proxy.crosses):
        return "it certifies proxy_authority by the cross_certificate there; have that made by the authority before it"
    return None
