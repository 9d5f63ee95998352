from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, succeed

from smtpproxy.authority.create import create_authority
from smtpproxy.authority.credentials import Authority, Credential
from smtpproxy.authority.mint import LeafKeys, Mint, make_leaf_keys
from smtpproxy.authority.minting import LIFETIME, make_leaf
from smtpproxy.authority.remote import RemoteMint
from smtpproxy.authority.signing_client import SigningError
from smtpproxy.policy.certificates import Leaf, LeafKey, Signer
from tests.pki import NOW

if TYPE_CHECKING:
    from smtpproxy.authority.signing import LeafOrder

PROXY, UNTRUSTED = create_authority("Proxy", NOW), create_authority("Untrusted", NOW)
LEAF = Leaf(Signer.PROXY_AUTHORITY, LeafKey.ECDSA, None, "mx.example.net")
OTHER = Leaf(Signer.UNTRUSTED_AUTHORITY, LeafKey.RSA, None, "mx.example.net")


@pytest.fixture(scope="module")
def keys() -> LeafKeys:
    return make_leaf_keys()


def without_key(authority: Credential) -> Authority:
    return Authority(authority.certificates, authority.fingerprint)


class Office:
    """Takes orders, and carries them out when a test says so."""

    def __init__(self) -> None:
        self.orders: list[tuple[LeafOrder, Deferred[bytes]]] = []

    def sign(self, order: LeafOrder) -> Deferred[bytes]:
        answered: Deferred[bytes] = Deferred()
        self.orders.append((order, answered))
        return answered

    def carry_out(self, now: datetime = NOW, authority: Credential | None = None) -> None:
        order, answered = self.orders.pop(0)
        named = {each.fingerprint: each for each in (PROXY, UNTRUSTED)}[order.authority]
        answered.callback(make_leaf(order.facts, order.key, authority or named, now).public_bytes(Encoding.DER))

    def fail(self) -> None:
        self.orders.pop(0)[1].errback(SigningError("unavailable", "on purpose"))


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def mint(office: Office, keys: LeafKeys) -> RemoteMint:
    return RemoteMint(without_key(PROXY), without_key(UNTRUSTED), keys, office.sign)


def later(found: Credential | Deferred[Credential]) -> list[object]:
    """Return what a Deferred is going to bring, a failure too."""
    assert isinstance(found, Deferred)
    brought: list[object] = []
    found.addCallbacks(brought.append, lambda failure: brought.append(failure.value))
    return brought


def test_a_leaf_comes_later_once_and_at_once_from_then_on(mint: RemoteMint, office: Office, keys: LeafKeys) -> None:
    found = later(mint.leaf(LEAF, NOW))
    assert found == []
    office.carry_out()
    (credential,) = found
    assert isinstance(credential, Credential)
    credential.certificate.verify_directly_issued_by(PROXY.certificate)
    assert credential.key is keys.ecdsa
    assert mint.leaf(LEAF, NOW) is credential
    assert (mint.figures.size, mint.figures.hits, mint.figures.misses) == (1, 1, 1)


def test_it_is_the_leaf_that_a_mint_with_the_keys_makes(mint: RemoteMint, office: Office, keys: LeafKeys) -> None:
    local = Mint(PROXY, UNTRUSTED, keys)
    for leaf in (LEAF, OTHER):
        found = later(mint.leaf(leaf, NOW))
        office.carry_out()
        made, expected = found[0], local.leaf(leaf, NOW)
        assert isinstance(made, Credential)
        assert made.key is expected.key
        assert made.certificates[1:] == expected.certificates[1:]
        assert made.certificate.subject == expected.certificate.subject
        assert list(made.certificate.extensions) == list(expected.certificate.extensions)
        assert made.certificate.not_valid_after_utc == expected.certificate.not_valid_after_utc


def test_all_who_want_the_same_wait_for_one_order(mint: RemoteMint, office: Office) -> None:
    found = [later(mint.leaf(LEAF, NOW)) for _ in range(3)]
    other = later(mint.leaf(OTHER, NOW))
    assert len(office.orders) == 2
    office.carry_out()
    assert [len(each) for each in (*found, other)] == [1, 1, 1, 0]
    assert found[0] == found[1] == found[2]


def test_all_fail_together_and_the_next_asks_anew(mint: RemoteMint, office: Office) -> None:
    found = [later(mint.leaf(LEAF, NOW)) for _ in range(2)]
    office.fail()
    assert [type(each[0]) for each in found] == [SigningError, SigningError]
    found = [later(mint.leaf(LEAF, NOW))]
    office.carry_out()
    assert isinstance(found[0][0], Credential)


def test_half_way_through_its_life_it_serves_until_the_next_is_there(mint: RemoteMint, office: Office) -> None:
    mint.leaf(LEAF, NOW)
    office.carry_out()
    first = mint.leaf(LEAF, NOW)
    half = NOW + LIFETIME / 2
    assert mint.leaf(LEAF, half) is mint.leaf(LEAF, half) is first
    assert len(office.orders) == 1
    office.fail()
    assert mint.leaf(LEAF, half) is first
    office.carry_out(half)
    second = mint.leaf(LEAF, half)
    assert isinstance(second, Credential)
    assert second != first


def test_what_is_out_of_date_is_not_shown(mint: RemoteMint, office: Office) -> None:
    mint.leaf(LEAF, NOW)
    office.carry_out()
    found = later(mint.leaf(LEAF, NOW + LIFETIME))
    office.fail()
    assert isinstance(found[0], SigningError)


def test_what_another_authority_signed_is_not_shown(mint: RemoteMint, office: Office) -> None:
    found = later(mint.leaf(LEAF, NOW))
    office.carry_out(authority=UNTRUSTED)
    assert isinstance(found[0], SigningError)
    assert mint.figures.size == 0


def test_what_is_for_another_key_is_not_shown(keys: LeafKeys) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()

    def sign(order: LeafOrder) -> Deferred[bytes]:
        return succeed(make_leaf(order.facts, stranger, PROXY, datetime.now(UTC)).public_bytes(Encoding.DER))

    mint = RemoteMint(without_key(PROXY), without_key(UNTRUSTED), keys, sign)
    assert isinstance(later(mint.leaf(LEAF, NOW))[0], SigningError)


@pytest.mark.parametrize("octets", [b"", b"no certificate"])
def test_what_is_no_certificate_is_not_shown(keys: LeafKeys, octets: bytes) -> None:
    mint = RemoteMint(without_key(PROXY), without_key(UNTRUSTED), keys, lambda _: succeed(octets))
    assert isinstance(later(mint.leaf(LEAF, NOW))[0], SigningError)


def test_a_leaf_that_ends_soon_is_kept_until_then(office: Office, keys: LeafKeys) -> None:
    short = create_authority("Short", NOW, days=1)
    mint = RemoteMint(without_key(short), without_key(UNTRUSTED), keys, office.sign)
    mint.leaf(LEAF, NOW)
    order, answered = office.orders.pop()
    answered.callback(make_leaf(order.facts, order.key, short, NOW).public_bytes(Encoding.DER))
    assert isinstance(mint.leaf(LEAF, NOW + timedelta(hours=23)), Credential)
    assert isinstance(mint.leaf(LEAF, NOW + timedelta(hours=25)), Deferred)
