"""Have leaves signed by a process of their authorities' own, and keep them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.authority.mint import REFUSED, LeafId, LeafKeys, Leaves, Minted, leaf_id
from smtpproxy.authority.minting import facts_of
from smtpproxy.authority.signing import LeafOrder
from smtpproxy.authority.signing_client import SigningError
from smtpproxy.policy.certificates import Leaf, Signer

if TYPE_CHECKING:
    from smtpproxy.authority.credentials import Authority, Credential
    from smtpproxy.lru import CacheFigures

_log = Logger(namespace="smtpproxy")


class RemoteMint:
    """Keeps leaves as `Mint` does, and has them signed elsewhere; one that is not there yet comes later.

    Args:
        proxy_authority: signs where upstream's chain is valid.
        untrusted_authority: signs where it is not.
        keys: the process's leaf keys.
        sign: returns the octets of a leaf, or fails with `SigningError`.

    Attributes:
        authorities: those that sign.
    """

    def __init__(
        self,
        proxy_authority: Authority,
        untrusted_authority: Authority,
        keys: LeafKeys,
        sign: Callable[[LeafOrder], Deferred[bytes]],
    ) -> None:
        self.authorities = {Signer.PROXY_AUTHORITY: proxy_authority, Signer.UNTRUSTED_AUTHORITY: untrusted_authority}
        self._keys = keys
        self._sign = sign
        self._leaves = Leaves(self.authorities, keys)
        self._get = self._leaves.get
        self._pending: dict[LeafId, list[Deferred[Credential]]] = {}

    @property
    def figures(self) -> CacheFigures:
        """How the cache of leaves does."""
        return self._leaves.figures

    def leaf(self, leaf: Leaf, now: datetime) -> Credential | Deferred[Credential]:
        """Return the credential to show for ``leaf``: at once if it is kept, else later, unless that fails.

        Args:
            leaf: whose names, which signer and which kind of key.
            now: the present, aware.

        Returns:
            it, or what fails with `SigningError`.
        """
        minted = self._get(leaf_id(leaf))
        if minted is None:
            return self._ask(leaf, now)
        if now >= minted.renew_at:
            return self._renew(leaf, minted, now)
        return minted.credential

    def _renew(self, leaf: Leaf, minted: Minted, now: datetime) -> Credential | Deferred[Credential]:
        """What has half of its life before it serves until the next is there."""
        asked = self._ask(leaf, now)
        if now >= minted.credential.certificate.not_valid_after_utc:
            return asked
        asked.addErrback(lambda failure: failure.trap(SigningError))  # the client of the process has told it
        return minted.credential

    def _ask(self, leaf: Leaf, now: datetime) -> Deferred[Credential]:
        """Ask once, for however many."""
        answered: Deferred[Credential] = Deferred()
        wanted = leaf_id(leaf)
        others = self._pending.get(wanted)
        if others is not None:
            others.append(answered)
            return answered
        self._pending[wanted] = [answered]
        signing = self._sign(self._order(leaf, now))
        signing.addCallback(self._keep, leaf, now)
        signing.addCallbacks(self._succeed, self._fail, callbackArgs=(wanted,), errbackArgs=(wanted,))
        return answered

    def _order(self, leaf: Leaf, now: datetime) -> LeafOrder:
        key = self._keys.of(leaf.key).public_key()
        return LeafOrder(self.authorities[leaf.signer].fingerprint, key, facts_of(leaf, now))

    def _keep(self, octets: bytes, leaf: Leaf, now: datetime) -> Credential:
        """Whatever came, only a leaf of this authority for this key is shown."""
        try:
            certificate = x509.load_der_x509_certificate(octets)
            certificate.verify_directly_issued_by(self.authorities[leaf.signer].certificate)
            is_ours = certificate.public_key() == self._keys.of(leaf.key).public_key()
        except (ValueError, TypeError, InvalidSignature) as error:
            raise SigningError(REFUSED, f"what was signed is of no use: {error}") from None
        if not is_ours:
            raise SigningError(REFUSED, "what was signed is for another key")
        return self._leaves.put(leaf, certificate, now)

    def _succeed(self, credential: Credential, wanted: LeafId) -> None:
        for answered in self._pending.pop(wanted):
            answered.callback(credential)

    def _fail(self, failure: Failure, wanted: LeafId) -> None:
        for answered in self._pending.pop(wanted):
            answered.errback(failure)
