"""Revocation lists: loaded with every mistake told, and looked at in handshakes of either leg."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.policy.model import CertificateValidation, TlsProfile
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts, TlsReason
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.revocation import RevocationListError, load_revocation_lists
from smtpproxy.transport.trust import TrustStore, load_trust
from smtpproxy.transport.verification import facts_of, failure_of
from tests.handshakes import plain_client, plain_server, shake
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root


def make_list(
    issuer: Pair,
    *revoked: Pair,
    end: timedelta | None = 30 * DAY,
    signer: Pair | None = None,
    extension: x509.ExtensionType | None = None,
) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - 60 * DAY)
        .next_update(NOW + (end or DAY))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    for pair in revoked:
        entry = x509.RevokedCertificateBuilder(pair.certificate.serial_number, NOW - DAY)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign((signer or issuer).key, hashes.SHA256())


class Pki:
    """A root, an intermediate, and what they issued; lists are files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = make_root()
        self.issuing = make_intermediate(self.root, "Issuing")
        (folder / "root.pem").write_bytes(self.root.pem)
        self.bare = load_trust(folder / "root.pem")

    def file(self, *lists: x509.CertificateRevocationList, encoding: Encoding = Encoding.PEM) -> Path:
        path = self.folder / "lists"
        path.write_bytes(b"".join(each.public_bytes(encoding) for each in lists))
        return path

    def trust(self, *lists: x509.CertificateRevocationList) -> TrustStore:
        loaded = load_revocation_lists(self.file(*lists), self.bare, NOW)
        return TrustStore(self.bare.authorities, "test", tuple(loaded))


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def meet(pair: Pair, trust: TrustStore, validation: CertificateValidation = CertificateValidation.AUDIT) -> TlsFacts:
    """Return what an upstream leg makes of a server."""
    profile = TlsProfile("test", certificate_validation=validation)
    outcome = shake(plain_server(pair), Contexts().client(profile, trust))
    assert outcome.done
    return facts_of(outcome.client.connection, None)


def result(facts: TlsFacts) -> tuple[Chain, TlsReason | None, Revocation]:
    return facts.chain, facts.reason, facts.revocation


GOOD = (Chain.VALID, None, Revocation.GOOD)
REVOKED = (Chain.INVALID, TlsReason.CERTIFICATE_REVOKED, Revocation.REVOKED)
UNCHECKED = (Chain.VALID, None, Revocation.UNCHECKED)


def test_a_leaf_of_a_root_with_a_list(pki: Pki) -> None:
    good, bad = make_leaf(pki.root), make_leaf(pki.root)
    trust = pki.trust(make_list(pki.root, bad))
    assert result(meet(good, trust)) == GOOD
    assert result(meet(bad, trust)) == REVOKED
    assert result(meet(bad, pki.bare)) == UNCHECKED


def test_enforce_refuses_a_revoked_leaf(pki: Pki) -> None:
    good, bad = make_leaf(pki.root), make_leaf(pki.root)
    trust = pki.trust(make_list(pki.root, bad))
    assert result(meet(good, trust, CertificateValidation.ENFORCE)) == GOOD
    profile = TlsProfile("test", certificate_validation=CertificateValidation.ENFORCE)
    outcome = shake(plain_server(bad), Contexts().client(profile, trust))
    assert outcome.client.error is not None
    failure = failure_of(outcome.client.error, outcome.client.connection)
    assert (failure.reason, failure.certificate) == (TlsReason.CERTIFICATE_REVOKED, True)


def test_off_does_not_look(pki: Pki) -> None:
    bad = make_leaf(pki.root)
    facts = meet(bad, pki.trust(make_list(pki.root, bad)), CertificateValidation.OFF)
    assert result(facts) == (Chain.UNCHECKED, None, Revocation.UNCHECKED)


def test_an_intermediate_that_is_revoked(pki: Pki) -> None:
    trust = pki.trust(make_list(pki.root, pki.issuing))
    assert result(meet(make_leaf(pki.issuing), trust)) == REVOKED


def test_an_issuer_without_a_list_is_not_missed(pki: Pki) -> None:
    """The root's list covers the intermediate; of the leaf nothing is known."""
    assert result(meet(make_leaf(pki.issuing), pki.trust(make_list(pki.root)))) == UNCHECKED
    other = make_intermediate(pki.root, "Another")
    assert result(meet(make_leaf(pki.issuing), pki.trust(make_list(other)))) == UNCHECKED


def test_a_list_of_an_issuer_that_only_the_chain_brings(pki: Pki) -> None:
    good, bad = make_leaf(pki.issuing), make_leaf(pki.issuing)
    trust = pki.trust(make_list(pki.issuing, bad), make_list(pki.root))
    assert result(meet(good, trust)) == GOOD
    assert result(meet(bad, trust)) == REVOKED


def test_a_list_that_somebody_else_signed_makes_nothing_valid(pki: Pki) -> None:
    """Its issuer is not trusted by itself, so that is found out in the handshake."""
    forged = make_list(pki.issuing, signer=make_root("Somebody"))
    facts = meet(make_leaf(pki.issuing), pki.trust(forged))
    assert (facts.chain, facts.reason) == (Chain.INVALID, TlsReason.VALIDATION_FAILURE)


def test_a_list_that_leaves_the_certificate_out_of_its_scope_is_not_enough(pki: Pki) -> None:
    point = x509.IssuingDistributionPoint(None, None, False, True, None, False, False)
    facts = meet(make_leaf(pki.root), pki.trust(make_list(pki.root, extension=point)))
    assert facts.chain is Chain.INVALID


def test_a_list_out_of_date_makes_chains_invalid_and_says_why(pki: Pki) -> None:
    facts = meet(make_leaf(pki.root), pki.trust(make_list(pki.root, end=-DAY)))
    assert result(facts) == (Chain.INVALID, TlsReason.REVOCATION_LIST_EXPIRED, Revocation.UNCHECKED)


def test_other_errors_are_found_beside_lists(pki: Pki) -> None:
    trust = pki.trust(make_list(pki.root))
    expired = make_leaf(pki.root, Wanted(not_before=NOW - 9 * DAY, not_after=NOW - DAY))
    assert meet(expired, trust).reason is TlsReason.CERTIFICATE_EXPIRED
    assert meet(make_leaf(None), trust).reason is TlsReason.CERTIFICATE_NOT_TRUSTED
    assert meet(make_leaf(make_root("Unknown")), trust).reason is TlsReason.CERTIFICATE_NOT_TRUSTED


def test_a_client_that_is_revoked(pki: Pki) -> None:
    wanted = Wanted(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    good, bad = make_leaf(pki.root, wanted), make_leaf(pki.root, wanted)
    trust, shown = pki.trust(make_list(pki.root, bad)), make_leaf(None)
    context = Contexts().server(TlsProfile("test"), shown.chain, shown.key, "shown", trust)
    for pair, expected in ((good, GOOD), (bad, REVOKED)):
        client = plain_client()
        client.use_certificate(pair.certificate)
        client.use_privatekey(pair.key)
        outcome = shake(context, client)
        assert outcome.done
        assert result(facts_of(outcome.server.connection, None)) == expected


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_both_encodings_are_read(encoding: Encoding, pki: Pki) -> None:
    (loaded,) = load_revocation_lists(pki.file(make_list(pki.root), encoding=encoding), pki.bare, NOW)
    assert loaded.issuer == pki.root.certificate.subject.public_bytes()
    assert loaded.notices == ()


def test_what_an_administrator_should_hear(pki: Pki) -> None:
    old, strange = make_list(pki.root, end=-DAY), make_list(make_root("Stranger"))
    first, second = load_revocation_lists(pki.file(old, strange), pki.bare, NOW)
    (notice,) = first.notices
    assert notice.startswith("valid only from ")
    assert "no certificate of CN=Test Root counts as valid" in notice
    (notice,) = second.notices
    assert notice.startswith("its issuer CN=Stranger is none of the trusted authorities")


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "is no revocation list in PEM or DER, or a damaged one; fetch it anew"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "is no revocation list in PEM or DER"),
    ],
)
def test_what_is_no_list(octets: bytes, message: str, pki: Pki) -> None:
    path = pki.folder / "none"
    path.write_bytes(octets)
    with pytest.raises(RevocationListError, match=message):
        load_revocation_lists(path, pki.bare, NOW)


def test_a_list_that_the_trusted_authority_did_not_sign(pki: Pki) -> None:
    forged = make_list(pki.root, signer=make_root("Forger"))
    with pytest.raises(RevocationListError, match="not signed by the trusted authority of its name, CN=Test Root"):
        load_revocation_lists(pki.file(forged), pki.bare, NOW)


def test_a_delta_is_of_no_use(pki: Pki) -> None:
    delta = make_list(pki.root, extension=x509.DeltaCRLIndicator(1))
    with pytest.raises(RevocationListError, match="a delta list"):
        load_revocation_lists(pki.file(delta), pki.bare, NOW)


def test_a_missing_file(pki: Pki) -> None:
    with pytest.raises(RevocationListError, match="cannot be read: No such file"):
        load_revocation_lists(pki.folder / "missing", pki.bare, NOW)
