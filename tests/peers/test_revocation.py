from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from cryptography.x509 import ocsp
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtpproxy.peers.ocsp import UNKNOWN_S
from smtpproxy.peers.revocation import Revocations
from smtpproxy.policy.model import Ocsp, TlsProfile
from smtpproxy.tls.facts import PeerCertificate, Revocation
from smtpproxy.transport.upstream_handshake import NO_EVIDENCE, Evidence
from tests.peers.chains import der_of, facts_about
from tests.peers.reactors import on_reactor
from tests.peers.responder import HOUR, MUST_STAPLE, Responder, Says, answer
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

if TYPE_CHECKING:
    from cryptography import x509

LOOPBACK = (ip_network("127.0.0.0/8"),)
REVOKED, GOOD = ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.GOOD


def profile(wanted: Ocsp = Ocsp.LENIENT) -> TlsProfile:
    return TlsProfile("test", ocsp=wanted, ocsp_private_responders=LOOPBACK)


def peer_of(pair: Pair) -> PeerCertificate:
    peer = facts_about(pair).peer
    assert peer is not None
    return peer


class RevocationTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.revocations = Revocations(reactor, self.clock.seconds, lambda: NOW.timestamp() + self.clock.seconds())
        self.responder = Responder()
        self.addCleanup(self.responder.close)
        self.issuer = make_intermediate(make_root(), "Issuer")

    def leaf(self, *extensions: x509.ExtensionType) -> Pair:
        return self.responder.leaf(self.issuer, *extensions)

    def evidence(self, staple: bytes | None = None) -> Evidence:
        return Evidence(der_of(self.issuer.certificate)[0], staple)

    def known(self, leaf: Pair, staple: bytes | None = None, wanted: Ocsp = Ocsp.LENIENT) -> Revocation | None:
        return self.revocations.known(peer_of(leaf), self.evidence(staple), profile(wanted))

    async def ask(self, leaf: Pair, wanted: Ocsp = Ocsp.LENIENT) -> Revocation:
        assert self.known(leaf, wanted=wanted) is None
        return await self.revocations.ask(peer_of(leaf), self.evidence(), profile(wanted))

    def staple(self, leaf: Pair, status: ocsp.OCSPCertStatus = GOOD) -> bytes:
        return answer(leaf, self.issuer, Says(status))

    # Staples

    def test_a_good_staple_is_enough(self) -> None:
        leaf = self.leaf(MUST_STAPLE)
        for wanted in (Ocsp.LENIENT, Ocsp.STRICT):
            assert self.known(leaf, self.staple(leaf), wanted) is Revocation.GOOD
        assert self.responder.asked == []

    def test_so_is_a_bad_one(self) -> None:
        leaf = self.leaf()
        assert self.known(leaf, self.staple(leaf, REVOKED)) is Revocation.REVOKED

    @on_reactor
    async def test_one_that_says_nothing_leaves_it_to_the_responder(self) -> None:
        leaf, other = self.leaf(), self.leaf()
        assert self.known(leaf, self.staple(other)) is None
        assert self.known(leaf, b"no answer") is None
        self.responder.say(leaf, self.issuer)
        assert await self.ask(leaf) is Revocation.GOOD

    @on_reactor
    async def test_a_good_one_does_not_undo_what_the_responder_has_said_since(self) -> None:
        leaf = self.leaf()
        self.responder.say(leaf, self.issuer, Says(REVOKED))
        assert await self.ask(leaf) is Revocation.REVOKED
        assert self.known(leaf, self.staple(leaf)) is Revocation.REVOKED

    def test_without_a_responder_a_staple_is_all_there_is(self) -> None:
        leaf = make_leaf(self.issuer)
        assert self.known(leaf) is Revocation.NOT_APPLICABLE
        assert self.known(leaf, self.staple(leaf)) is Revocation.GOOD
        assert self.known(leaf, b"no answer") is Revocation.UNKNOWN

    # Must-staple

    def test_strict_asks_nobody_where_a_staple_must_be(self) -> None:
        leaf = self.leaf(MUST_STAPLE)
        assert self.known(leaf, wanted=Ocsp.STRICT) is Revocation.NOT_STAPLED
        assert self.known(leaf, b"no answer", Ocsp.STRICT) is Revocation.NOT_STAPLED

    @on_reactor
    async def test_lenient_asks_all_the_same(self) -> None:
        leaf = self.leaf(MUST_STAPLE)
        self.responder.say(leaf, self.issuer)
        assert await self.ask(leaf) is Revocation.NOT_STAPLED
        assert self.known(leaf) is Revocation.NOT_STAPLED
        revoked = self.leaf(MUST_STAPLE)
        self.responder.say(revoked, self.issuer, Says(REVOKED))
        assert await self.ask(revoked) is Revocation.REVOKED

    def test_without_a_responder_it_is_not_stapled(self) -> None:
        leaf = make_leaf(self.issuer, Wanted(extensions=(MUST_STAPLE,)))
        assert self.known(leaf) is Revocation.NOT_STAPLED

    # The responder

    @on_reactor
    async def test_what_it_says_is_kept_until_the_next(self) -> None:
        for status, revocation in ((GOOD, Revocation.GOOD), (REVOKED, Revocation.REVOKED)):
            leaf = self.leaf()
            self.responder.say(leaf, self.issuer, Says(status, until=NOW + 2 * HOUR))
            assert await self.ask(leaf) is revocation
            assert self.known(leaf) is revocation
        assert len(self.responder.asked) == 2
        self.clock.advance(2 * 3600)
        assert self.known(leaf) is None

    @on_reactor
    async def test_no_answer_is_not_held_for_long(self) -> None:
        leaf = self.leaf()
        self.responder.status = 500
        assert await self.ask(leaf) is Revocation.UNKNOWN
        assert self.known(leaf) is Revocation.UNKNOWN
        self.clock.advance(UNKNOWN_S)
        self.responder.status = 200
        self.responder.say(leaf, self.issuer)
        assert await self.ask(leaf) is Revocation.GOOD

    @on_reactor
    async def test_a_stale_answer_a_wrong_key_and_a_wrong_certificate_are_none(self) -> None:
        for says in (Says(until=NOW - HOUR, since=NOW - DAY), Says(signer=make_root("Stranger"))):
            leaf = self.leaf()
            self.responder.say(leaf, self.issuer, says)
            assert await self.ask(leaf) is Revocation.UNKNOWN
        leaf = self.leaf()
        self.responder.say(self.leaf(), self.issuer)
        assert await self.ask(leaf) is Revocation.UNKNOWN

    @on_reactor
    async def test_one_that_is_not_there(self) -> None:
        leaf = self.leaf()
        self.responder.close()
        assert await self.ask(leaf) is Revocation.UNKNOWN

    @on_reactor
    async def test_two_who_ask_at_once_are_one(self) -> None:
        leaf = self.leaf()
        self.responder.say(leaf, self.issuer)
        asked = [self.revocations.ask(peer_of(leaf), self.evidence(), profile()) for _ in range(2)]
        assert [await each for each in asked] == [Revocation.GOOD, Revocation.GOOD]
        assert len(self.responder.asked) == 1

    # Odd certificates

    def test_what_is_trusted_as_it_is_has_nobody_to_ask(self) -> None:
        assert self.revocations.known(peer_of(self.leaf()), NO_EVIDENCE, profile()) is Revocation.NOT_APPLICABLE

    def test_what_cannot_be_read_is_unknown(self) -> None:
        peer = PeerCertificate(b"no certificate", "ab", (), (), 0)
        assert self.revocations.known(peer, self.evidence(), profile()) is Revocation.UNKNOWN
