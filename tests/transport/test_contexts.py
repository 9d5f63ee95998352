from __future__ import annotations

from pathlib import Path

import pytest
from OpenSSL import SSL

from smtpproxy.policy.model import CertificateValidation, Pfs, TlsProfile
from smtpproxy.tls.facts import TlsVersion
from smtpproxy.tls.hello import ClientHello, HelloCollector, parse_client_hello
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.trust import TrustStore, load_trust
from smtpproxy.transport.vetting import Vetting, vetting_of
from tests.handshakes import plain_client, plain_server, shake
from tests.pki import Pair, Wanted, make_intermediate, make_leaf, make_root

ECDHE_AEAD = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
}
ECDHE_CBC = {
    f"ECDHE-{key}-{suite}"
    for key in ("ECDSA", "RSA")
    for suite in ("AES128-SHA", "AES256-SHA", "AES128-SHA256", "AES256-SHA384")
}
ECDHE_CCM = {"ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES256-CCM"}
STATIC_AEAD = {"AES128-GCM-SHA256", "AES256-GCM-SHA384"}
STATIC_OLD = {"AES128-SHA", "AES256-SHA", "AES128-SHA256", "AES256-SHA256", "AES128-CCM", "AES256-CCM"}
DHE_AEAD = {"DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"}
VERSIONS = list(TlsVersion)

MLKEM, X25519 = 0x11EC, 0x001D
KEY_SHARE = 51


@pytest.fixture(scope="module")
def root() -> Pair:
    return make_root()


@pytest.fixture(scope="module")
def ecdsa(root: Pair) -> Pair:
    return make_leaf(root)


@pytest.fixture(scope="module")
def rsa(root: Pair, rsa_key: Pair) -> Pair:
    return make_leaf(root, Wanted(key=rsa_key.key))


@pytest.fixture(scope="module")
def trust(root: Pair, tmp_path_factory: pytest.TempPathFactory) -> TrustStore:
    path: Path = tmp_path_factory.mktemp("trust") / "root.pem"
    path.write_bytes(root.pem)
    return load_trust(path)


def server(profile: TlsProfile, pair: Pair) -> SSL.Context:
    return Contexts().server(profile, pair.chain, pair.key, "fingerprint")


def profile(minimum: TlsVersion = TlsVersion.TLS1_2, pfs: Pfs = Pfs.ALLOWED) -> TlsProfile:
    return TlsProfile("test", minimum, pfs)


def accepted_suites(context: SSL.Context) -> set[str]:
    """Return every suite of TLS 1.2 and before that the server takes when it is the only one on offer."""
    everything = SSL.Connection(plain_client("ALL:COMPLEMENTOFALL:@SECLEVEL=0"), None).get_cipher_list()
    old = [suite for suite in everything if not suite.startswith("TLS_")]
    highest = SSL.TLS1_2_VERSION
    return {suite for suite in old if shake(context, plain_client(f"{suite}:@SECLEVEL=0", highest=highest)).done}


def offered_hello(context: SSL.Context) -> tuple[ClientHello, bytes]:
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    flight = connection.bio_read(65536)
    message = HelloCollector().feed(flight)
    assert message is not None
    return parse_client_hello(message), flight


def offered_suites(context: SSL.Context) -> set[str]:
    names = SSL.Connection(context, None).get_cipher_list()
    return {name for name in names if not name.startswith("TLS_")}


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("minimum", VERSIONS, ids=lambda version: f"minimum {version.name}")
def test_a_server_takes_the_profiles_versions_and_no_other(
    minimum: TlsVersion, version: TlsVersion, ecdsa: Pair
) -> None:
    outcome = shake(server(profile(minimum), ecdsa), plain_client(lowest=version, highest=version))
    assert outcome.done is (version >= minimum)
    if outcome.done:
        assert outcome.server.connection.get_protocol_version() == version


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("minimum", VERSIONS, ids=lambda version: f"minimum {version.name}")
def test_an_upstream_leg_takes_the_profiles_versions_and_no_other(
    minimum: TlsVersion, version: TlsVersion, ecdsa: Pair, trust: TrustStore
) -> None:
    upstream = plain_server(ecdsa)
    upstream.set_min_proto_version(version)
    upstream.set_max_proto_version(version)
    assert shake(upstream, Contexts().client(profile(minimum), trust)).done is (version >= minimum)


@pytest.mark.parametrize(
    ("minimum", "pfs", "expected"),
    [
        (TlsVersion.TLS1_2, Pfs.REQUIRED, ECDHE_AEAD),
        (TlsVersion.TLS1_2, Pfs.ALLOWED, ECDHE_AEAD),
        (TlsVersion.TLS1_2, Pfs.NONE, STATIC_AEAD),
        (TlsVersion.TLS1_0, Pfs.REQUIRED, ECDHE_AEAD | ECDHE_CBC | ECDHE_CCM),
        (TlsVersion.TLS1_0, Pfs.ALLOWED, ECDHE_AEAD | ECDHE_CBC | ECDHE_CCM | STATIC_AEAD | STATIC_OLD),
        (TlsVersion.TLS1_0, Pfs.NONE, STATIC_AEAD | STATIC_OLD),
    ],
)
def test_a_server_takes_the_profiles_suites_and_no_other(
    minimum: TlsVersion, pfs: Pfs, expected: set[str], ecdsa: Pair, rsa: Pair
) -> None:
    found = accepted_suites(server(profile(minimum, pfs), ecdsa)) | accepted_suites(server(profile(minimum, pfs), rsa))
    assert found == expected


@pytest.mark.parametrize(
    ("minimum", "pfs", "expected"),
    [
        (TlsVersion.TLS1_2, Pfs.REQUIRED, ECDHE_AEAD | DHE_AEAD),
        (TlsVersion.TLS1_2, Pfs.ALLOWED, ECDHE_AEAD | DHE_AEAD | STATIC_AEAD),
        (TlsVersion.TLS1_2, Pfs.NONE, STATIC_AEAD),
        (TlsVersion.TLS1_1, Pfs.NONE, STATIC_AEAD | STATIC_OLD),
    ],
)
def test_an_upstream_leg_offers_the_profiles_suites_and_no_other(
    minimum: TlsVersion, pfs: Pfs, expected: set[str], trust: TrustStore
) -> None:
    assert offered_suites(Contexts().client(profile(minimum, pfs), trust)) == expected


def test_without_forward_secrecy_there_is_no_tls13(rsa: Pair, trust: TrustStore) -> None:
    bare = profile(pfs=Pfs.NONE)
    outcome = shake(server(bare, rsa), plain_client())
    assert outcome.server.connection.get_protocol_version() == TlsVersion.TLS1_2
    assert offered_hello(Contexts().client(bare, trust))[0].highest_version is TlsVersion.TLS1_2


def test_the_upstream_hello_fits_one_segment_and_still_names_the_hybrid_group(trust: TrustStore) -> None:
    hello, flight = offered_hello(Contexts().client(profile(), trust))
    assert hello.groups is not None
    assert hello.groups[0] == X25519
    assert MLKEM in hello.groups
    assert len(flight) < 512  # a share of the hybrid alone has 1,216 octets


def test_a_client_that_sends_a_hybrid_share_gets_it(ecdsa: Pair) -> None:
    outcome = shake(server(profile(), ecdsa), plain_client())
    assert outcome.server.connection.get_group_name() == "X25519MLKEM768"


def test_an_upstream_that_wants_the_hybrid_group_gets_it(ecdsa: Pair, trust: TrustStore) -> None:
    outcome = shake(plain_server(ecdsa), Contexts().client(profile(), trust))
    assert outcome.done
    assert outcome.client.connection.get_group_name() == "X25519MLKEM768"


def test_the_server_orders_the_suites_of_tls13(ecdsa: Pair) -> None:
    client = plain_client()
    client.set_tls13_ciphersuites(b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")
    outcome = shake(server(profile(), ecdsa), client)
    assert outcome.client.connection.get_cipher_name() == "TLS_AES_128_GCM_SHA256"


def test_a_client_without_aes_in_hardware_gets_chacha20(ecdsa: Pair) -> None:
    client = plain_client()
    client.set_tls13_ciphersuites(b"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256")
    outcome = shake(server(profile(), ecdsa), client)
    assert outcome.client.connection.get_cipher_name() == "TLS_CHACHA20_POLY1305_SHA256"


def test_an_alpn_offer_is_passed_over(ecdsa: Pair) -> None:
    client = plain_client()
    client.set_alpn_protos([b"h2", b"smtp"])
    outcome = shake(server(profile(), ecdsa), client)
    assert outcome.done
    assert outcome.client.connection.get_alpn_proto_negotiated() == b""


def test_nobody_renegotiates(ecdsa: Pair) -> None:
    outcome = shake(server(profile(), ecdsa), plain_client(highest=SSL.TLS1_2_VERSION))
    client, proxy = outcome.client.connection, outcome.server.connection
    client.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    proxy.bio_write(client.bio_read(65536))
    with pytest.raises(SSL.WantReadError):
        proxy.recv(1)
    client.bio_write(proxy.bio_read(65536))
    with pytest.raises(SSL.Error, match="no renegotiation"):
        client.do_handshake()


def test_the_issuers_are_sent(root: Pair) -> None:
    leaf = make_leaf(make_intermediate(root, "Intermediate"))
    outcome = shake(server(profile(), leaf), plain_client())
    chain = outcome.client.connection.get_peer_cert_chain(as_cryptography=True)
    assert chain is not None
    assert tuple(chain) == leaf.chain


def test_a_context_is_made_once(ecdsa: Pair, rsa: Pair, trust: TrustStore) -> None:
    contexts = Contexts(8)
    first = contexts.server(profile(), ecdsa.chain, ecdsa.key, "one")
    assert contexts.server(profile(), ecdsa.chain, ecdsa.key, "one") is first
    assert contexts.server(profile(), rsa.chain, rsa.key, "two") is not first
    assert contexts.server(profile(TlsVersion.TLS1_3), ecdsa.chain, ecdsa.key, "one") is not first
    upstream = contexts.client(profile(), trust)
    assert contexts.client(profile(), trust) is upstream
    assert contexts.client(profile(), TrustStore(trust.authorities, "another")) is not upstream


def test_no_more_contexts_are_kept_than_the_limit(ecdsa: Pair) -> None:
    contexts = Contexts(2)
    first = contexts.server(profile(), ecdsa.chain, ecdsa.key, "one")
    contexts.server(profile(), ecdsa.chain, ecdsa.key, "two")
    contexts.server(profile(), ecdsa.chain, ecdsa.key, "three")
    assert contexts.server(profile(), ecdsa.chain, ecdsa.key, "one") is not first


def test_a_context_knows_what_its_profile_wants_verified(ecdsa: Pair, trust: TrustStore) -> None:
    for validation in CertificateValidation:
        wanted = TlsProfile("test", certificate_validation=validation)
        assert vetting_of(Contexts().client(wanted, trust)).validation is validation
    assert vetting_of(server(profile(), ecdsa)) == Vetting(CertificateValidation.OFF)
