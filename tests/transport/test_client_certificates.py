"""Certificates of clients: what a client leg that asks for one makes of it, in handshakes with real ones."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from smtpproxy.policy.model import CertificateValidation, TlsProfile
from smtpproxy.tls.facts import Chain, TlsFacts, TlsReason, TlsVersion
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.trust import TrustStore, load_trust
from smtpproxy.transport.verification import facts_of
from tests.handshakes import Handshake, plain_client, shake
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
VERSIONS = [TlsVersion.TLS1_2, TlsVersion.TLS1_3]


@dataclass(frozen=True)
class Place:
    """The proxy's certificate, the authority of its clients, and who is trusted."""

    shown: Pair
    root: Pair
    trust: TrustStore


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root, path = make_root("Clients"), tmp_path_factory.mktemp("trust") / "clients.pem"
    path.write_bytes(root.pem)
    return Place(make_leaf(make_root("Servers")), root, load_trust(path))


def client_leaf(signer: Pair | None, **wanted: object) -> Pair:
    return make_leaf(signer, Wanted(**{"names": ("client.example",), "purposes": CLIENT, **wanted}))  # type: ignore[arg-type]


def asking(place: Place, validation: CertificateValidation = CertificateValidation.AUDIT) -> SSL.Context:
    profile = TlsProfile("test", certificate_validation=validation)
    return Contexts().server(profile, place.shown.chain, place.shown.key, "shown", place.trust)


def client(pair: Pair | None, version: TlsVersion) -> SSL.Context:
    context = plain_client(lowest=version, highest=version)
    if pair is not None:
        context.use_certificate(pair.certificate)
        for issuer in pair.issuers:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(pair.key)
    return context


def facts(outcome: Handshake) -> TlsFacts:
    assert outcome.done
    return facts_of(outcome.server.connection, None)


@pytest.mark.parametrize("validation", CertificateValidation)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_good_certificate_is_valid_whatever_the_profile_says_of_upstreams(
    version: TlsVersion, validation: CertificateValidation, place: Place
) -> None:
    pair = client_leaf(make_intermediate(place.root, "Intermediate"))
    found = facts(shake(asking(place, validation), client(pair, version)))
    assert (found.chain, found.reason) == (Chain.VALID, None)
    assert found.peer is not None
    assert found.peer.dns_names == ("client.example",)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_a_certificate_goes_on(version: TlsVersion, place: Place) -> None:
    found = facts(shake(asking(place, CertificateValidation.ENFORCE), client(None, version)))
    assert (found.chain, found.reason, found.peer) == (Chain.ABSENT, None, None)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("self-signed", TlsReason.CERTIFICATE_NOT_TRUSTED),
        ("another authority", TlsReason.CERTIFICATE_NOT_TRUSTED),
        ("expired", TlsReason.CERTIFICATE_EXPIRED),
        ("for servers", TlsReason.CERTIFICATE_WRONG_PURPOSE),
        ("path too long", TlsReason.VALIDATION_FAILURE),
        ("eleven issuers", TlsReason.CHAIN_TOO_LONG),
    ],
)
def test_a_bad_one_is_recorded_and_fails_no_handshake(
    name: str, reason: TlsReason, version: TlsVersion, place: Place
) -> None:
    pairs = {
        "self-signed": lambda: client_leaf(None),
        "another authority": lambda: client_leaf(make_root("Another")),
        "expired": lambda: client_leaf(place.root, not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "for servers": lambda: client_leaf(place.root, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "path too long": lambda: client_leaf(
            make_intermediate(make_intermediate(place.root, "None below", path_length=0), "Below")
        ),
        "eleven issuers": lambda: client_leaf(_deep(place.root, 11)),
    }
    found = facts(shake(asking(place, CertificateValidation.ENFORCE), client(pairs[name](), version)))
    assert (found.chain, found.reason) == (Chain.INVALID, reason)
    assert found.peer is not None


def _deep(signer: Pair, count: int) -> Pair:
    for number in range(count):
        signer = make_intermediate(signer, f"Number {number}")
    return signer


def test_the_first_error_counts(place: Place) -> None:
    """An unknown issuer is met before the dates are."""
    pair = client_leaf(make_root("Another"), not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    found = facts(shake(asking(place), client(pair, TlsVersion.TLS1_3)))
    assert found.reason is TlsReason.CERTIFICATE_NOT_TRUSTED


@pytest.mark.parametrize("version", VERSIONS)
def test_no_session_is_resumed_where_a_certificate_is_asked_for(version: TlsVersion, place: Place) -> None:
    context, pair = asking(place), client_leaf(place.root)
    peer = client(pair, version)
    first = shake(context, peer)
    again = shake(context, peer, first.client.connection.get_session())
    assert not facts(again).resumed
    assert facts(again).chain is Chain.VALID


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_a_leg_that_asks_for_none_opens_none_that_does(version: TlsVersion, place: Place) -> None:
    contexts, profile = Contexts(), TlsProfile("test")
    shown = (profile, place.shown.chain, place.shown.key, "shown")
    peer = client(None, version)
    first = shake(contexts.server(*shown), peer)
    found = facts(shake(contexts.server(*shown, place.trust), peer, first.client.connection.get_session()))
    assert (found.resumed, found.chain) == (False, Chain.ABSENT)


def test_the_contexts_are_told_apart(place: Place) -> None:
    contexts, profile = Contexts(), TlsProfile("test")
    shown = (profile, place.shown.chain, place.shown.key, "shown")
    asks = contexts.server(*shown, place.trust)
    assert contexts.server(*shown, place.trust) is asks
    assert contexts.server(*shown) is not asks
    assert contexts.server(*shown, TrustStore(place.trust.authorities, "another")) is not asks


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("count", [1, 16, 17])
def test_a_few_authorities_are_named_and_no_more(count: int, version: TlsVersion, place: Place) -> None:
    trust = TrustStore(place.trust.authorities * count, "many")
    profile = TlsProfile("test")
    context = Contexts().server(profile, place.shown.chain, place.shown.key, "shown", trust)
    outcome = shake(context, client(None, version))
    named = outcome.client.connection.get_client_ca_list()
    assert len(named) == (count if count <= 16 else 0)


def test_a_leg_that_asks_for_none_looks_at_none(place: Place) -> None:
    context = Contexts().server(TlsProfile("test"), place.shown.chain, place.shown.key, "shown")
    found = facts(shake(context, client(client_leaf(place.root), TlsVersion.TLS1_3)))
    assert (found.chain, found.peer) == (Chain.ABSENT, None)
