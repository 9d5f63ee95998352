"""Whether a certificate was revoked: by the answer that came along, by one that is kept, or by its responder's.

Only the peer's own certificate is asked about; those above it are the business of revocation lists.

Source: RFC 6066 s8 (stapled answers); RFC 6960; RFC 7633 s4.2.3.1 (must-staple).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from smtpproxy.lru import CacheFigures
from smtpproxy.peers.cache import Cache, Lasting
from smtpproxy.peers.ocsp import Finding, Subject, read_answer, subject_of, unknown
from smtpproxy.peers.responders import Responders
from smtpproxy.peers.telling import described, printable
from smtpproxy.policy.model import Ocsp, TlsProfile
from smtpproxy.policy.rules import Network
from smtpproxy.tls.facts import PeerCertificate, Revocation
from smtpproxy.transport.upstream_handshake import Evidence

MAX_FINDINGS: Final = 4096
"""About 300 octets each."""

MAX_SUBJECTS: Final = 256
"""Certificates that were taken apart, 10 KiB each."""

_log = Logger(namespace="smtpproxy")

_subject_of = lru_cache(maxsize=MAX_SUBJECTS)(subject_of)


class Revocations:
    """Knows, or asks.

    Args:
        reactor: Twisted's.
        monotonic: a clock that is never set, in seconds.
        wall: the time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's reactor has many interfaces
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._responders = Responders(reactor)
        self._findings: Cache[tuple[str, bytes], Finding] = Cache(MAX_FINDINGS, monotonic)
        self._wall = wall

    @property
    def figures(self) -> CacheFigures:
        """How the cache does."""
        return self._findings.figures

    def stop(self) -> None:
        """Give up what is under way."""
        self._responders.stop()

    def known(self, peer: PeerCertificate, evidence: Evidence, profile: TlsProfile) -> Revocation | None:
        """Return what is known without asking anybody; ``None`` if there is somebody to ask."""
        if evidence.issuer is None:
            return Revocation.NOT_APPLICABLE  # the peer's own certificate is trusted as it is
        subject = _subject_of(peer.der, evidence.issuer)
        if subject is None:
            return Revocation.UNKNOWN
        kept = self._findings.known(_key(peer, evidence.issuer))
        stapled = self._stapled(peer, subject, evidence)
        found = {each.revocation for each in (kept, stapled) if each is not None}
        if Revocation.REVOKED in found:
            return Revocation.REVOKED
        if stapled is not None and stapled.revocation is Revocation.GOOD:
            return Revocation.GOOD
        return _without_staple(subject, kept, stapled, profile.ocsp)

    def ask(self, peer: PeerCertificate, evidence: Evidence, profile: TlsProfile) -> Deferred[Revocation]:
        """Return what the responder says, after `known` has said that there is one."""
        issuer = evidence.issuer
        subject = _subject_of(peer.der, issuer) if issuer is not None else None
        if issuer is None or subject is None or subject.responder is None:
            raise AssertionError("there is nobody to ask")
        responder, private = subject.responder, profile.ocsp_private_responders
        finding = self._findings.get(
            _key(peer, issuer), lambda: Deferred.fromCoroutine(self._ask(peer, subject, responder, private))
        )
        return finding.addCallback(_of_responder, subject)

    async def _ask(
        self, peer: PeerCertificate, subject: Subject, responder: str, private: tuple[Network, ...]
    ) -> Lasting[Finding]:
        try:
            answer = await self._responders.ask(responder, subject.question, private)
            finding = read_answer(answer, subject, self._wall())
        except Exception as error:  # noqa: BLE001 - an edge: whatever a responder does, it has not answered
            finding = unknown(f"no answer: {str(error) or type(error).__name__}")
        if finding.revocation is not Revocation.GOOD:
            _tell(peer, finding, responder)
        return Lasting(finding, finding.lasts_s)

    def _stapled(self, peer: PeerCertificate, subject: Subject, evidence: Evidence) -> Finding | None:
        if evidence.staple is None:
            return None
        finding = read_answer(evidence.staple, subject, self._wall())
        if finding.revocation is not Revocation.GOOD:
            _tell(peer, finding, "stapled")
        return finding


def _key(peer: PeerCertificate, issuer: bytes) -> tuple[str, bytes]:
    return peer.fingerprint, sha256(issuer).digest()


def _without_staple(subject: Subject, kept: Finding | None, stapled: Finding | None, wanted: Ocsp) -> Revocation | None:
    """Return what is known though no good answer came along."""
    if subject.must_staple and (wanted is Ocsp.STRICT or subject.responder is None):
        return Revocation.NOT_STAPLED
    if subject.responder is None:
        return Revocation.NOT_APPLICABLE if stapled is None else Revocation.UNKNOWN
    return None if kept is None else _of_responder(kept, subject)


def _of_responder(finding: Finding, subject: Subject) -> Revocation:
    """A certificate that must be stapled is not as it should be, whatever its responder says."""
    if subject.must_staple and finding.revocation is not Revocation.REVOKED:
        return Revocation.NOT_STAPLED
    return finding.revocation


def _tell(peer: PeerCertificate, finding: Finding, source: str) -> None:
    _log.warn(
        "revocation of {peer}, {source}: {revocation} ({words})",
        peer=described(peer),
        source=source,
        revocation=finding.revocation.value,
        words=printable(finding.words),
    )
