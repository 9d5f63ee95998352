from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.authority.create import create_authority
from smtpproxy.authority.credentials import Credential, PublicKey
from smtpproxy.authority.minting import LeafFacts
from smtpproxy.authority.signing import (
    EARLIER_SETS,
    MAX_REQUEST_OCTETS,
    REFUSED,
    SIGN,
    SIGNED,
    LeafOrder,
    RequestError,
    Signing,
    parse_order,
)
from smtpproxy.frames import FrameReader
from tests.pki import NOW

KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
AUTHORITY = create_authority("Authority", NOW)
NAMES = (x509.DNSName("mx.example.net"), x509.IPAddress(ip_address("192.0.2.1")), x509.DNSName("*.example.net"))


def octets_of(key: PublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def order(authority: Credential = AUTHORITY, *, ends: datetime | None = None) -> LeafOrder:
    return LeafOrder(authority.fingerprint, KEY, LeafFacts("mx.example.net", NAMES, ends))


def unpacked(frame: bytes) -> list[bytes]:
    (fields,) = FrameReader(MAX_REQUEST_OCTETS).feed(frame)
    return fields


def ask(signing: Signing, wanted: LeafOrder) -> list[bytes]:
    return unpacked(signing.answer(unpacked(wanted.to_wire()), NOW))


def signing_with(*authorities: Credential) -> Signing:
    made = Signing()
    made.prepare(authorities)
    return made


def test_a_leaf_is_signed_as_it_was_ordered() -> None:
    kind, octets = ask(signing_with(AUTHORITY), order())
    leaf = x509.load_der_x509_certificate(octets)
    assert kind == SIGNED
    leaf.verify_directly_issued_by(AUTHORITY.certificate)
    assert leaf.public_key() == KEY
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names) == NAMES
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=7, seconds=-1)


def test_a_leaf_ends_with_what_it_stands_for() -> None:
    ends = NOW + timedelta(hours=5)
    _, octets = ask(signing_with(AUTHORITY), order(ends=ends))
    assert x509.load_der_x509_certificate(octets).not_valid_after_utc == ends


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
host_names = st.lists(labels, min_size=1, max_size=4).map(".".join)
general_names = st.one_of(
    host_names.map(x509.DNSName),
    host_names.map(lambda name: x509.DNSName("*." + name)),
    st.ip_addresses().map(x509.IPAddress),
)


@given(st.text(max_size=70), st.lists(general_names, max_size=20), st.none() | st.integers(0, 2**32))
def test_what_is_ordered_is_what_is_read(common_name: str, names: list[x509.GeneralName], ends_s: int | None) -> None:
    ends = None if ends_s is None else datetime.fromtimestamp(ends_s, UTC)
    wanted = LeafOrder("ab" * 32, KEY, LeafFacts(common_name, tuple(names), ends))
    assert parse_order(unpacked(wanted.to_wire())) == wanted


SPKI = octets_of(KEY)
FINGERPRINT = AUTHORITY.fingerprint.encode()


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"sing", FINGERPRINT, SPKI, b"", b"", b"dns:a.test"],
        [SIGN, FINGERPRINT, SPKI, b""],
        [SIGN, FINGERPRINT, b"no key", b"", b""],
        [SIGN, FINGERPRINT, octets_of(ed25519.Ed25519PrivateKey.generate().public_key()), b"", b""],
        [SIGN, FINGERPRINT, octets_of(rsa.generate_private_key(65537, 1024).public_key()), b"", b""],  # noqa: S505
        [SIGN, FINGERPRINT, octets_of(ec.generate_private_key(ec.SECP256K1()).public_key()), b"", b""],
        [SIGN, FINGERPRINT, SPKI, b"soon", b""],
        [SIGN, FINGERPRINT, SPKI, b"9" * 40, b""],
        [SIGN, FINGERPRINT, SPKI, b"", b"\xff"],
        [SIGN, FINGERPRINT, SPKI, b"", b"", b"mx.example.net"],
        [SIGN, FINGERPRINT, SPKI, b"", b"", b"uri:http://a.test/"],
        [SIGN, FINGERPRINT, SPKI, b"", b"", "dns:müller.test".encode()],
        [SIGN, FINGERPRINT, SPKI, b"", b"", b"ip:192.0.2"],
        [SIGN, b"\xff", SPKI, b"", b""],
    ],
)
def test_nothing_else_is_signed(fields: list[bytes]) -> None:
    with pytest.raises(RequestError):
        parse_order(fields)
    assert unpacked(signing_with(AUTHORITY).answer(fields, NOW))[0] == REFUSED


def test_a_leaf_of_no_life_is_refused() -> None:
    assert ask(signing_with(AUTHORITY), order(ends=NOW - timedelta(days=1)))[0] == REFUSED


def test_an_authority_is_asked_for_from_its_preparation_until_it_is_forgotten() -> None:
    first, second = create_authority("First", NOW), create_authority("Second", NOW)
    signing = Signing()
    assert ask(signing, order(first))[0] == REFUSED
    signing.prepare([first])
    assert ask(signing, order(first))[0] == SIGNED
    signing.adopt()
    signing.prepare([second])
    assert [ask(signing, order(each))[0] for each in (first, second)] == [SIGNED, SIGNED]
    signing.discard()
    assert [ask(signing, order(each))[0] for each in (first, second)] == [SIGNED, REFUSED]


def test_so_many_are_kept_as_there_may_be_generations() -> None:
    signing, first = signing_with(AUTHORITY), AUTHORITY
    signing.adopt()
    for _ in range(EARLIER_SETS):
        signing.prepare([create_authority("Later", NOW)])
        signing.adopt()
        assert ask(signing, order(first))[0] == SIGNED
    signing.prepare([create_authority("Last", NOW)])
    signing.adopt()
    assert ask(signing, order(first))[0] == REFUSED


def test_an_adoption_of_nothing_forgets_nothing() -> None:
    signing = signing_with(AUTHORITY)
    for _ in range(EARLIER_SETS + 2):
        signing.adopt()
    assert ask(signing, order())[0] == SIGNED
