"""Mint the leaf that a client of an outbound policy sees: upstream's names verbatim, signed by one of two authorities.

Source: RFC 5280 s4.1.2.5 (validity), s4.2.1.6 (names); RFC 9525 s2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from smtpproxy.authority.create import BACKDATE, general_name
from smtpproxy.authority.credentials import Credential, PrivateKey, make_credential
from smtpproxy.authority.leaf import LeafRequest, sign_leaf
from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.policy.certificates import Leaf, LeafKey, Signer

MAX_LEAVES = 4096
"""Leaves kept, about 2 KiB each; a busy gateway talks to some hundreds of servers."""

MAX_COPIED_OCTETS = 32 * 1024
"""Upstream certificates beyond it lend no names: a leaf is kept and shown often, and clients bound what they take."""

MAX_CACHED_OCTETS = 8 * 1024
"""Upstream certificates beyond it are minted each time: a hundred names take 4 to 6 KiB."""

LIFETIME = timedelta(days=7)
"""From start to end: short, for nobody can revoke it; long enough for clients with a wrong date."""

_ONE_SECOND = timedelta(seconds=1)
_RSA_BITS = 2048
_RSA_EXPONENT = 65537

_Key: TypeAlias = tuple[str, str, Signer, LeafKey]


@dataclass(frozen=True, slots=True)
class LeafKeys:
    """The process's own keys, which every leaf certifies."""

    ecdsa: ec.EllipticCurvePrivateKey
    rsa: rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class _Minted:
    credential: Credential
    renew_at: datetime


def make_leaf_keys() -> LeafKeys:
    """Make the keys for leaves; takes about 0.1 s for RSA, so not while connections wait."""
    return LeafKeys(ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS))


class Mint:
    """Mints leaves and keeps them, while they have more than half of their life before them.

    Args:
        proxy_authority: signs where upstream's chain is valid.
        untrusted_authority: signs where it is not.
        keys: the process's leaf keys; made here if left out.
    """

    def __init__(
        self, proxy_authority: Credential, untrusted_authority: Credential, keys: LeafKeys | None = None
    ) -> None:
        self._signers = {Signer.PROXY_AUTHORITY: proxy_authority, Signer.UNTRUSTED_AUTHORITY: untrusted_authority}
        self._issuers = {signer: _issuers_to_send(credential) for signer, credential in self._signers.items()}
        self._keys = keys or make_leaf_keys()
        self._leaves: Lru[_Key, _Minted] = Lru(MAX_LEAVES)

    @property
    def figures(self) -> CacheFigures:
        """How the cache of leaves does."""
        return self._leaves.figures

    def leaf(self, leaf: Leaf, now: datetime) -> Credential:
        """Return the credential to show for ``leaf``.

        Args:
            leaf: whose names, which signer and which kind of key.
            now: the present, aware.
        """
        key = _cache_key(leaf)
        minted = self._leaves.get(key)
        if minted is None or now >= minted.renew_at:
            minted = self._mint(leaf, now)
            if leaf.certificate is None or len(leaf.certificate.der) <= MAX_CACHED_OCTETS:
                self._leaves.put(key, minted)
        return minted.credential

    def _mint(self, leaf: Leaf, now: datetime) -> _Minted:
        signer = self._signers[leaf.signer]
        not_before = now - BACKDATE
        end = not_before + LIFETIME - _ONE_SECOND  # both ends of a validity belong to it
        not_after = min(end, *_bounds(leaf, signer, now))
        common_name, names = _names_of(leaf)
        key: PrivateKey = self._keys.ecdsa if leaf.key is LeafKey.ECDSA else self._keys.rsa
        certificate = sign_leaf(LeafRequest(common_name, names, key, not_before, not_after), signer)
        # A leaf that ends with upstream's certificate would not live longer if it were made anew.
        renew_at = now + LIFETIME / 2 if not_after == end else not_after
        return _Minted(make_credential([certificate, *self._issuers[leaf.signer]], key), renew_at)


def _cache_key(leaf: Leaf) -> _Key:
    if leaf.certificate is not None:
        return leaf.certificate.fingerprint, "", leaf.signer, leaf.key
    return "", leaf.name.lower(), leaf.signer, leaf.key


def _issuers_to_send(authority: Credential) -> tuple[x509.Certificate, ...]:
    """Clients have the root: only an intermediate, and what certifies it, is worth its octets."""
    return tuple(each for each in authority.certificates if each.issuer != each.subject)


def _bounds(leaf: Leaf, signer: Credential, now: datetime) -> list[datetime]:
    bounds = [signer.certificate.not_valid_after_utc]
    if leaf.certificate is not None and leaf.certificate.not_after > now.timestamp():
        bounds.append(datetime.fromtimestamp(leaf.certificate.not_after, now.tzinfo))
    return bounds


def _names_of(leaf: Leaf) -> tuple[str, tuple[x509.GeneralName, ...]]:
    """Return the common name and the subject alternative names.

    Upstream's certificate: its own common name and its DNS names and IP addresses as they stand, none if it has
    none, so that the client's name check comes out as it would without us. No certificate: the one name.
    """
    if leaf.certificate is None:
        return _single_name(leaf.name)
    if len(leaf.certificate.der) > MAX_COPIED_OCTETS:
        return "", ()
    try:
        with warnings.catch_warnings(action="ignore"):  # a peer's odd serial number is no concern of the log
            certificate = x509.load_der_x509_certificate(leaf.certificate.der)
            return _common_name(certificate), _alternative_names(certificate)
    except (ValueError, x509.InvalidVersion):  # OpenSSL took what cryptography does not parse
        return "", ()


def _single_name(name: str) -> tuple[str, tuple[x509.GeneralName, ...]]:
    try:
        return name, (general_name(name),)
    except ValueError:  # a server name that is no DNS name: then the leaf bears none
        return "", ()


def _common_name(certificate: x509.Certificate) -> str:
    try:
        attributes = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError:
        return ""
    value = attributes[0].value if attributes else ""
    return value if isinstance(value, str) else ""


def _alternative_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return ()
    return tuple(name for name in names if isinstance(name, x509.DNSName | x509.IPAddress))
