from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.authority.create import create_authority, create_server_credential, general_name
from smtpproxy.authority.credentials import Credential
from tests.authority.read import Read, read
from tests.pki import DAY, NOW


@pytest.fixture(scope="module")
def authority() -> Credential:
    return create_authority("Example Proxy Authority", NOW)


def test_an_authority_read_back(authority: Credential) -> None:
    found = read(authority.certificate)
    assert found.flags == [
        ("basicConstraints", True, "CA:TRUE, pathlen 0"),
        ("keyUsage", True, "key_cert_sign, crl_sign"),
        ("subjectKeyIdentifier", False, found.key_identifier),
    ]
    assert (found.subject, found.issuer) == ("CN=Example Proxy Authority", "CN=Example Proxy Authority")
    assert (found.not_before, found.not_after) == (NOW - timedelta(hours=1), NOW + 3650 * DAY)
    authority.certificate.verify_directly_issued_by(authority.certificate)


def test_keys_are_p256_and_serial_numbers_random(authority: Credential) -> None:
    another = create_authority("Example Proxy Authority", NOW)
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    assert authority.key.curve.name == "secp256r1"
    assert authority.key.private_numbers() != another.key.private_numbers()
    assert authority.certificate.serial_number.bit_length() > 100
    assert authority.certificate.serial_number != another.certificate.serial_number


def test_a_server_certificate_read_back(authority: Credential) -> None:
    names = ["mx.example.net", "*.Example.net", "b\u00fccher.example", "192.0.2.1", "2001:db8::1"]
    credential = create_server_credential(names, authority, NOW)
    found = read(credential.certificate)
    assert found.flags == server_flags(found, authority)
    assert found.names == [
        x509.DNSName("mx.example.net"),
        x509.DNSName("*.example.net"),
        x509.DNSName("xn--bcher-kva.example"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("2001:db8::1")),
    ]
    assert found.subject == "CN=mx.example.net"
    assert (found.not_before, found.not_after) == (NOW - timedelta(hours=1), NOW + 397 * DAY)
    credential.certificate.verify_directly_issued_by(authority.certificate)


def server_flags(found: Read, authority: Credential) -> list[tuple[str, bool, str]]:
    return [
        ("basicConstraints", True, "CA:FALSE"),
        ("keyUsage", True, "digital_signature"),
        ("extendedKeyUsage", False, ExtendedKeyUsageOID.SERVER_AUTH.dotted_string),
        ("subjectKeyIdentifier", False, found.key_identifier),
        ("authorityKeyIdentifier", False, read(authority.certificate).key_identifier),
        ("subjectAltName", False, ""),
    ]


def test_a_server_certificate_does_not_outlive_its_authority() -> None:
    short = create_authority("Short", NOW, days=30)
    assert read(create_server_credential(["mx.example.net"], short, NOW).certificate).not_after == NOW + 30 * DAY


def test_a_name_too_long_for_the_subject_stands_in_the_names(authority: Credential) -> None:
    name = ".".join(["a" * 40] * 3)
    found = read(create_server_credential([name], authority, NOW).certificate)
    assert (found.subject, found.names) == ("", [x509.DNSName(name)])
    assert ("subjectAltName", True, "") in found.flags


@pytest.mark.parametrize("name", ["", "*", "a b", "mx*.example.net", "*.*.example.net", "a..b", "user@example.net"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor an IP address"):
        general_name(name)


def test_a_server_needs_a_name(authority: Credential) -> None:
    with pytest.raises(ValueError, match="needs a name"):
        create_server_credential([], authority, NOW)
