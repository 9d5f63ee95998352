"""Another verifier's opinion on chains that OpenSSL finds valid: bounded before it is asked, kept, asked for once.

The two make different mistakes: of the cases of x509-limbo that a server's chain must fail, OpenSSL wrongly takes some
that cryptography's verifier refuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from smtpproxy.lru import CacheFigures
from smtpproxy.peers.cache import Cache, Lasting
from smtpproxy.peers.telling import described, printable
from smtpproxy.peers.verifier import Opinion
from smtpproxy.peers.verifier_process import FAILURES
from smtpproxy.tls.facts import PeerCertificate
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.verification import MAX_SENT_OCTETS

MAX_NAMES: Final = 100
"""Names constraints of authorities are matched with each name of the leaf."""

MAX_OPINIONS: Final = 4096
"""About 300 octets each."""

LASTS_S: Final = 60 * 60.0
"""An opinion on a chain changes with its dates alone, which OpenSSL looks at in each handshake."""

FAILURE_LASTS_S: Final = 60.0

_Key: TypeAlias = tuple[str, bytes, TrustStore]

_log = Logger(namespace="smtpproxy")


class Verifier(Protocol):
    """Who is asked."""

    def verify(self, trust: TrustStore, chain: tuple[bytes, ...]) -> Deferred[Opinion]:
        """Return what it has against a chain."""


class SecondOpinions:
    """Knows opinions, or asks for them.

    Args:
        verifier: is asked.
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, verifier: Verifier, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._verifier = verifier
        self._answers: Cache[_Key, str] = Cache(MAX_OPINIONS, monotonic)

    @property
    def figures(self) -> CacheFigures:
        """How the cache does."""
        return self._answers.figures

    def known(self, peer: PeerCertificate, trust: TrustStore) -> str | None:
        """Return the token of a disagreement, empty for none; ``None`` if that is not known yet."""
        return _excess(peer) or self._answers.known(_key(peer, trust))

    def ask(self, peer: PeerCertificate, trust: TrustStore) -> Deferred[str]:
        """Return the token of a disagreement, empty for none."""
        excess = _excess(peer)
        return succeed(excess) if excess else self._answers.get(_key(peer, trust), lambda: self._begin(peer, trust))

    def _begin(self, peer: PeerCertificate, trust: TrustStore) -> Deferred[Lasting[str]]:
        return self._verifier.verify(trust, (peer.der, *peer.issuers)).addCallback(_answer, peer)


def _answer(opinion: Opinion, peer: PeerCertificate) -> Lasting[str]:
    token, words = opinion
    if token:
        _log.warn(
            "second opinion on the chain of {peer}: {token} ({words})",
            peer=described(peer),
            token=token,
            words=printable(words),
        )
    return Lasting(token, FAILURE_LASTS_S if token in FAILURES else LASTS_S)


def _excess(peer: PeerCertificate) -> str:
    """How many certificates there may be was seen to when the chain was read."""
    if len(peer.der) + sum(map(len, peer.issuers)) > MAX_SENT_OCTETS:
        return "too-long"
    return "too-many-names" if len(peer.dns_names) + len(peer.ip_addresses) > MAX_NAMES else ""


def _key(peer: PeerCertificate, trust: TrustStore) -> _Key:
    return peer.fingerprint, sha256(b"".join(peer.issuers)).digest(), trust
