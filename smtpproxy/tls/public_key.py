"""Find the public key among the octets of a certificate, as they were signed.

A library that encodes the key anew may encode it otherwise, and a digest of that would match nothing.

Source: RFC 5280 s4.1 (TBSCertificate); X.690 s8.1 (tag, length, value).
"""

from __future__ import annotations

from typing import Final

_VERSION: Final = 0xA0
_LONG_FORM: Final = 0x80
_MAX_LENGTH_OCTETS: Final = 3
"""16 MiB: more than any certificate in a handshake can have (RFC 8446 s4.4.2)."""

_FIELDS_BEFORE_KEY: Final = 5
"""serialNumber, signature, issuer, validity, subject."""


class CertificateSyntaxError(ValueError):
    """The octets are no certificate."""


def subject_public_key(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate.

    Args:
        certificate: its DER.

    Raises:
        CertificateSyntaxError: it is not a certificate's.
    """
    at, _ = _contents(certificate, 0)
    at, _ = _contents(certificate, at)
    if certificate[at : at + 1] == bytes([_VERSION]):
        at = _end(certificate, at)
    for _ in range(_FIELDS_BEFORE_KEY):
        at = _end(certificate, at)
    return certificate[at : _end(certificate, at)]


def _end(octets: bytes, at: int) -> int:
    return _contents(octets, at)[1]


def _contents(octets: bytes, at: int) -> tuple[int, int]:
    """Return where the value that begins with its tag at ``at`` has its contents, and where it ends."""
    if at + 2 > len(octets):
        raise CertificateSyntaxError("a value is cut short")
    length, begin = octets[at + 1], at + 2
    if length >= _LONG_FORM:
        size = length - _LONG_FORM
        if not 0 < size <= _MAX_LENGTH_OCTETS:
            raise CertificateSyntaxError("a length is too long")
        length, begin = int.from_bytes(octets[begin : begin + size]), begin + size
    if begin + length > len(octets):
        raise CertificateSyntaxError("a value is cut short")
    return begin, begin + length
