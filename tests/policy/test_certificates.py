"""Interception never upgrades trust."""

from __future__ import annotations

import pytest

from smtpproxy.policy.certificates import (
    CertificateQuestion,
    Leaf,
    LeafKey,
    ProxyServerCertificate,
    Signer,
    decide_certificate,
)
from smtpproxy.policy.model import Direction
from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts, TlsVersion

CERTIFICATE = PeerCertificate(b"der", "f" * 64, ("mx.test", "*.in.test"), ("192.0.2.25",), 2**31)


def upstream(chain: Chain, certificate: PeerCertificate | None = CERTIFICATE) -> TlsFacts:
    return TlsFacts(TlsVersion.TLS1_3, "TLS_AES_128_GCM_SHA256", peer=certificate, chain=chain)


def leaf(server_name: str | None, facts: TlsFacts | None, *, ecdsa: bool = True) -> Leaf:
    question = CertificateQuestion(server_name, ecdsa, facts, "fallback.test")
    choice = decide_certificate(Direction.OUTBOUND, question)
    assert isinstance(choice, Leaf)
    return choice


@pytest.mark.parametrize("server_name", ["mx.test", "MX.TEST", "mx.test.", "a.in.test", "192.0.2.25", None])
def test_a_valid_chain_that_bears_the_name_earns_the_proxy_authority(server_name: str | None) -> None:
    assert leaf(server_name, upstream(Chain.VALID)).signer is Signer.PROXY_AUTHORITY


@pytest.mark.parametrize("server_name", ["other.test", "a.b.in.test", "in.test", "192.0.2.26", "mx.test.evil.test", ""])
def test_a_name_that_the_certificate_does_not_bear_does_not(server_name: str) -> None:
    assert leaf(server_name, upstream(Chain.VALID)).signer is Signer.UNTRUSTED_AUTHORITY


@pytest.mark.parametrize("chain", [chain for chain in Chain if chain is not Chain.VALID])
def test_a_chain_that_is_not_proven_does_not(chain: Chain) -> None:
    assert leaf("mx.test", upstream(chain)).signer is Signer.UNTRUSTED_AUTHORITY
    assert leaf(None, upstream(chain)).signer is Signer.UNTRUSTED_AUTHORITY


def test_a_chain_without_certificate_does_not() -> None:
    """A resumed handshake may tell of a valid chain and show none."""
    assert leaf("mx.test", upstream(Chain.VALID, None)).signer is Signer.UNTRUSTED_AUTHORITY


def test_upstream_in_clear_does_not() -> None:
    assert leaf("mx.test", None) == Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.ECDSA, None, "mx.test")


@pytest.mark.parametrize("chain", Chain)
def test_the_leaf_copies_the_certificate_whatever_became_of_it(chain: Chain) -> None:
    assert leaf("mx.test", upstream(chain)).certificate is CERTIFICATE


def test_the_name_is_the_clients_and_else_the_fallback() -> None:
    assert leaf("mx.test", None).name == "mx.test"
    assert leaf(None, None).name == "fallback.test"


@pytest.mark.parametrize(("ecdsa", "key"), [(True, LeafKey.ECDSA), (False, LeafKey.RSA)])
def test_the_key_is_one_that_the_client_can_verify(ecdsa: bool, key: LeafKey) -> None:  # noqa: FBT001 - a column of the table
    assert leaf("mx.test", upstream(Chain.VALID), ecdsa=ecdsa).key is key


@pytest.mark.parametrize("facts", [None, upstream(Chain.VALID), upstream(Chain.INVALID)])
@pytest.mark.parametrize("server_name", ["mx.test", None])
def test_inbound_the_proxy_server_certificate_is_picked_by_the_name(
    facts: TlsFacts | None, server_name: str | None
) -> None:
    question = CertificateQuestion(server_name, ecdsa=True, upstream=facts, fallback_name="fallback.test")
    assert decide_certificate(Direction.INBOUND, question) == ProxyServerCertificate(server_name)
