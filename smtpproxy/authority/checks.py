"""Say what is wrong with a certificate chain or a key, before a peer or a handshake does.

Source: RFC 5280 s4.2.1 (extensions of a CA); RFC 8446 s4.4.2 (order of a chain); NIST SP 800-57 (key lengths).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

MAX_CHAIN_CERTIFICATES = 10
"""OpenSSL gives up at 100, other verifiers at 10; real chains have two to four."""

MAX_CHAIN_OCTETS = 32 * 1024
"""Peers bound what they take (100 KiB in OpenSSL), and a flight this long already needs 23 segments."""

MIN_RSA_BITS = 2048
"""OpenSSL refuses less at security level 2."""

AUTHORITY_SOON_DAYS = 90
"""How long before its end an authority should be followed by the next: clients have to be visited."""

_PROBE = b"a key that signs this can sign"
_RSA = (padding.PKCS1v15(), hashes.SHA256())
_ECDSA = ec.ECDSA(hashes.SHA256())

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_BROKEN_DIGESTS = ("md5", "sha1")


def chain_problems(chain: Sequence[x509.Certificate]) -> Iterator[str]:
    """Yield what keeps a chain from being sent: its length, its strength, its order."""
    if len(chain) > MAX_CHAIN_CERTIFICATES:
        yield f"has {len(chain)} certificates, at most {MAX_CHAIN_CERTIFICATES} are sent; leave out what is not needed"
    octets = sum(len(certificate.public_bytes(Encoding.DER)) for certificate in chain)
    if octets > MAX_CHAIN_OCTETS:
        yield f"the chain has {octets} octets, at most {MAX_CHAIN_OCTETS} are sent; leave out what is not needed"
    for number, certificate in enumerate(chain, 1):
        problem = _certificate_problem(certificate)
        if problem:
            yield f"certificate {number}: {problem}"
    for number, (certificate, issuer) in enumerate(pairwise(chain), 1):
        if not is_issued_by(certificate, issuer):
            yield f"certificate {number} is not signed by certificate {number + 1}; order them leaf first, issuer next"


def key_problem(key: object) -> str | None:
    """Return why a public or private key cannot be used, ``None`` if it can."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            return f"an RSA key of {key.key_size} bits is too short; use {MIN_RSA_BITS} or more"
    elif isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        if key.curve.name not in _CURVES:
            return f"curve {key.curve.name} is not supported; use P-256, P-384 or P-521"
    else:
        return "not an RSA or ECDSA key; mail clients take no other"
    return None


def is_sound(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bool:
    """Return whether a private key signs, and an RSA key's numbers belong together.

    That takes 2 ms; testing the primes, as OpenSSL does, 30 to 200 ms in which no other thread runs. A number that is
    no prime signs nothing that verifies.
    """
    return (not isinstance(key, rsa.RSAPrivateKey) or _belong_together(key.private_numbers())) and _signs(key)


def _belong_together(numbers: rsa.RSAPrivateNumbers) -> bool:
    """RFC 8017 s3.2, but for the primes."""
    p, q, d, public = numbers.p, numbers.q, numbers.d, numbers.public_numbers
    return (
        min(p, q) > 1
        and p * q == public.n
        and (public.e * d) % (p - 1) == (public.e * d) % (q - 1) == 1
        and (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
        and (numbers.iqmp * q) % p == 1
    )


def _signs(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bool:
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            key.public_key().verify(key.sign(_PROBE, *_RSA), _PROBE, *_RSA)
        else:
            key.public_key().verify(key.sign(_PROBE, _ECDSA), _PROBE, _ECDSA)
    except (InvalidSignature, ValueError, InternalError):
        return False
    return True


def authority_problem(certificate: x509.Certificate, now: datetime) -> str | None:
    """Return why a certificate cannot sign leaves that clients accept, ``None`` if it can."""
    if flaw := authority_flaw(certificate):
        return flaw
    if date_problem(certificate, now):
        return f"{date_problem(certificate, now)}, and so would every leaf; renew the authority"
    return None


def ending(certificate: x509.Certificate, now: datetime) -> str | None:
    """Return that an authority's end is near, ``None`` if it is not."""
    end = certificate.not_valid_after_utc
    days = (end - now).days
    if days >= AUTHORITY_SOON_DAYS:
        return None
    return f"ends in {days} day{'' if days == 1 else 's'} ({end:%Y-%m-%d %H:%M} UTC), and so does every leaf by then"


def authority_flaw(certificate: x509.Certificate) -> str | None:
    """Return why a certificate is none that can certify leaves at any time, ``None`` if it is one."""
    extensions = certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "not a CA certificate (basicConstraints says CA:FALSE); name an authority's certificate"
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "may not sign certificates (keyUsage lacks keyCertSign); name an authority's certificate"
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        return f"not a usable CA certificate: it lacks the extension {_EXTENSIONS[error.oid]}"
    return None


_EXTENSIONS = {
    x509.BasicConstraints.oid: "basicConstraints",
    x509.KeyUsage.oid: "keyUsage",
    x509.SubjectKeyIdentifier.oid: "subjectKeyIdentifier",
}


def date_problem(certificate: x509.Certificate, now: datetime) -> str | None:
    """Return that a certificate is not in date, ``None`` if it is."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if start <= now <= end:
        return None
    return f"valid only from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, so clients refuse it"


def _certificate_problem(certificate: x509.Certificate) -> str | None:
    try:
        certificate.extensions  # noqa: B018  # parsed on first use, and everything later relies on it
        key = certificate.public_key()
    except (ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        return "damaged: its key or extensions cannot be parsed; have it issued anew"
    return key_problem(key) or _digest_problem(certificate)


def _digest_problem(certificate: x509.Certificate) -> str | None:
    digest = certificate.signature_hash_algorithm
    self_issued = certificate.issuer == certificate.subject  # nobody checks the signature of a root
    if digest is not None and digest.name in _BROKEN_DIGESTS and not self_issued:
        return f"signed with {digest.name.upper()}, which peers refuse; have it issued anew"
    return None


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate is signed by another, and names it as its issuer."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
