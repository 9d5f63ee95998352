from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.x509.ocsp import OCSPCertStatus
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtpproxy.peers.examiner import DEADLINE_S, Examination, Examiner
from smtpproxy.peers.verifier_process import VerifierProcess
from smtpproxy.policy.model import Ocsp, SecondOpinion, TlsProfile
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts, TlsReason
from smtpproxy.transport.upstream_handshake import Evidence
from tests.peers.chains import der_of, facts_about, lax_root, trust_in
from tests.peers.reactors import on_reactor
from tests.peers.responder import Responder, Says
from tests.peers.test_verifier_process import exists
from tests.pki import Pair, make_leaf, make_root


class SecondOpinionTests(TestCase):
    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def setUp(self) -> None:
        self.verifier = VerifierProcess(reactor)
        self.examiner = Examiner(reactor, self.verifier)
        self.addCleanup(self.examiner.stopService)
        self.lax, self.good = lax_root(), make_root()

    def examination(self, root: Pair, wanted: SecondOpinion) -> Examination:
        self.trust = trust_in(self.folder, root)
        return Examination(self.examiner, TlsProfile("test", chain_second_opinion=wanted), self.trust)

    async def test_off_asks_nobody(self) -> None:
        facts = facts_about(make_leaf(self.lax))
        assert self.examination(self.lax, SecondOpinion.OFF).at_once(facts) is facts
        assert self.verifier.pid is None

    async def test_a_chain_that_is_not_valid_needs_no_second_opinion(self) -> None:
        examination = self.examination(self.lax, SecondOpinion.ENFORCE)
        for chain in (Chain.INVALID, Chain.UNCHECKED, Chain.ABSENT):
            facts = facts_about(make_leaf(self.lax), chain)
            assert examination.at_once(facts) is facts
        assert self.verifier.pid is None

    async def test_log_does_not_wait_and_knows_it_the_next_time(self) -> None:
        facts, examination = facts_about(make_leaf(self.lax)), self.examination(self.lax, SecondOpinion.LOG)
        assert examination.at_once(facts) is facts
        assert await examination.examine(facts) == facts
        assert facts.peer is not None
        await self.examiner.opinions.ask(facts.peer, self.trust)
        known = examination.at_once(facts)
        assert known is not None
        assert (known.chain, known.second_opinion) == (Chain.VALID, "critical-extension")

    async def test_a_resumed_session_keeps_what_was_said_until_something_else_is(self) -> None:
        facts = replace(facts_about(make_leaf(self.lax)), resumed=True, second_opinion="timed-out")
        examination = self.examination(self.lax, SecondOpinion.LOG)
        assert examination.at_once(facts) == facts
        assert facts.peer is not None
        await self.examiner.opinions.ask(facts.peer, self.trust)
        assert examination.at_once(facts) == replace(facts, second_opinion="critical-extension")

    async def test_enforce_waits_and_counts(self) -> None:
        facts, examination = facts_about(make_leaf(self.lax)), self.examination(self.lax, SecondOpinion.ENFORCE)
        assert examination.at_once(facts) is None
        examined = await examination.examine(facts)
        assert (examined.chain, examined.reason) == (Chain.INVALID, TlsReason.VALIDATION_FAILURE)
        assert examination.at_once(facts) == examined

    async def test_enforce_takes_what_both_take(self) -> None:
        facts, examination = facts_about(make_leaf(self.good)), self.examination(self.good, SecondOpinion.ENFORCE)
        assert await examination.examine(facts) == facts
        assert self.examiner.figures["second-opinions"].size == 1

    async def test_stopped_it_is_gone(self) -> None:
        facts, examination = facts_about(make_leaf(self.good)), self.examination(self.good, SecondOpinion.ENFORCE)
        await examination.examine(facts)
        pid = self.verifier.pid
        await self.examiner.stopService()
        assert not exists(pid)


class SilentVerifier(VerifierProcess):
    """Takes a question and never answers."""

    def verify(self, *_: object) -> Deferred[tuple[str, str]]:
        return Deferred()


def test_an_examination_ends_in_time(tmp_path: Path) -> None:
    clock, root = Clock(), make_root()
    profile = TlsProfile("test", chain_second_opinion=SecondOpinion.ENFORCE)
    examination = Examination(Examiner(clock, SilentVerifier(clock)), profile, trust_in(tmp_path, root))
    examined: list[TlsFacts] = []
    examination.examine(facts_about(make_leaf(root))).addCallback(examined.append)
    clock.advance(DEADLINE_S - 0.1)
    assert examined == []
    clock.advance(0.2)
    assert [(facts.chain, facts.second_opinion) for facts in examined] == [(Chain.INVALID, "timed-out")]


class RevocationTests(TestCase):
    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def setUp(self) -> None:
        self.examiner = Examiner(reactor)
        self.addCleanup(self.examiner.stopService)
        self.responder = Responder()
        self.addCleanup(self.responder.close)
        self.root = make_root()
        self.leaf = self.responder.leaf(self.root)
        self.evidence = Evidence(der_of(self.root.certificate)[0], None)
        self.responder.say(self.leaf, self.root)

    def examination(self, wanted: Ocsp, opinion: SecondOpinion = SecondOpinion.OFF) -> Examination:
        profile = TlsProfile(
            "test", chain_second_opinion=opinion, ocsp=wanted, ocsp_private_responders=(ip_network("127.0.0.0/8"),)
        )
        return Examination(self.examiner, profile, trust_in(self.folder, self.root))

    async def examine(self, wanted: Ocsp, opinion: SecondOpinion = SecondOpinion.OFF) -> TlsFacts:
        examination, facts = self.examination(wanted, opinion), facts_about(self.leaf)
        assert examination.at_once(facts, self.evidence) is None
        examined = await examination.examine(facts, self.evidence)
        assert examination.at_once(facts, self.evidence) == examined
        return examined

    @on_reactor
    async def test_disabled_asks_nobody(self) -> None:
        facts = facts_about(self.leaf)
        assert self.examination(Ocsp.DISABLED).at_once(facts, self.evidence) is facts
        assert self.responder.asked == []

    @on_reactor
    async def test_a_session_that_was_resumed_is_as_good_as_its_first_handshake(self) -> None:
        facts = replace(facts_about(self.leaf), resumed=True, revocation=Revocation.GOOD)
        assert self.examination(Ocsp.STRICT).at_once(facts) is facts

    @on_reactor
    async def test_both_are_asked(self) -> None:
        examined = await self.examine(Ocsp.STRICT, SecondOpinion.ENFORCE)
        assert (examined.chain, examined.revocation, examined.second_opinion) == (Chain.VALID, Revocation.GOOD, None)
        assert {name: each.size for name, each in self.examiner.figures.items()} == {
            "second-opinions": 1,
            "revocations": 1,
        }

    @on_reactor
    async def test_what_was_revoked_is_not_valid_whatever_the_other_verifier_thinks(self) -> None:
        self.responder.say(self.leaf, self.root, Says(OCSPCertStatus.REVOKED))
        for wanted in (Ocsp.LENIENT, Ocsp.STRICT):
            self.examiner = Examiner(reactor)
            self.addCleanup(self.examiner.stopService)
            examined = await self.examine(wanted, SecondOpinion.ENFORCE)
            assert (examined.chain, examined.reason) == (Chain.INVALID, TlsReason.CERTIFICATE_REVOKED)
            assert examined.revocation is Revocation.REVOKED

    @on_reactor
    async def test_lenient_passes_what_nobody_can_tell_of(self) -> None:
        self.responder.status = 500
        examined = await self.examine(Ocsp.LENIENT)
        assert (examined.chain, examined.revocation) == (Chain.VALID, Revocation.UNKNOWN)

    @on_reactor
    async def test_strict_does_not(self) -> None:
        self.responder.status = 500
        examined = await self.examine(Ocsp.STRICT)
        assert (examined.chain, examined.reason) == (Chain.INVALID, TlsReason.VALIDATION_FAILURE)
        assert examined.revocation is Revocation.UNKNOWN
