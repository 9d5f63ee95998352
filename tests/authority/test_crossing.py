from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from smtpproxy.authority.create import PROXY_PATH_LENGTH, create_authority, create_server_credential
from smtpproxy.authority.credentials import Credential, CredentialError, make_credential
from smtpproxy.authority.crossing import common_key, create_cross_certificate, crossing_problem, ended, load_cross
from tests.authority.read import read
from tests.pki import DAY, NOW, make_intermediate, make_root

if TYPE_CHECKING:
    from pathlib import Path


def authority(name: str, days: int = 1000, path_length: int = PROXY_PATH_LENGTH) -> Credential:
    return create_authority(name, NOW, days, path_length=path_length)


def saved(folder: Path, *certificates: x509.Certificate) -> Path:
    path = folder / "cross.pem"
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    return path


def verifies(trusted: Credential, leaf: Credential, *behind: x509.Certificate) -> bool:
    """Ask another verifier than OpenSSL."""
    builder = PolicyBuilder().store(Store([trusted.certificate])).time(NOW)
    try:
        builder.build_server_verifier(x509.DNSName("mx.example.net")).verify(leaf.certificate, list(behind))
    except VerificationError:
        return False
    return True


def test_a_cross_certificate_read_back() -> None:
    old, new = authority("Old", 100), authority("New")
    found = read(create_cross_certificate(new, old, NOW))
    assert (found.subject, found.issuer) == ("CN=New", "CN=Old")
    assert [flag[:2] for flag in found.flags] == [
        ("basicConstraints", True),
        ("keyUsage", True),
        ("subjectKeyIdentifier", False),
        ("authorityKeyIdentifier", False),
    ]
    assert found.flags[0][2] == "CA:TRUE, pathlen 0"
    assert found.key_identifier == read(new.certificate).key_identifier
    assert (found.not_before, found.not_after) == (NOW - timedelta(hours=1), NOW + 100 * DAY)


def test_who_trusts_either_verifies_a_leaf_of_the_new_one() -> None:
    old, new, stranger = authority("Old"), authority("New"), authority("Stranger")
    leaf = create_server_credential(["mx.example.net"], new, NOW)
    cross = create_cross_certificate(new, old, NOW)
    assert verifies(old, leaf, cross)
    assert verifies(new, leaf, cross)
    assert not verifies(old, leaf)
    assert not verifies(stranger, leaf, cross)


def test_the_new_one_can_be_told_of_nothing_that_the_old_one_may_not() -> None:
    old, new = authority("Old", path_length=0), authority("New")
    assert crossing_problem(old.certificate, new.certificate) == (
        "it may certify no other authority (its path length is 0)"
    )
    assert crossing_problem(new.certificate, authority("New").certificate) == "both have the same name"
    assert crossing_problem(authority("Old").certificate, new.certificate) is None
    assert crossing_problem(make_root().certificate, new.certificate) is None  # of no length at all
    leaf = create_server_credential(["mx.example.net"], new, NOW)
    assert not verifies(old, leaf, create_cross_certificate(new, old, NOW))


def test_a_good_one_is_loaded_with_what_certifies_it(tmp_path: Path) -> None:
    old, new = authority("Old"), authority("New")
    cross = create_cross_certificate(new, old, NOW)
    assert load_cross(saved(tmp_path, cross, old.certificate), new.certificate, NOW) == (cross, old.certificate)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("another's", "certifies another authority"),
        ("itself", "certified by itself"),
        ("a leaf", "not a CA certificate"),
        ("early", "valid only from"),
    ],
)
def test_a_bad_one_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    old, new = authority("Old"), authority("New")
    now = NOW
    if kind == "another's":
        certificate = create_cross_certificate(authority("New"), old, NOW)
    elif kind == "itself":
        certificate = new.certificate
    elif kind == "early":
        certificate, now = create_cross_certificate(new, old, NOW), NOW - DAY
    else:
        certificate = _leaf_of_the_same_key(new, old)
    path = saved(tmp_path, certificate)
    with pytest.raises(CredentialError) as refused:
        load_cross(path, new.certificate, now)
    assert refused.value.path == path
    assert message in refused.value.message


def _leaf_of_the_same_key(new: Credential, old: Credential) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(new.certificate.subject)
        .issuer_name(old.certificate.subject)
        .public_key(new.certificate.public_key())
        .serial_number(1000)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(old.key, hashes.SHA256())
    )


def test_one_that_has_ended_is_told_of() -> None:
    cross = create_cross_certificate(authority("New"), authority("Old", 10), NOW)
    assert ended([cross], NOW + 10 * DAY) is None
    found = ended([cross], NOW + 11 * DAY)
    assert found is not None
    assert found.startswith(f"has ended ({NOW + 10 * DAY:%Y-%m-%d %H:%M} UTC) and is not sent any more")


def test_what_would_have_clients_trust_the_untrusted_one() -> None:
    old, new, untrusted = authority("Old"), authority("New"), authority("Untrusted", path_length=0)
    assert common_key(new, untrusted) is None
    assert "the same key" in str(common_key(new, new))
    root = make_root()
    pairs = [make_intermediate(root, name, 0) for name in ("One", "Other")]
    one, other = (make_credential([pair.certificate, root.certificate], pair.key) for pair in pairs)
    assert "the same key" in str(common_key(one, other))  # that of the root, which clients trust
    below = make_credential([create_cross_certificate(untrusted, new, NOW)], untrusted.key)
    assert "certified by proxy_authority" in str(common_key(new, below))
    assert old.certificate != new.certificate
