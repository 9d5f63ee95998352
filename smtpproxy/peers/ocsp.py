"""Make an OCSP question, and read an answer: whose it is, of which certificate, of when, and what it says.

Source: RFC 6960 s3.2 (what makes an answer acceptable), s4.2.2.2 (who may answer); RFC 5019 s4 (times); RFC 7633
(must-staple).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from smtpproxy.tls.facts import Revocation

SKEW_S: Final = 5 * 60
"""How far a responder's clock may be from ours."""

MAX_AGE_S: Final = 24 * 60 * 60
"""Of an answer that does not say when the next is due."""

LEAST_S: Final = 5 * 60.0
MOST_S: Final = 7 * 24 * 60 * 60.0
"""For how long an answer is kept, whatever it says of its successor; the CA/Browser Forum allows ten days."""

UNKNOWN_S: Final = 60.0
"""How long nobody is asked again after an answer that is none."""

MAX_URL_CHARACTERS: Final = 1024
MAX_CERTIFICATES: Final = 4
"""In an answer: that of whom the issuer has appointed, at times with its issuers."""

_DIGESTS: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_NAMING_DIGESTS: Final = (hashes.SHA1, *_DIGESTS)  # names an issuer, proves nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a certificate.

    Args:
        revocation: good, revoked or unknown.
        lasts_s: for how long it may be kept.
        words: why, for the log.
    """

    revocation: Revocation
    lasts_s: float
    words: str


def unknown(words: str) -> Finding:
    """Return that nothing is known."""
    return Finding(Revocation.UNKNOWN, UNKNOWN_S, words)


@dataclass(frozen=True, slots=True)
class Subject:
    """A certificate that is asked about.

    Args:
        certificate: the certificate.
        issuer: the one that it was verified with.
        responder: the URL that it names, ``None`` if it names none of HTTP.
        must_staple: whether it promises that its server sends an answer along.
    """

    certificate: x509.Certificate
    issuer: x509.Certificate
    responder: str | None
    must_staple: bool

    @property
    def question(self) -> bytes:
        """The request, DER; without a nonce, which those who answer ahead of time do not know (RFC 5019 s4)."""
        names_with = hashes.SHA1()  # noqa: S303 - the only digest that every responder knows; it proves nothing
        return _request(self, names_with).public_bytes(Encoding.DER)


def subject_of(certificate: bytes, issuer: bytes) -> Subject | None:
    """Return what there is to ask about; ``None`` if a certificate cannot be read.

    Args:
        certificate: DER.
        issuer: DER of the one that it was verified with.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            leaf, above = map(x509.load_der_x509_certificate, (certificate, issuer))
            extensions = leaf.extensions
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        return None
    return Subject(leaf, above, next(_responders(extensions), None), _must_staple(extensions))


def read_answer(octets: bytes, subject: Subject, now_s: float) -> Finding:
    """Return what an answer says; one that is not to be believed says nothing.

    Args:
        octets: the answer, DER.
        subject: what was asked about.
        now_s: the time of day, seconds since the epoch.
    """
    try:
        answer = ocsp.load_der_ocsp_response(octets)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return unknown(f"the responder says {answer.response_status.name.lower()}")
        single = next((each for each in answer.responses if _is_about(each, subject)), None)
        if single is None:
            return unknown("the answer is about another certificate")
        if not _is_authentic(answer, subject.issuer, datetime.fromtimestamp(now_s, UTC)):
            return unknown("nobody has signed the answer who may")
        return _finding(single, now_s)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return unknown("the answer cannot be read")


def _finding(single: ocsp.OCSPSingleResponse, now_s: float) -> Finding:
    began_s = single.this_update_utc.timestamp()
    ends_s = single.next_update_utc.timestamp() if single.next_update_utc else began_s + MAX_AGE_S
    if began_s > now_s + SKEW_S:
        return unknown("the answer is of the future")
    if ends_s + SKEW_S < now_s:
        return unknown("the answer is stale")
    status = single.certificate_status
    if status is ocsp.OCSPCertStatus.UNKNOWN:
        return unknown("the responder does not know the certificate")
    revocation = Revocation.GOOD if status is ocsp.OCSPCertStatus.GOOD else Revocation.REVOKED
    lasts_s = min(max(ends_s - now_s, LEAST_S), MOST_S) if single.next_update_utc else LEAST_S
    return Finding(revocation, lasts_s, f"the responder says {revocation.value}")


def _responders(extensions: x509.Extensions) -> Iterator[str]:
    try:
        access = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return
    for each in access:
        location = each.access_location
        if each.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            url = location.value
            if len(url) <= MAX_URL_CHARACTERS and url.lower().startswith("http://"):
                yield url


def _must_staple(extensions: x509.Extensions) -> bool:
    try:
        features = extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


def _request(subject: Subject, digest: hashes.HashAlgorithm) -> ocsp.OCSPRequest:
    builder = ocsp.OCSPRequestBuilder().add_certificate(subject.certificate, subject.issuer, digest)
    return builder.build()


def _is_about(single: ocsp.OCSPSingleResponse, subject: Subject) -> bool:
    digest = single.hash_algorithm
    if not isinstance(digest, _NAMING_DIGESTS):
        return False
    asked = _request(subject, digest)
    return (single.serial_number, single.issuer_name_hash, single.issuer_key_hash) == (
        asked.serial_number,
        asked.issuer_name_hash,
        asked.issuer_key_hash,
    )


def _is_authentic(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> bool:
    """Return whether the issuer has signed, or one whom it has appointed."""
    if _names(answer, issuer):
        return _has_signed(issuer.public_key(), answer)
    candidates = answer.certificates[:MAX_CERTIFICATES]
    return any(
        _names(answer, each) and _is_appointed(each, issuer, now) and _has_signed(each.public_key(), answer)
        for each in candidates
    )


def _names(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    if answer.responder_name is not None:
        return answer.responder_name == signer.subject
    return answer.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(signer.public_key()).digest


def _is_appointed(signer: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    """Its own revocation is not asked for: RFC 6960 s4.2.2.2.1 leaves that open, and it lives for days."""
    if not signer.not_valid_before_utc <= now <= signer.not_valid_after_utc:
        return False
    try:
        signer.verify_directly_issued_by(issuer)
        purposes = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (InvalidSignature, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in purposes


def _has_signed(key: CertificatePublicKeyTypes, answer: ocsp.OCSPResponse) -> bool:
    digest, signed = answer.signature_hash_algorithm, (answer.signature, answer.tbs_response_bytes)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(*signed)
            return True
        if not isinstance(digest, _DIGESTS):
            return False
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(*signed, padding.PKCS1v15(), digest)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(*signed, ec.ECDSA(digest))
            return True
    except InvalidSignature:
        return False
    return False
