from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.peers.ocsp import LEAST_S, MOST_S, UNKNOWN_S, Finding, Subject, read_answer, subject_of
from smtpproxy.tls.facts import Revocation
from tests.peers.chains import der_of
from tests.peers.responder import HOUR, MUST_STAPLE, SIGNER, Says, answer, asking, refusal
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

URL = "http://ocsp.example.net/ask"


@pytest.fixture(scope="module")
def root() -> Pair:
    return make_root()


@pytest.fixture(scope="module")
def issuer(root: Pair) -> Pair:
    return make_intermediate(root, "Issuer")


@pytest.fixture(scope="module")
def leaf(issuer: Pair) -> Pair:
    return make_leaf(issuer, Wanted(extensions=(asking(URL),)))


def subject(leaf: Pair, issuer: Pair) -> Subject:
    found = subject_of(*der_of(leaf.certificate, issuer.certificate))
    assert found is not None
    return found


def read(leaf: Pair, issuer: Pair, octets: bytes) -> Finding:
    return read_answer(octets, subject(leaf, issuer), NOW.timestamp())


def found(leaf: Pair, issuer: Pair, says: Says) -> Revocation:
    return read(leaf, issuer, answer(leaf, issuer, says)).revocation


@pytest.mark.parametrize(
    ("status", "revocation"),
    [
        (ocsp.OCSPCertStatus.GOOD, Revocation.GOOD),
        (ocsp.OCSPCertStatus.REVOKED, Revocation.REVOKED),
        (ocsp.OCSPCertStatus.UNKNOWN, Revocation.UNKNOWN),
    ],
)
def test_what_the_issuer_says_is_believed(
    leaf: Pair, issuer: Pair, status: ocsp.OCSPCertStatus, revocation: Revocation
) -> None:
    assert found(leaf, issuer, Says(status)) is revocation
    assert found(leaf, issuer, Says(status, digest=hashes.SHA256())) is revocation


def test_what_one_says_whom_it_has_appointed_is_believed(leaf: Pair, issuer: Pair) -> None:
    assert found(leaf, issuer, Says(signer=make_leaf(issuer, SIGNER))) is Revocation.GOOD


def signers(root: Pair, issuer: Pair) -> dict[str, Pair]:
    stranger = make_root("Issuer")
    return {
        "a stranger": stranger,
        "one whom a stranger has appointed": make_leaf(stranger, SIGNER),
        "one whom the issuer's issuer has appointed": make_leaf(root, SIGNER),
        "a server of the issuer's": make_leaf(issuer),
        "one without a purpose": make_leaf(issuer, replace(SIGNER, purposes=())),
        "one for anything": make_leaf(issuer, replace(SIGNER, purposes=(x509.ObjectIdentifier("2.5.29.37.0"),))),
        "one whose time is over": make_leaf(issuer, replace(SIGNER, not_before=NOW - 9 * DAY, not_after=NOW - DAY)),
        "one whose time is to come": make_leaf(issuer, replace(SIGNER, not_before=NOW + DAY)),
        "one who revokes itself": make_leaf(make_leaf(issuer, SIGNER), SIGNER),
    }


def test_what_anybody_else_says_is_not(root: Pair, leaf: Pair, issuer: Pair) -> None:
    for who, signer in signers(root, issuer).items():
        assert found(leaf, issuer, Says(signer=signer)) is Revocation.UNKNOWN, who


def test_a_wrong_key_under_the_issuers_name_signs_nothing(leaf: Pair, issuer: Pair) -> None:
    by_name = Says(encoding=ocsp.OCSPResponderEncoding.NAME)
    assert found(leaf, issuer, by_name) is Revocation.GOOD
    assert found(leaf, issuer, replace(by_name, signer=make_root("Issuer"))) is Revocation.UNKNOWN


def test_an_answer_is_about_one_certificate_of_one_issuer(leaf: Pair, issuer: Pair) -> None:
    other, namesake = make_leaf(issuer), make_root("Issuer")
    assert read(leaf, issuer, answer(other, issuer, Says())).revocation is Revocation.UNKNOWN
    assert read(leaf, issuer, answer(leaf, namesake, Says(signer=issuer))).revocation is Revocation.UNKNOWN


@pytest.mark.parametrize(
    ("since", "until", "revocation"),
    [
        (NOW - DAY, NOW - HOUR, Revocation.UNKNOWN),
        (NOW + HOUR, NOW + DAY, Revocation.UNKNOWN),
        (NOW - 2 * DAY, None, Revocation.UNKNOWN),
        (NOW - HOUR, None, Revocation.GOOD),
        (NOW - DAY, NOW - HOUR / 30, Revocation.GOOD),
        (NOW + HOUR / 30, NOW + DAY, Revocation.GOOD),
    ],
    ids=["stale", "of the future", "old without an end", "fresh without an end", "clocks differ", "clocks differ more"],
)
def test_an_answer_has_its_time(leaf: Pair, issuer: Pair, since: object, until: object, revocation: Revocation) -> None:
    assert found(leaf, issuer, Says(since=since, until=until)) is revocation  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("says", "lasts_s"),
    [
        (Says(until=NOW + 2 * HOUR), 7200),
        (Says(until=NOW + HOUR / 60), LEAST_S),
        (Says(until=None), LEAST_S),
        (Says(until=NOW + 30 * DAY), MOST_S),
        (Says(ocsp.OCSPCertStatus.REVOKED, until=NOW + 30 * DAY), MOST_S),
        (Says(ocsp.OCSPCertStatus.UNKNOWN, until=NOW + 30 * DAY), UNKNOWN_S),
    ],
)
def test_it_is_kept_until_the_next_within_bounds(leaf: Pair, issuer: Pair, says: Says, lasts_s: float) -> None:
    assert read(leaf, issuer, answer(leaf, issuer, says)).lasts_s == lasts_s


def test_what_is_no_answer_says_nothing(leaf: Pair, issuer: Pair) -> None:
    good = answer(leaf, issuer, Says())
    for octets in (b"", b"no answer", refusal(), good[:-1], good.replace(b"\x80\x00", b"\x81\x00", 1)):
        assert read(leaf, issuer, octets).revocation is Revocation.UNKNOWN


def test_rsa_signs_as_well(root: Pair) -> None:
    key = rsa.generate_private_key(65537, 2048)
    issuer = make_leaf(root, Wanted(names=(), common_name="RSA", purposes=(), authority=True, key=key))
    assert found(make_leaf(issuer), issuer, Says()) is Revocation.GOOD


def test_what_a_certificate_says_of_its_responder(issuer: Pair) -> None:
    def of(*extensions: x509.ExtensionType) -> Subject:
        return subject(make_leaf(issuer, Wanted(extensions=extensions)), issuer)

    assert of(asking(URL)).responder == URL
    assert of(asking("ldap://ocsp.example.net/")).responder is None
    assert of(asking("https://ocsp.example.net/")).responder is None
    assert of(asking("http://ocsp.example.net/" + "a" * 1024)).responder is None
    assert of().responder is None
    assert not of().must_staple
    assert of(MUST_STAPLE).must_staple
    assert not of(x509.TLSFeature([x509.TLSFeatureType.status_request_v2])).must_staple


def test_the_question_names_the_certificate(leaf: Pair, issuer: Pair) -> None:
    asked = ocsp.load_der_ocsp_request(subject(leaf, issuer).question)
    assert asked.serial_number == leaf.certificate.serial_number
    assert len(asked.extensions) == 0


def test_about_what_cannot_be_read_nobody_is_asked(leaf: Pair, issuer: Pair) -> None:
    good, above = der_of(leaf.certificate, issuer.certificate)
    assert subject_of(b"nothing", above) is None
    assert subject_of(good, b"nothing") is None


def test_the_purpose_is_the_one_of_rfc_6960() -> None:
    assert ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string == "1.3.6.1.5.5.7.3.9"
