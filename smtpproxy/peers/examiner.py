"""Examine a chain that OpenSSL finds valid further, as the TLS profile asks."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, succeed  # noqa: A004 - Twisted's name
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.lru import CacheFigures
from smtpproxy.peers.revocation import Revocations
from smtpproxy.peers.second_opinion import SecondOpinions
from smtpproxy.peers.verifier_process import TIMED_OUT, VerifierProcess
from smtpproxy.policy.examination import judge_opinion, judge_revocation
from smtpproxy.policy.model import Ocsp, SecondOpinion, TlsProfile
from smtpproxy.tls.facts import Chain, PeerCertificate, Revocation, TlsFacts
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.upstream_handshake import NO_EVIDENCE, Evidence

DEADLINE_S: Final = 10.0
"""For all of it: a session gives an upstream three times as long for its handshake."""

T = TypeVar("T")

_log = Logger(namespace="smtpproxy")


class Examiner(Service):
    """What the examinations under one configuration share; as a service it ends what they began.

    Args:
        reactor: Twisted's.
        verifier: who has the second opinion.
    """

    def __init__(self, reactor: Any, verifier: VerifierProcess | None = None) -> None:  # noqa: ANN401
        self.reactor = reactor
        self._verifier = verifier or VerifierProcess(reactor)
        self.opinions = SecondOpinions(self._verifier)
        self.revocations = Revocations(reactor)

    @property
    def figures(self) -> dict[str, CacheFigures]:
        """How its caches do, by name."""
        return {"second-opinions": self.opinions.figures, "revocations": self.revocations.figures}

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """End the verifier's process, and give up questions that are under way."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.revocations.stop()
        return self._verifier.stop()


class Examination:
    """Examines what a handshake with an upstream established.

    Args:
        examiner: of the configuration.
        profile: says how far.
        trust: whom the chain was verified against.
    """

    __slots__ = ("_examiner", "_profile", "_trust")

    def __init__(self, examiner: Examiner, profile: TlsProfile, trust: TrustStore) -> None:
        self._examiner = examiner
        self._profile = profile
        self._trust = trust

    def at_once(self, facts: TlsFacts, evidence: Evidence = NO_EVIDENCE) -> TlsFacts | None:
        """Return the facts as examined if there is nothing to wait for, else ``None``: then `examine`.

        Args:
            facts: as the handshake established them.
            evidence: what came along.
        """
        if _examined(facts) is None:
            return facts
        if self._asks_of_revocation(facts):
            revocation = self._known_revocation(facts, evidence)
            if revocation is None:
                return None
            facts = judge_revocation(facts, revocation, self._profile.ocsp)
        token = self._known_opinion(facts)
        return None if token is None else judge_opinion(facts, token, self._profile.chain_second_opinion)

    def examine(self, facts: TlsFacts, evidence: Evidence = NO_EVIDENCE) -> Deferred[TlsFacts]:
        """Return the facts as examined, within `DEADLINE_S`; what fails counts as the profile says.

        Args:
            facts: as the handshake established them.
            evidence: what came along.
        """
        return Deferred.fromCoroutine(self._examine(facts, evidence))

    async def _examine(self, facts: TlsFacts, evidence: Evidence) -> TlsFacts:
        opinion = self._opinion(facts)  # both are asked at once
        if self._asks_of_revocation(facts):
            revocation = await self._revocation(facts, evidence)
            facts = judge_revocation(facts, revocation, self._profile.ocsp)
            if _examined(facts) is None:
                return facts
        return judge_opinion(facts, await opinion, self._profile.chain_second_opinion)

    # Revocation

    def _asks_of_revocation(self, facts: TlsFacts) -> bool:
        """A session that is resumed has been asked of when it began."""
        return self._profile.ocsp is not Ocsp.DISABLED and not facts.resumed

    def _known_revocation(self, facts: TlsFacts, evidence: Evidence) -> Revocation | None:
        peer = _examined(facts)
        if peer is None:
            return facts.revocation
        return self._examiner.revocations.known(peer, evidence, self._profile)

    def _revocation(self, facts: TlsFacts, evidence: Evidence) -> Deferred[Revocation]:
        known, peer = self._known_revocation(facts, evidence), _examined(facts)
        if known is not None or peer is None:
            return succeed(known or facts.revocation)
        return self._in_time(self._examiner.revocations.ask(peer, evidence, self._profile), Revocation.UNKNOWN)

    # Opinion

    def _known_opinion(self, facts: TlsFacts) -> str | None:
        """Return the token, empty for none, ``None`` if it must be waited for."""
        peer, wanted = _examined(facts), self._profile.chain_second_opinion
        if peer is None or wanted is SecondOpinion.OFF:
            return ""
        token = self._examiner.opinions.known(peer, self._trust)
        if token is None and wanted is SecondOpinion.LOG:
            self._examiner.opinions.ask(peer, self._trust).addErrback(_broke)
            return facts.second_opinion or ""  # of the handshake that the session began with
        return token

    def _opinion(self, facts: TlsFacts) -> Deferred[str]:
        known, peer = self._known_opinion(facts), _examined(facts)
        if known is not None or peer is None:
            return succeed(known or "")
        return self._in_time(self._examiner.opinions.ask(peer, self._trust), TIMED_OUT)

    def _in_time(self, asked: Deferred[T], otherwise: T) -> Deferred[T]:
        return asked.addTimeout(DEADLINE_S, self._examiner.reactor).addErrback(_failed, otherwise)


def _examined(facts: TlsFacts) -> PeerCertificate | None:
    return facts.peer if facts.chain is Chain.VALID else None


def _failed(failure: Failure, outcome: T) -> T:
    if failure.check(TimeoutError) is None:
        _broke(failure)
    return outcome


def _broke(failure: Failure) -> None:
    _log.failure("the examination of a chain broke", failure)
