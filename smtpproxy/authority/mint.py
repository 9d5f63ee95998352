"""Mint leaves with the authorities' keys at hand, and keep them.

A gateway of one process does so; see `remote` for one whose keys are in a process of their own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from smtpproxy.authority.credentials import Authority, Credential, PrivateKey, make_credential
from smtpproxy.authority.minting import facts_of, issuers_to_send, make_leaf, renewal_of
from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.policy.certificates import Leaf, LeafKey, Signer

MAX_LEAVES = 4096
"""Leaves kept, about 2 KiB each; a busy gateway talks to some hundreds of servers."""

MAX_CACHED_OCTETS = 8 * 1024
"""Upstream certificates beyond it are minted each time: a hundred names take 4 to 6 KiB."""

SIGNED: Final = "signed"
REFUSED: Final = "refused"
UNAVAILABLE: Final = "unavailable"
TIMED_OUT: Final = "timed-out"
RESULTS: Final = (SIGNED, REFUSED, UNAVAILABLE, TIMED_OUT)
"""What may come of asking for a leaf, as tokens; with the key at hand it is signed."""

_RSA_BITS = 2048
_RSA_EXPONENT = 65537

LeafId: TypeAlias = tuple[str, str, Signer, LeafKey]
"""What tells a leaf from every other."""


@dataclass(frozen=True, slots=True)
class LeafKeys:
    """The process's own keys, which every leaf certifies."""

    ecdsa: ec.EllipticCurvePrivateKey
    rsa: rsa.RSAPrivateKey

    def of(self, kind: LeafKey) -> PrivateKey:
        """Return the key of a kind."""
        return self.ecdsa if kind is LeafKey.ECDSA else self.rsa


@dataclass(frozen=True, slots=True)
class Minted:
    """A leaf that is kept, and when it is to be made anew."""

    credential: Credential
    renew_at: datetime


def make_leaf_keys() -> LeafKeys:
    """Make the keys for leaves; takes about 0.1 s for RSA, so not while connections wait."""
    return LeafKeys(ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS))


def leaf_id(leaf: Leaf) -> LeafId:
    """Return what tells a leaf from every other."""
    if leaf.certificate is not None:
        return leaf.certificate.fingerprint, "", leaf.signer, leaf.key
    return "", leaf.name.lower(), leaf.signer, leaf.key


class Leaves:
    """Keeps leaves.

    Args:
        authorities: those that sign them.
        keys: what they certify.

    Attributes:
        get: returns a leaf that is kept, ``None`` if there is none.
    """

    def __init__(self, authorities: dict[Signer, Authority] | dict[Signer, Credential], keys: LeafKeys) -> None:
        self._issuers = {signer: issuers_to_send(authority) for signer, authority in authorities.items()}
        self._keys = keys
        self._leaves: Lru[LeafId, Minted] = Lru(MAX_LEAVES)
        self.get = self._leaves.get

    @property
    def figures(self) -> CacheFigures:
        """How the cache does."""
        return self._leaves.figures

    def put(self, leaf: Leaf, certificate: x509.Certificate, now: datetime) -> Credential:
        """Keep the certificate of a leaf, and return all that is shown with it."""
        credential = make_credential([certificate, *self._issuers[leaf.signer]], self._keys.of(leaf.key))
        if leaf.certificate is None or len(leaf.certificate.der) <= MAX_CACHED_OCTETS:
            self._leaves.put(leaf_id(leaf), Minted(credential, renewal_of(certificate, now)))
        return credential


class Mint:
    """Mints leaves and keeps them, while they have more than half of their life before them.

    Args:
        proxy_authority: signs where upstream's chain is valid.
        untrusted_authority: signs where it is not.
        keys: the process's leaf keys; made here if left out.
        results: counts the leaves that were signed.

    Attributes:
        authorities: those that sign.
    """

    def __init__(
        self,
        proxy_authority: Credential,
        untrusted_authority: Credential,
        keys: LeafKeys | None = None,
        results: Counter[str] | None = None,
    ) -> None:
        self.authorities = {Signer.PROXY_AUTHORITY: proxy_authority, Signer.UNTRUSTED_AUTHORITY: untrusted_authority}
        self._keys = keys or make_leaf_keys()
        self._leaves = Leaves(self.authorities, self._keys)
        self._get = self._leaves.get
        self._results: Counter[str] = Counter() if results is None else results

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
        minted = self._get(leaf_id(leaf))
        if minted is None or now >= minted.renew_at:
            return self._mint(leaf, now)
        return minted.credential

    def _mint(self, leaf: Leaf, now: datetime) -> Credential:
        key = self._keys.of(leaf.key).public_key()
        certificate = make_leaf(facts_of(leaf, now), key, self.authorities[leaf.signer], now)
        self._results[SIGNED] += 1
        return self._leaves.put(leaf, certificate, now)
