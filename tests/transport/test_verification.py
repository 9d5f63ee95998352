from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from smtpproxy.policy.model import CertificateValidation, TlsProfile
from smtpproxy.tls.facts import Chain, TlsFailure, TlsReason, TlsVersion
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.trust import TrustStore, load_trust
from smtpproxy.transport.verification import facts_of, failure_of, parse_peer_certificate, set_server_name
from tests.handshakes import Handshake, plain_client, plain_server, shake
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Case:
    """An upstream whose chain is wrong, the token for it, and the alert that it gets under ``enforce``."""

    pair: Pair
    reason: TlsReason
    alert: str


@pytest.fixture(scope="module")
def root() -> Pair:
    return make_root()


@pytest.fixture(scope="module")
def trust(root: Pair, tmp_path_factory: pytest.TempPathFactory) -> TrustStore:
    path = tmp_path_factory.mktemp("trust") / "root.pem"
    path.write_bytes(root.pem)
    return load_trust(path)


@pytest.fixture(scope="module")
def cases(root: Pair, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    intermediate = make_intermediate(root, "Intermediate")
    stranger = make_root("Another Root")
    bound = make_intermediate(root, "Bound", path_length=0)
    return {
        "self-signed": Case(make_leaf(None), TlsReason.CERTIFICATE_NOT_TRUSTED, "unknown ca"),
        "unknown authority": Case(make_leaf(stranger), TlsReason.CERTIFICATE_NOT_TRUSTED, "unknown ca"),
        "unknown root sent": Case(
            with_issuers(make_leaf(stranger), stranger.certificate), TlsReason.CERTIFICATE_NOT_TRUSTED, "unknown ca"
        ),
        "missing intermediate": Case(
            with_issuers(make_leaf(intermediate)), TlsReason.CERTIFICATE_NOT_TRUSTED, "unknown ca"
        ),
        "expired": Case(
            make_leaf(root, Wanted(not_before=NOW - 9 * DAY, not_after=NOW - DAY)),
            TlsReason.CERTIFICATE_EXPIRED,
            "certificate expired",
        ),
        "not yet valid": Case(
            make_leaf(root, Wanted(not_before=NOW + DAY, not_after=NOW + 9 * DAY)),
            TlsReason.CERTIFICATE_EXPIRED,
            "bad certificate",
        ),
        "for clients only": Case(
            make_leaf(root, Wanted(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))),
            TlsReason.CERTIFICATE_WRONG_PURPOSE,
            "unsupported certificate",
        ),
        "rsa 1024": Case(
            make_leaf(root, Wanted(key=rsa.generate_private_key(65537, 1024))),  # noqa: S505  # too short on purpose
            TlsReason.CERTIFICATE_TOO_WEAK,
            "bad certificate",
        ),
        "sha-1": Case(
            _sha1_leaf(intermediate, tmp_path_factory.mktemp("sha1")),
            TlsReason.CERTIFICATE_TOO_WEAK,
            "bad certificate",
        ),
        "chain too long": Case(_long_chain(root, 12), TlsReason.CHAIN_TOO_LONG, "unknown ca"),
        "path length exceeded": Case(
            make_leaf(make_intermediate(bound, "Below the bound")), TlsReason.VALIDATION_FAILURE, "unknown ca"
        ),
        "signed by a leaf": Case(
            make_leaf(make_leaf(root, Wanted(common_name="no authority"))), TlsReason.VALIDATION_FAILURE, "unknown ca"
        ),
    }


CASES = [
    "self-signed",
    "unknown authority",
    "unknown root sent",
    "missing intermediate",
    "expired",
    "not yet valid",
    "for clients only",
    "rsa 1024",
    "sha-1",
    "chain too long",
    "path length exceeded",
    "signed by a leaf",
]


def with_issuers(pair: Pair, *issuers: x509.Certificate) -> Pair:
    return Pair(pair.certificate, pair.key, issuers)


def _long_chain(root: Pair, length: int) -> Pair:
    signer = root
    for number in range(length):
        signer = make_intermediate(signer, f"Link {number}")
    return make_leaf(signer)


def _sha1_leaf(signer: Pair, folder: Path) -> Pair:
    """OpenSSL's own command still signs with SHA-1; cryptography does not."""
    leaf = make_leaf(None)
    (folder / "signer.pem").write_bytes(signer.pem)
    (folder / "signer.key").write_bytes(signer.key_pem)
    (folder / "leaf.pem").write_bytes(leaf.pem)
    (folder / "extensions").write_text(SHA1_EXTENSIONS)
    command = (
        "openssl x509 -in leaf.pem -CA signer.pem -CAkey signer.key -set_serial 7 -sha1 -days 30 -out sha1.pem"
        " -clrext -extfile extensions"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return Pair(x509.load_pem_x509_certificate((folder / "sha1.pem").read_bytes()), leaf.key, signer.chain)


SHA1_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:mx.example.net
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def profile(validation: CertificateValidation) -> TlsProfile:
    return TlsProfile("test", certificate_validation=validation)


def dial(pair: Pair, trust: TrustStore, validation: CertificateValidation) -> Handshake:
    return shake(plain_server(pair), Contexts().client(profile(validation), trust))


def test_every_case_is_tested(cases: dict[str, Case]) -> None:
    assert list(cases) == CASES


@pytest.mark.parametrize("name", CASES)
def test_audit_goes_on_and_knows_why_not(name: str, cases: dict[str, Case], trust: TrustStore) -> None:
    case = cases[name]
    outcome = dial(case.pair, trust, CertificateValidation.AUDIT)
    assert outcome.done
    facts = facts_of(outcome.client.connection, "mx.example.net")
    assert (facts.chain, facts.reason) == (Chain.INVALID, case.reason)
    assert facts.peer is not None
    assert facts.peer.der == case.pair.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("name", CASES)
def test_enforce_refuses_with_the_reason_and_the_alert(name: str, cases: dict[str, Case], trust: TrustStore) -> None:
    case = cases[name]
    outcome = dial(case.pair, trust, CertificateValidation.ENFORCE)
    assert outcome.client.error is not None
    failure = failure_of(outcome.client.error, outcome.client.connection)
    assert (failure.reason, failure.certificate) == (case.reason, True)
    assert failure.detail
    assert outcome.server.error is not None
    seen_by_peer = failure_of(outcome.server.error, outcome.server.connection)
    assert seen_by_peer.reason is TlsReason.PEER_ALERT
    assert seen_by_peer.detail.endswith(f"alert {case.alert}")


@pytest.mark.parametrize("name", CASES)
def test_off_does_not_look(name: str, cases: dict[str, Case], trust: TrustStore) -> None:
    outcome = dial(cases[name].pair, trust, CertificateValidation.OFF)
    assert outcome.done
    facts = facts_of(outcome.client.connection, None)
    assert (facts.chain, facts.reason) == (Chain.UNCHECKED, None)
    assert facts.peer is not None


@pytest.mark.parametrize("validation", [CertificateValidation.AUDIT, CertificateValidation.ENFORCE])
def test_a_good_chain_is_valid(root: Pair, trust: TrustStore, validation: CertificateValidation) -> None:
    leaf = make_leaf(
        make_intermediate(root, "Intermediate"), Wanted(names=("MX.example.net", "192.0.2.7", "2001:db8::7"))
    )
    facts = facts_of(dial(leaf, trust, validation).client.connection, "mx.example.net")
    assert (facts.chain, facts.reason) == (Chain.VALID, None)
    assert facts.version is TlsVersion.TLS1_3
    assert facts.cipher == "TLS_AES_128_GCM_SHA256"
    assert facts.server_name == "mx.example.net"
    assert not facts.resumed
    assert facts.peer is not None
    assert facts.peer.dns_names == ("mx.example.net",)
    assert facts.peer.ip_addresses == ("192.0.2.7", "2001:db8::7")
    assert facts.peer.not_after == int((NOW + 90 * DAY).timestamp())


def test_the_longest_chain_that_is_taken(root: Pair, trust: TrustStore) -> None:
    outcome = dial(_long_chain(root, 8), trust, CertificateValidation.AUDIT)
    assert facts_of(outcome.client.connection, None).chain is Chain.VALID


def test_the_name_is_none_of_the_chains_business(root: Pair, trust: TrustStore) -> None:
    outcome = dial(make_leaf(root, Wanted(names=("elsewhere.example",))), trust, CertificateValidation.ENFORCE)
    assert facts_of(outcome.client.connection, "mx.example.net").chain is Chain.VALID


def test_a_client_shows_no_certificate(root: Pair) -> None:
    outcome = shake(plain_server(make_leaf(root)), plain_client())
    facts = facts_of(outcome.server.connection, None)
    assert (facts.peer, facts.chain, facts.reason) == (None, Chain.ABSENT, None)


def test_a_certificate_is_parsed_once(root: Pair, trust: TrustStore) -> None:
    pair = make_leaf(root)
    first, second = (
        facts_of(dial(pair, trust, CertificateValidation.AUDIT).client.connection, None).peer for _ in range(2)
    )
    assert first is second


def test_a_certificate_of_many_names_is_not_kept(root: Pair, trust: TrustStore) -> None:
    pair = make_leaf(root, Wanted(names=tuple(f"host{number}.example.net" for number in range(500))))
    first, second = (
        facts_of(dial(pair, trust, CertificateValidation.AUDIT).client.connection, None).peer for _ in range(2)
    )
    assert first is not second
    assert first == second


def der(*certificates: x509.Certificate) -> tuple[bytes, ...]:
    return tuple(each.public_bytes(Encoding.DER) for each in certificates)


def issuers_of(pair: Pair, trust: TrustStore) -> tuple[bytes, ...]:
    peer = facts_of(dial(pair, trust, CertificateValidation.AUDIT).client.connection, None).peer
    assert peer is not None
    return peer.issuers


def test_what_was_sent_behind_the_leaf_is_known_in_its_order(root: Pair, trust: TrustStore) -> None:
    lower = make_intermediate(make_intermediate(root, "Upper"), "Lower")
    assert issuers_of(make_leaf(lower), trust) == der(*lower.chain)
    assert issuers_of(make_leaf(root), trust) == ()


def test_the_same_leaf_may_come_with_other_issuers(root: Pair, trust: TrustStore) -> None:
    intermediate = make_intermediate(root, "Intermediate")
    leaf = make_leaf(intermediate)
    for sent in ((intermediate.certificate,), (), (intermediate.certificate, root.certificate)):
        assert issuers_of(with_issuers(leaf, *sent), trust) == der(*sent)


def test_an_issuer_of_many_leaves_is_kept_once(root: Pair, trust: TrustStore) -> None:
    intermediate = make_intermediate(root, "Intermediate")
    ((first,), (second,)) = (issuers_of(make_leaf(intermediate), trust) for _ in range(2))
    assert first is second


@pytest.mark.parametrize(("strangers", "known"), [(9, 9), (10, 0)])
def test_of_too_many_issuers_none_is_kept(root: Pair, trust: TrustStore, strangers: int, known: int) -> None:
    leaf = with_issuers(make_leaf(root), *[make_root(f"Stranger {number}").certificate for number in range(strangers)])
    assert len(issuers_of(leaf, trust)) == known


def test_of_too_long_issuers_none_is_kept(root: Pair, trust: TrustStore) -> None:
    wanted = Wanted(names=tuple(f"host{number}.example.net" for number in range(800)))
    long = [make_leaf(root, wanted).certificate for _ in range(2)]
    assert 15_000 < len(der(long[0])[0]) < 18_000
    assert issuers_of(with_issuers(make_leaf(root), long[0]), trust) == der(long[0])
    assert issuers_of(with_issuers(make_leaf(root), *long), trust) == ()


def test_the_issuers_of_a_clients_certificate(root: Pair) -> None:
    pair = make_leaf(make_intermediate(root, "Intermediate"))
    server, client = plain_server(make_leaf(root)), plain_client()
    server.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    client.use_certificate(pair.certificate)
    client.use_privatekey(pair.key)
    client.add_extra_chain_cert(pair.issuers[0])
    peer = facts_of(shake(server, client).server.connection, None).peer
    assert peer is not None
    assert (peer.der, *peer.issuers) == der(*pair.chain)


def test_the_common_name_is_no_name() -> None:
    peer = parse_peer_certificate(make_leaf(None, Wanted(names=())).certificate.public_bytes(Encoding.DER))
    assert peer.dns_names == ()


def test_damaged_extensions_give_no_names() -> None:
    der = make_leaf(None).certificate.public_bytes(Encoding.DER)
    damaged = der.replace(b"mx.example.net", b"mx.example.n\xe9t")
    assert damaged != der
    assert parse_peer_certificate(damaged).dns_names == ()


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("mx.example.net", "mx.example.net"),
        ("MX.Example.Net.", "mx.example.net"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", None),
        ("2001:db8::1", None),
        ("no name", None),
        (None, None),
    ],
)
def test_only_dns_names_are_asked_for(name: str | None, sent: str | None, root: Pair) -> None:
    client = SSL.Connection(plain_client(), None)
    client.set_connect_state()
    assert set_server_name(client, name) == sent
    server = SSL.Connection(plain_server(make_leaf(root)), None)
    server.set_accept_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    server.bio_write(client.bio_read(65536))
    with pytest.raises(SSL.WantReadError):
        server.do_handshake()
    assert server.get_servername() == (sent.encode() if sent else None)


def failed(server: SSL.Context, client: SSL.Context) -> tuple[TlsFailure, TlsFailure]:
    outcome = shake(server, client)
    assert outcome.server.error is not None
    assert outcome.client.error is not None
    return (
        failure_of(outcome.server.error, outcome.server.connection),
        failure_of(outcome.client.error, outcome.client.connection),
    )


def test_no_common_version(root: Pair) -> None:
    server = plain_server(make_leaf(root))
    server.set_min_proto_version(SSL.TLS1_3_VERSION)
    ours, theirs = failed(server, plain_client(highest=SSL.TLS1_2_VERSION))
    assert ours.reason is TlsReason.NO_COMMON_VERSION
    assert theirs.reason is TlsReason.PEER_ALERT
    assert theirs.detail.endswith("alert protocol version")


def test_no_common_cipher(root: Pair) -> None:
    client = plain_client("AES128-SHA:@SECLEVEL=0", highest=SSL.TLS1_2_VERSION)
    ours, theirs = failed(plain_server(make_leaf(root)), client)
    assert ours.reason is TlsReason.NO_COMMON_CIPHER
    assert not ours.certificate
    assert theirs.reason is TlsReason.PEER_ALERT


@pytest.mark.parametrize(
    "octets",
    [b"220 mx.example.net ESMTP\r\n", b"GET / HTTP/1.1\r\n\r\n", b"454 4.7.0 TLS not available\r\n", bytes(64)],
)
def test_what_is_no_tls(octets: bytes, trust: TrustStore) -> None:
    client = SSL.Connection(Contexts().client(profile(CertificateValidation.AUDIT), trust), None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    client.bio_write(octets)
    with pytest.raises(SSL.Error) as caught:
        client.do_handshake()
    assert failure_of(caught.value, client).reason is TlsReason.NOT_TLS


def test_an_end_within_the_handshake(trust: TrustStore) -> None:
    client = SSL.Connection(Contexts().client(profile(CertificateValidation.AUDIT), trust), None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    client.bio_shutdown()
    with pytest.raises(SSL.Error) as caught:
        client.do_handshake()
    assert failure_of(caught.value, client).reason is TlsReason.CONNECTION_CLOSED


def test_errors_that_carry_no_reason() -> None:
    assert failure_of(SSL.ZeroReturnError(), None).reason is TlsReason.CONNECTION_CLOSED
    assert failure_of(SSL.SysCallError(-1, "Unexpected EOF"), None).reason is TlsReason.CONNECTION_CLOSED
    assert failure_of(SSL.Error([]), None) == TlsFailure(TlsReason.HANDSHAKE_FAILED, "Error")
    assert failure_of(ValueError("secret"), None) == TlsFailure(TlsReason.HANDSHAKE_FAILED, "ValueError")


def test_a_known_failure_comes_back() -> None:
    failure = TlsFailure(TlsReason.TIMED_OUT)
    assert failure_of(failure, None) is failure


def test_the_detail_is_printable_and_short() -> None:
    failure = failure_of(SSL.Error([("lib", "", "bad\r\nwords \u2028" * 99)]), None)
    assert failure.detail.isascii()
    assert failure.detail.isprintable()
    assert len(failure.detail) == 200


def test_a_certificate_of_no_version_has_no_names() -> None:
    der = bytearray(make_leaf(make_root()).certificate.public_bytes(Encoding.DER))
    der[der.index(b"\xa0\x03\x02\x01\x02") + 4] = 77  # OpenSSL takes it
    assert parse_peer_certificate(bytes(der)).dns_names == ()
