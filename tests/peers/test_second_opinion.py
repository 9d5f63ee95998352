from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from smtpproxy.peers.second_opinion import FAILURE_LASTS_S, LASTS_S, SecondOpinions
from smtpproxy.tls.facts import PeerCertificate
from smtpproxy.transport.trust import TrustStore

if TYPE_CHECKING:
    from smtpproxy.peers.verifier import Opinion

TRUST = TrustStore((), "one")
PEER = PeerCertificate(b"leaf", "ab", ("mx.test",), (), 2**31, (b"issuer",))


class Verifier:
    """Answers when the test wants it, and keeps what it was asked."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.opinions = SecondOpinions(self, self.clock.seconds)
        self.asked: list[tuple[TrustStore, tuple[bytes, ...]]] = []
        self._waits: list[Deferred[Opinion]] = []

    def verify(self, trust: TrustStore, chain: tuple[bytes, ...]) -> Deferred[Opinion]:
        self.asked.append((trust, chain))
        self._waits.append(Deferred())
        return self._waits[-1]

    def say(self, token: str) -> None:
        self._waits.pop().callback((token, "words\nof the library"))


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


def test_a_chain_is_asked_for_once(verifier: Verifier) -> None:
    asked = [verifier.opinions.ask(PEER, TRUST) for _ in range(2)]
    assert verifier.asked == [(TRUST, (b"leaf", b"issuer"))]
    assert verifier.opinions.known(PEER, TRUST) is None
    verifier.say("no-path")
    assert [each.result for each in asked] == ["no-path", "no-path"]
    assert verifier.opinions.known(PEER, TRUST) == "no-path"
    assert verifier.opinions.figures.size == 1


def test_other_issuers_and_other_trust_are_another_question(verifier: Verifier) -> None:
    verifier.opinions.ask(PEER, TRUST)
    verifier.say("")
    other = PeerCertificate(b"leaf", "ab", ("mx.test",), (), 2**31)
    assert verifier.opinions.known(PEER, TRUST) == ""
    assert verifier.opinions.known(other, TRUST) is None
    assert verifier.opinions.known(PEER, TrustStore((), "one")) is None


@pytest.mark.parametrize(("token", "lasts_s"), [("", LASTS_S), ("no-path", LASTS_S), ("timed-out", FAILURE_LASTS_S)])
def test_a_failure_is_not_held_against_a_chain_for_long(verifier: Verifier, token: str, lasts_s: float) -> None:
    verifier.opinions.ask(PEER, TRUST)
    verifier.say(token)
    verifier.clock.advance(lasts_s - 1)
    assert verifier.opinions.known(PEER, TRUST) == token
    verifier.clock.advance(1)
    assert verifier.opinions.known(PEER, TRUST) is None


@pytest.mark.parametrize(
    ("peer", "token"),
    [
        (
            PeerCertificate(b"leaf", "ab", tuple(f"h{n}.test" for n in range(99)), ("192.0.2.1", "192.0.2.2"), 0),
            "too-many-names",
        ),
        (PeerCertificate(b"leaf", "ab", ("mx.test",), (), 0, (bytes(32 * 1024),)), "too-long"),
    ],
    ids=["names", "octets"],
)
def test_what_is_too_much_is_not_even_asked_for(verifier: Verifier, peer: PeerCertificate, token: str) -> None:
    assert verifier.opinions.known(peer, TRUST) == token
    assert verifier.opinions.ask(peer, TRUST).result == token
    assert verifier.asked == []
