"""Chain a server's certificate up to a trust anchor that its host published.

The anchor is a certificate that the server sends and a record is of, or the certificate or key in the record itself.

Source: RFC 5280 s6.1 (path validation), s4.2.1 (extensions); RFC 7671 s5.2 (DANE-TA); RFC 7672 s3.1.2, s3.2.2.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from smtpproxy.policy.knowledge import Tlsa
from smtpproxy.policy.tlsa import CERTIFICATE, FULL, fits
from smtpproxy.tls.facts import PeerCertificate, TlsReason
from smtpproxy.tls.names import matches

Path: TypeAlias = tuple[x509.Certificate, ...]
"""Certificates from the server's own up to the anchor, or to the one that the anchor's key signed."""

_Key: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

MAX_CERTIFICATES: Final = 10
"""Of a chain; those of real servers have two to four."""

MAX_SIGNATURES: Final = 24
"""Looked at for one verdict, some 0.1 ms each: a chain needs one a certificate, a hostile one could need thousands."""

_T = TypeVar("_T", bound=x509.ExtensionType)

_RSA_BITS: Final = range(2048, 8192 + 1)
"""Below it is weak, above it is slow."""

_DIGESTS: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD: Final = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
}
_SERVER_PURPOSES: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def anchor_problem(
    records: Sequence[Tlsa], peer: PeerCertificate, references: Sequence[str], now_s: float
) -> TlsReason | None:
    """Return why a server's certificate does not chain up to a published anchor, ``None`` if it does.

    Args:
        records: usable ones of usage DANE-TA.
        peer: what the server showed.
        references: the names of which its certificate must bear one.
        now_s: seconds since the epoch; every certificate of the chain must be valid then.
    """
    leaf = _load(peer.der)
    if leaf is None or not _is_server(leaf):
        return TlsReason.VALIDATION_FAILURE
    search = _Search(records, peer.issuers)
    path = search.path(leaf, now_s)
    if path is None:
        stale = search.path(leaf, None) is not None
        return TlsReason.CERTIFICATE_EXPIRED if stale else TlsReason.CERTIFICATE_NOT_TRUSTED
    if not any(matches(name, peer) and _permitted(name, path) for name in references):
        return TlsReason.CERTIFICATE_HOST_MISMATCH
    return None


class _Search:
    """Looks for a way up, with so many signatures and no more."""

    def __init__(self, records: Sequence[Tlsa], sent: Sequence[bytes]) -> None:
        bare = [record for record in records if record.matching == FULL]
        published = [record.data for record in bare if record.selector == CERTIFICATE]
        pool = dict.fromkeys([*sent[: MAX_CERTIFICATES - 1], *published])
        loaded = {der: certificate for der in pool if (certificate := _load(der)) is not None}
        self._pool = tuple(each for each in loaded.values() if _may_issue(each))
        self._anchors = {each for der, each in loaded.items() if any(fits(record, der) for record in records)}
        self._keys = [key for record in bare if record.selector != CERTIFICATE and (key := _load_key(record.data))]
        self._signatures = MAX_SIGNATURES

    def path(self, leaf: x509.Certificate, now_s: float | None) -> Path | None:
        """Return a way from the leaf to an anchor; dates are of no account without ``now_s``."""
        return self._climb((leaf,), now_s) if _in_force(leaf, now_s) else None

    def _climb(self, path: Path, now_s: float | None) -> Path | None:
        top = path[-1]
        if any(self._signed(top, key) for key in self._keys):
            return path
        for issuer in self._pool:
            if issuer in path or not _could_issue(issuer, path) or not _in_force(issuer, now_s):
                continue
            if not self._signed(top, _key_of(issuer)):
                continue
            longer = (*path, issuer)
            found = longer if issuer in self._anchors else self._climb(longer, now_s)
            if found:
                return found
        return None

    def _signed(self, certificate: x509.Certificate, key: _Key | None) -> bool:
        if key is None or not self._signatures:
            return False
        self._signatures -= 1
        try:
            _verify(certificate, key)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            return False
        return True


def _verify(certificate: x509.Certificate, key: _Key) -> None:
    signature, content = certificate.signature, certificate.tbs_certificate_bytes
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, content)
        return
    digest, form = certificate.signature_hash_algorithm, certificate.signature_algorithm_parameters
    if not isinstance(digest, _DIGESTS):
        raise UnsupportedAlgorithm("a digest that is too weak")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(form, ec.ECDSA):
        key.verify(signature, content, form)
    elif isinstance(key, rsa.RSAPublicKey) and not isinstance(form, ec.ECDSA) and form is not None:
        key.verify(signature, content, form, digest)
    else:
        raise InvalidSignature


def _load(der: bytes) -> x509.Certificate | None:
    """Parse a certificate with all its extensions; one that is odd is no part of a chain."""
    try:
        with warnings.catch_warnings(action="ignore"):  # a peer's odd serial number is no concern of the log
            certificate = x509.load_der_x509_certificate(der)
            critical = {each.oid for each in certificate.extensions if each.critical}
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        return None
    return certificate if critical <= _UNDERSTOOD else None


def _load_key(data: bytes) -> _Key | None:
    try:
        return _sound(load_der_public_key(data))
    except (ValueError, UnsupportedAlgorithm):
        return None


def _key_of(certificate: x509.Certificate) -> _Key | None:
    try:
        return _sound(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return None


def _sound(key: object) -> _Key | None:
    if isinstance(key, rsa.RSAPublicKey):
        return key if key.key_size in _RSA_BITS else None
    return key if isinstance(key, _Key) else None


def _in_force(certificate: x509.Certificate, now_s: float | None) -> bool:
    if now_s is None:
        return True
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin.timestamp() <= now_s <= end.timestamp()


def _is_server(leaf: x509.Certificate) -> bool:
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    return usage is None or not _SERVER_PURPOSES.isdisjoint(usage)


def _may_issue(certificate: x509.Certificate) -> bool:
    basic, usage = _extension(certificate, x509.BasicConstraints), _extension(certificate, x509.KeyUsage)
    return basic is not None and basic.ca and (usage is None or usage.key_cert_sign)


def _could_issue(issuer: x509.Certificate, path: Path) -> bool:
    """Return whether it bears the right name, and allows as many authorities below itself as the path has."""
    basic = _extension(issuer, x509.BasicConstraints)
    limit = None if basic is None else basic.path_length
    return issuer.subject == path[-1].issuer and (limit is None or len(path) - 1 <= limit)


def _permitted(name: str, path: Path) -> bool:
    """Return whether every authority of a path may speak for a DNS name; constraints of other kinds but IP forbid."""
    constraints = [each for authority in path[1:] if (each := _extension(authority, x509.NameConstraints))]
    return all(_within(name, each) for each in constraints)


def _within(name: str, constraints: x509.NameConstraints) -> bool:
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    if not all(isinstance(each, x509.DNSName | x509.IPAddress) for each in (*permitted, *excluded)):
        return False
    allowed = _dns_names(permitted)
    below_allowed = not allowed or any(_is_below(name, each) for each in allowed)
    return below_allowed and not any(_is_below(name, each) for each in _dns_names(excluded))


def _dns_names(subtrees: Iterable[x509.GeneralName]) -> list[str]:
    return [each.value.lower().removeprefix(".") for each in subtrees if isinstance(each, x509.DNSName)]


def _is_below(name: str, domain: str) -> bool:
    return not domain or f".{name}".endswith(f".{domain}")


def _extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
