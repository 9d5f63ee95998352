from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256, sha512
from ipaddress import IPv4Address, IPv4Network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.policy.anchors import MAX_SIGNATURES
from smtpproxy.policy.dane import DaneState, DaneVerdict, judge_dane
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, Tlsa, TlsaSet
from smtpproxy.tls.facts import TlsFacts, TlsReason, TlsVersion
from smtpproxy.transport.verification import parse_peer_certificate
from tests.pki import DAY, NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

ADDRESS = IPv4Address("192.0.2.1")
NOW_S = NOW.timestamp()
MATCHED = DaneVerdict(DaneState.MATCHED, "mx.example.net")


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def mismatched(reason: TlsReason) -> DaneVerdict:
    return DaneVerdict(DaneState.MISMATCHED, "mx.example.net", reason)


def record(usage: int, selector: int, matching: int, certificate: x509.Certificate) -> Tlsa:
    selected = der(certificate)
    if selector == 1:
        selected = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    data = {0: selected, 1: sha256(selected).digest(), 2: sha512(selected).digest()}[matching]
    return Tlsa(usage, selector, matching, data)


def shown(pair: Pair, *behind: x509.Certificate) -> TlsFacts:
    """What a server shows: its certificate, and others behind it."""
    peer = replace(parse_peer_certificate(der(pair.certificate)), issuers=tuple(map(der, behind)))
    return TlsFacts(TlsVersion.TLS1_3, "TLS_AES_256_GCM_SHA384", peer=peer)


def known(*records: Tlsa, domain: str = "example.org") -> Knowledge:
    tlsa = TlsaSet(Answer.FOUND, secure=True, records=records)
    host = MailHost("mx.example.net", 10, frozenset({ADDRESS}), secure=True, tlsa=tlsa, tlsa_domain="mx.example.net")
    return Knowledge(domain, Answer.FOUND, secure=True, hosts=(host,))


def judge(knowledge: Knowledge, facts: TlsFacts | None, at_s: float = NOW_S) -> DaneVerdict:
    return judge_dane(knowledge, ADDRESS, facts, at_s)


@dataclass(frozen=True)
class House:
    """A chain: root, intermediate, leaf."""

    root: Pair
    intermediate: Pair
    leaf: Pair

    @classmethod
    def of(cls, wanted: Wanted | None = None) -> House:
        root = make_root()
        intermediate = make_intermediate(root, "Issuing CA")
        return cls(root, intermediate, make_leaf(intermediate, wanted))

    @property
    def shown(self) -> TlsFacts:
        return shown(self.leaf, self.intermediate.certificate, self.root.certificate)


HOUSE = House.of()
OTHER = House.of()

FORMS = [(selector, matching) for selector in (0, 1) for matching in (0, 1, 2)]


# DANE-EE


@pytest.mark.parametrize(("selector", "matching"), FORMS)
def test_the_servers_own_certificate_matches_in_every_form(selector: int, matching: int) -> None:
    knowledge = known(record(3, selector, matching, HOUSE.leaf.certificate))
    assert judge(knowledge, shown(HOUSE.leaf)) == MATCHED
    assert judge(knowledge, shown(OTHER.leaf)) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


def test_of_ones_own_certificate_neither_names_nor_dates_nor_issuers_count() -> None:
    stranger = make_leaf(None, Wanted(("other.test",), not_before=NOW - 20 * DAY, not_after=NOW - 10 * DAY))
    assert judge(known(record(3, 1, 1, stranger.certificate)), shown(stranger)) == MATCHED


def test_one_matching_record_is_enough_while_keys_are_rolled_over() -> None:
    knowledge = known(record(3, 1, 1, OTHER.leaf.certificate), record(3, 1, 1, HOUSE.leaf.certificate))
    assert judge(knowledge, shown(HOUSE.leaf)) == MATCHED
    assert judge(knowledge, shown(OTHER.leaf)) == MATCHED


def test_a_key_outlives_its_certificate() -> None:
    renewed = make_leaf(HOUSE.intermediate, Wanted(key=HOUSE.leaf.key))
    assert judge(known(record(3, 1, 1, HOUSE.leaf.certificate)), shown(renewed)) == MATCHED
    assert judge(known(record(3, 0, 1, HOUSE.leaf.certificate)), shown(renewed)).state is DaneState.MISMATCHED


def test_a_weaker_digest_does_not_count_beside_a_stronger_one() -> None:
    knowledge = known(record(3, 1, 1, HOUSE.leaf.certificate), record(3, 1, 2, OTHER.leaf.certificate))
    assert judge(knowledge, shown(HOUSE.leaf)).state is DaneState.MISMATCHED


def test_an_authoritys_record_of_usage_3_matches_no_server() -> None:
    knowledge = known(record(3, 1, 1, HOUSE.intermediate.certificate))
    assert judge(knowledge, HOUSE.shown) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


# DANE-TA


@pytest.mark.parametrize(("selector", "matching"), FORMS)
@pytest.mark.parametrize("anchor", [HOUSE.intermediate, HOUSE.root], ids=["issuer", "root"])
def test_an_anchor_that_the_server_sends_matches_in_every_form(anchor: Pair, selector: int, matching: int) -> None:
    knowledge = known(record(2, selector, matching, anchor.certificate))
    assert judge(knowledge, HOUSE.shown) == MATCHED
    assert judge(knowledge, OTHER.shown) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


@pytest.mark.parametrize("selector", [0, 1])
def test_an_anchor_in_the_record_need_not_be_sent(selector: int) -> None:
    knowledge = known(record(2, selector, 0, HOUSE.root.certificate))
    assert judge(knowledge, shown(HOUSE.leaf, HOUSE.intermediate.certificate)) == MATCHED


@pytest.mark.parametrize("matching", [1, 2])
def test_an_anchor_of_which_only_the_digest_is_published_must_be_sent(matching: int) -> None:
    knowledge = known(record(2, 0, matching, HOUSE.root.certificate))
    facts = shown(HOUSE.leaf, HOUSE.intermediate.certificate)
    assert judge(knowledge, facts) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


@pytest.mark.parametrize("selector", [0, 1])
def test_an_anchor_may_have_signed_the_server_itself(selector: int) -> None:
    knowledge = known(record(2, selector, 0, HOUSE.intermediate.certificate))
    assert judge(knowledge, shown(HOUSE.leaf)) == MATCHED


def test_certificates_may_come_in_any_order_and_with_strangers_among_them() -> None:
    behind = (OTHER.root.certificate, HOUSE.root.certificate, OTHER.leaf.certificate, HOUSE.intermediate.certificate)
    assert judge(known(record(2, 0, 1, HOUSE.root.certificate)), shown(HOUSE.leaf, *behind)) == MATCHED


def test_an_anchor_that_is_sent_but_signed_nothing_is_worth_nothing() -> None:
    knowledge = known(record(2, 0, 1, HOUSE.root.certificate))
    facts = shown(OTHER.leaf, OTHER.intermediate.certificate, HOUSE.root.certificate)
    assert judge(knowledge, facts) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


def test_a_same_named_authority_with_another_key_is_no_anchor() -> None:
    impostor = make_root()
    forged = make_leaf(impostor)
    facts = shown(forged, HOUSE.root.certificate)
    knowledge = known(record(2, 0, 1, HOUSE.root.certificate))
    assert judge(knowledge, facts) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


def test_the_servers_own_certificate_is_no_anchor() -> None:
    lonely = make_leaf(None)
    knowledge = known(record(2, 0, 1, lonely.certificate))
    assert judge(knowledge, shown(lonely)) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


def test_a_leaf_is_no_authority() -> None:
    false_authority = make_leaf(HOUSE.root)
    leaf = make_leaf(Pair(false_authority.certificate, false_authority.key))
    facts = shown(leaf, false_authority.certificate, HOUSE.root.certificate)
    knowledge = known(record(2, 0, 1, HOUSE.root.certificate))
    assert judge(knowledge, facts) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


def test_a_path_length_is_kept() -> None:
    short = make_intermediate(HOUSE.root, "Short CA", path_length=0)
    below = make_intermediate(short, "One Too Many")
    knowledge = known(record(2, 0, 1, HOUSE.root.certificate))
    behind = (short.certificate, HOUSE.root.certificate)
    assert judge(knowledge, shown(make_leaf(short), *behind)) == MATCHED
    facts = shown(make_leaf(below), below.certificate, *behind)
    assert judge(knowledge, facts) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


@pytest.mark.parametrize("at", [NOW - 2 * DAY, NOW + 91 * DAY])
def test_dates_count_below_an_anchor(at: object) -> None:
    at_s = NOW_S + (at - NOW).total_seconds()  # type: ignore[operator]
    knowledge = known(record(2, 0, 1, HOUSE.root.certificate))
    assert judge(knowledge, HOUSE.shown, at_s) == mismatched(TlsReason.CERTIFICATE_EXPIRED)


def test_a_stale_authority_is_passed_over_for_its_successor() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = Wanted((), "Issuing CA", key=key, purposes=(), authority=True)
    stale = make_leaf(HOUSE.root, replace(wanted, not_after=NOW - timedelta(hours=1)))
    fresh = make_leaf(HOUSE.root, wanted)
    leaf = make_leaf(fresh)
    knowledge = known(record(2, 0, 1, HOUSE.root.certificate))
    behind = (stale.certificate, HOUSE.root.certificate)
    assert judge(knowledge, shown(leaf, *behind)) == mismatched(TlsReason.CERTIFICATE_EXPIRED)
    assert judge(knowledge, shown(leaf, *behind, fresh.certificate)) == MATCHED


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("mx.example.net", True),  # the host
        ("*.example.net", True),
        ("example.org", True),  # the next hop
        ("big.provider.test", True),  # what the host is an alias of, where its records stand
        ("hosting.test", True),  # what the domain is an alias of
        ("other.test", False),
        ("mail.example.org", False),
        ("*.net", False),
    ],
)
def test_below_an_anchor_a_name_must_be_one_of_the_way_there(name: str, matches: object) -> None:
    house = House.of(Wanted((name,)))
    knowledge = known(record(2, 0, 1, house.root.certificate))
    hosts = (replace(knowledge.hosts[0], tlsa_domain="big.provider.test"),)
    verdict = judge(replace(knowledge, hosts=hosts, alias_of="hosting.test"), house.shown)
    assert verdict == (MATCHED if matches else mismatched(TlsReason.CERTIFICATE_HOST_MISMATCH))


def test_a_client_certificate_is_no_servers() -> None:
    house = House.of(Wanted(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)))
    knowledge = known(record(2, 0, 1, house.root.certificate))
    assert judge(knowledge, house.shown) == mismatched(TlsReason.VALIDATION_FAILURE)


def test_an_rsa_chain_matches_and_one_with_a_short_key_does_not() -> None:
    for bits, verdict in ((2048, MATCHED), (1024, mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED))):
        key = rsa.generate_private_key(65537, bits)
        root = make_root(wanted=Wanted((), "RSA Root", key=key, purposes=(), authority=True))
        facts = shown(make_leaf(root), root.certificate)
        assert judge(known(record(2, 0, 1, root.certificate)), facts) == verdict


def constrained(constraints: x509.NameConstraints) -> Pair:
    """An authority that is its own, and may speak for some names only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Constrained")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(constraints, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


@pytest.mark.parametrize(
    ("permitted", "excluded", "matches"),
    [
        (["example.net"], None, True),
        (["mx.example.net"], None, True),
        (None, ["other.test"], True),
        (["other.test"], None, False),
        (["ample.net"], None, False),
        (None, ["example.net"], False),
        (["example.net"], ["mx.example.net"], False),
    ],
)
def test_name_constraints_are_kept(permitted: list[str] | None, excluded: list[str] | None, matches: object) -> None:
    subtrees = [[x509.DNSName(each) for each in names] if names else None for names in (permitted, excluded)]
    root = constrained(x509.NameConstraints(*subtrees))
    facts = shown(make_leaf(root), root.certificate)
    verdict = MATCHED if matches else mismatched(TlsReason.CERTIFICATE_HOST_MISMATCH)
    assert judge(known(record(2, 0, 1, root.certificate)), facts) == verdict


def test_constraints_of_addresses_do_not_matter_and_those_not_understood_forbid() -> None:
    subject = x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "XX")]))
    for subtree, verdict in (
        (x509.IPAddress(IPv4Network("0.0.0.0/0")), MATCHED),
        (subject, mismatched(TlsReason.CERTIFICATE_HOST_MISMATCH)),
    ):
        root = constrained(x509.NameConstraints(None, [subtree]))
        facts = shown(make_leaf(root), root.certificate)
        assert judge(known(record(2, 0, 1, root.certificate)), facts) == verdict


def test_a_hostile_chain_costs_no_more_than_so_many_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Authorities of one name and one key all seem to have signed each other: there are factorially many ways."""
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = Wanted((), "Everybody", key=key, purposes=(), authority=True)
    everybody = [make_root(wanted=wanted) for _ in range(9)]
    looked_at: list[object] = []
    monkeypatch.setattr("smtpproxy.policy.anchors._verify", lambda *args: looked_at.append(args))
    facts = shown(make_leaf(everybody[0]), *(each.certificate for each in everybody))
    assert judge(known(record(2, 0, 1, HOUSE.root.certificate)), facts).state is DaneState.MISMATCHED
    assert len(looked_at) <= MAX_SIGNATURES


def test_certificates_that_cannot_be_read_are_passed_over() -> None:
    facts = HOUSE.shown
    peer = facts.peer
    assert peer is not None
    facts = replace(facts, peer=replace(peer, issuers=(b"", b"\x30\x03abc", *peer.issuers)))
    broken = Tlsa(2, 0, 0, b"no certificate"), Tlsa(2, 1, 0, b"no key"), Tlsa(3, 0, 0, b"\x30")
    assert judge(known(*broken, record(2, 0, 1, HOUSE.root.certificate)), facts) == MATCHED
    assert judge(known(*broken), facts) == mismatched(TlsReason.CERTIFICATE_NOT_TRUSTED)


# What there is to judge by


def test_records_that_smtp_cannot_use_ask_for_no_certificate() -> None:
    knowledge = known(record(0, 0, 1, HOUSE.root.certificate), record(1, 1, 1, HOUSE.leaf.certificate))
    assert judge(knowledge, HOUSE.shown) == DaneVerdict(DaneState.UNUSABLE, "mx.example.net")


def test_a_usable_record_counts_beside_unusable_ones() -> None:
    knowledge = known(record(1, 1, 1, HOUSE.leaf.certificate), record(3, 1, 1, OTHER.leaf.certificate))
    assert judge(knowledge, HOUSE.shown).state is DaneState.MISMATCHED


def test_a_leg_in_clear_and_a_peer_without_certificate_match_nothing() -> None:
    knowledge = known(record(3, 1, 1, HOUSE.leaf.certificate))
    assert judge(knowledge, None) == mismatched(TlsReason.STARTTLS_NOT_SUPPORTED)
    anonymous = TlsFacts(TlsVersion.TLS1_2, "ADH-AES256-SHA")
    assert judge(knowledge, anonymous) == mismatched(TlsReason.VALIDATION_FAILURE)


GOOD = known(record(3, 1, 1, HOUSE.leaf.certificate))
HOST = GOOD.hosts[0]


@pytest.mark.parametrize(
    ("knowledge", "verdict"),
    [
        (replace(GOOD, answer=Answer.FAILED, hosts=()), DaneVerdict(DaneState.FAILED)),
        (replace(GOOD, answer=Answer.ABSENT, hosts=()), DaneVerdict(DaneState.NO_HOST)),
        (replace(GOOD, secure=False), DaneVerdict(DaneState.INSECURE, HOST.name)),
        (replace(GOOD, secure=False, hosts=()), DaneVerdict(DaneState.INSECURE)),
        (replace(GOOD, hosts=(replace(HOST, secure=False),)), DaneVerdict(DaneState.INSECURE, HOST.name)),
        (replace(GOOD, hosts=(replace(HOST, tlsa=TlsaSet(Answer.ABSENT)),)), DaneVerdict(DaneState.ABSENT, HOST.name)),
        (replace(GOOD, hosts=(replace(HOST, tlsa=TlsaSet(Answer.FAILED)),)), DaneVerdict(DaneState.FAILED, HOST.name)),
        (
            replace(GOOD, hosts=(replace(HOST, tlsa=replace(HOST.tlsa, secure=False)),)),
            DaneVerdict(DaneState.INSECURE, HOST.name),
        ),
        (
            replace(GOOD, hosts=(replace(HOST, addresses=frozenset({IPv4Address("192.0.2.9")})),)),
            DaneVerdict(DaneState.NO_HOST),
        ),
        (
            replace(GOOD, hosts=(MailHost("mx2.example.net", 5, frozenset(), tlsa=TlsaSet(Answer.FAILED)),)),
            DaneVerdict(DaneState.FAILED),  # it may be the one that was dialled
        ),
    ],
)
def test_nothing_is_matched_where_it_may_not_be(knowledge: Knowledge, verdict: DaneVerdict) -> None:
    assert judge(knowledge, shown(HOUSE.leaf)) == verdict


def test_of_two_hosts_at_one_address_the_preferred_one_is_judged_by() -> None:
    second = replace(HOST, name="backup.example.net", preference=20, tlsa=TlsaSet(Answer.ABSENT))
    assert judge(replace(GOOD, hosts=(second, HOST)), shown(HOUSE.leaf)) == MATCHED
