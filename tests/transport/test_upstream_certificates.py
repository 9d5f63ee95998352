"""Upstreams that ask for a certificate: what they are shown, and what is said where there is nothing to show.

Source: RFC 8446 s4.3.2, s4.4.2 (the client's certificate comes behind the server's Finished), s6.2.
"""

from __future__ import annotations

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from smtpproxy.policy.model import TlsProfile
from smtpproxy.tls.facts import TlsFailure, TlsReason, TlsVersion
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.profile_files import OwnCertificate
from smtpproxy.transport.resumption import TlsSessions
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.upstream_handshake import UpstreamHandshake
from smtpproxy.transport.verification import failure_of
from tests.handshakes import Handshake, plain_server, shake
from tests.pki import Pair, Wanted, make_intermediate, make_leaf, make_root

NOBODY = TrustStore((), "")
ASKS, INSISTS = SSL.VERIFY_PEER, SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
VERSIONS = [TlsVersion.TLS1_2, TlsVersion.TLS1_3]
each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(scope="module")
def leaf() -> Pair:
    return make_leaf(None)


@pytest.fixture(scope="module")
def ours() -> Pair:
    signer = make_intermediate(make_root("Ours"), "Issuing")
    return make_leaf(signer, Wanted(names=("gw.example",), purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)))


def server(leaf: Pair, version: TlsVersion, mode: int = SSL.VERIFY_NONE, *, takes: bool = True) -> SSL.Context:
    context = plain_server(leaf)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_verify(mode, lambda *_: takes)
    return context


def meet(context: SSL.Context, shown: Pair | None = None) -> tuple[Handshake, UpstreamHandshake]:
    own = OwnCertificate(shown.chain, shown.key) if shown else None
    ours = Contexts().client(TlsProfile("test"), NOBODY, own)
    handshake = UpstreamHandshake(TlsSessions(), ours, ("192.0.2.1", 25), None)
    return shake(context, ours), handshake


def failure(outcome: Handshake) -> TlsFailure:
    assert outcome.client.error is not None
    return failure_of(outcome.client.error, outcome.client.connection)


@each_version
@pytest.mark.parametrize("mode", [ASKS, INSISTS])
def test_an_upstream_that_asks_is_shown_the_whole_chain(mode: int, version: TlsVersion, leaf: Pair, ours: Pair) -> None:
    outcome, handshake = meet(server(leaf, version, mode), ours)
    assert outcome.done
    upstream = outcome.server.connection
    issuers = upstream.get_peer_cert_chain(as_cryptography=True)  # a server's has not the leaf
    assert (upstream.get_peer_certificate(as_cryptography=True), *(issuers or ())) == ours.chain
    handshake.established(outcome.client.connection)
    assert handshake.refused("reset") is None


@each_version
def test_an_upstream_that_does_not_ask_is_shown_nothing(version: TlsVersion, leaf: Pair, ours: Pair) -> None:
    outcome, _ = meet(server(leaf, version), ours)
    assert outcome.done
    assert outcome.server.connection.get_peer_certificate() is None


@each_version
def test_an_upstream_that_asks_and_does_not_insist(version: TlsVersion, leaf: Pair) -> None:
    outcome, _ = meet(server(leaf, version, ASKS))
    assert outcome.done


def test_in_tls12_the_handshake_fails_for_want_of_a_certificate(leaf: Pair) -> None:
    outcome, _ = meet(server(leaf, TlsVersion.TLS1_2, INSISTS))
    found = failure(outcome)
    assert (found.reason, found.certificate) == (TlsReason.CLIENT_CERTIFICATE_REQUIRED, False)
    assert "handshake failure" in found.detail


def test_in_tls13_it_has_succeeded_on_our_side(leaf: Pair) -> None:
    outcome, handshake = meet(server(leaf, TlsVersion.TLS1_3, INSISTS))
    assert outcome.client.done
    assert failure(outcome).reason is TlsReason.CLIENT_CERTIFICATE_REQUIRED
    handshake.established(outcome.client.connection)
    assert handshake.refused("tls-failed") == TlsFailure(TlsReason.CLIENT_CERTIFICATE_REQUIRED, "tls-failed")


def test_what_was_asked_for_does_not_matter_once_upstream_speaks(leaf: Pair) -> None:
    outcome, handshake = meet(server(leaf, TlsVersion.TLS1_3, ASKS))
    handshake.established(outcome.client.connection)
    handshake.octets_came()
    assert handshake.refused("clean") is None


@each_version
def test_an_end_without_a_word_is_taken_for_the_same(version: TlsVersion, leaf: Pair) -> None:
    outcome, _ = meet(server(leaf, version, ASKS))
    found = failure_of(TlsFailure(TlsReason.CONNECTION_CLOSED, "reset"), outcome.client.connection)
    assert found == TlsFailure(TlsReason.CLIENT_CERTIFICATE_REQUIRED, "reset")


def test_a_session_is_never_offered_under_another_certificate(ours: Pair) -> None:
    """It is kept by the context, of which there is one for each certificate."""
    contexts, profile = Contexts(), TlsProfile("test")
    one, other = (OwnCertificate(ours.chain, ours.key) for _ in range(2))
    made = [contexts.client(profile, NOBODY, shown) for shown in (None, one, other)]
    assert len({id(context) for context in made}) == 3
    assert contexts.client(profile, NOBODY, one) is made[1]


@each_version
def test_a_certificate_that_upstream_refuses_is_another_matter(version: TlsVersion, leaf: Pair, ours: Pair) -> None:
    outcome, _ = meet(server(leaf, version, INSISTS, takes=False), ours)
    assert failure(outcome).reason is TlsReason.PEER_ALERT


def test_a_failure_before_the_question_is_told_as_it_is(leaf: Pair) -> None:
    context = server(leaf, TlsVersion.TLS1_2, INSISTS)
    context.set_cipher_list(b"AES128-SHA")
    outcome, _ = meet(context)
    assert failure(outcome).reason is TlsReason.PEER_ALERT
