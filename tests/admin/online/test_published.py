from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.admin.online.published import compare, domains_of
from smtpproxy.authority.credentials import Credential, make_credential
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsMode, StsPolicy, Tlsa, TlsaSet
from tests.pki import NOW, Pair, Wanted, make_intermediate, make_leaf, make_root

MX = "mx.example.net"
HOST = MailHost(MX, 10, frozenset({ip_address("192.0.2.1")}), secure=True, tlsa_domain=MX)
KNOWN = Knowledge("example.net", Answer.FOUND, secure=True, hosts=(HOST,))


def credential(pair: Pair) -> Credential:
    return make_credential(pair.chain, pair.key)


def told(known: Knowledge, *pairs: Pair) -> list[tuple[bool, str]]:
    shown = ServerCredentials([credential(pair) for pair in pairs])
    return [(each.good, each.text) for each in compare([known], shown, NOW.timestamp())]


def publishing(*records: Tlsa, secure: bool = True) -> Knowledge:
    tlsa = TlsaSet(Answer.FOUND, secure, records)
    return replace(KNOWN, hosts=(replace(HOST, tlsa=tlsa),))


def whole(pair: Pair, usage: int, number: int = 0) -> Tlsa:
    return Tlsa(usage, 0, 1, sha256(pair.chain[number].public_bytes(Encoding.DER)).digest())


@pytest.mark.parametrize(
    ("names", "domains"),
    [
        (("mx.example.net",), ["mx.example.net", "example.net"]),
        (("*.example.net",), ["example.net"]),
        (("mx.example.net", "mx2.example.net"), ["mx.example.net", "example.net", "mx2.example.net"]),
        (("example.net",), ["example.net"]),
        (("localhost",), []),
    ],
)
def test_whom_to_ask_of(names: tuple[str, ...], domains: list[str]) -> None:
    assert domains_of([credential(make_leaf(None, Wanted(names=names)))]) == domains


def test_a_record_of_the_certificate() -> None:
    pair = make_leaf(None)
    assert told(publishing(whole(pair, 3)), pair) == [
        (True, f"{MX}: the certificate shown is the one of its TLSA records")
    ]


def test_a_record_of_the_issuer() -> None:
    pair = make_leaf(make_intermediate(make_root(), "Intermediate"))
    ((good, _),) = told(publishing(whole(pair, 2, 1)), pair)
    assert good


def test_a_record_of_another_certificate() -> None:
    ((good, text),) = told(publishing(whole(make_leaf(None), 3)), make_leaf(None))
    assert not good
    assert f"publish '_25._tcp.{MX}. IN TLSA 3 1 1 " in text


def test_the_certificate_is_the_one_that_sni_chooses() -> None:
    other, pair = make_leaf(None, Wanted(names=("other.example.org",))), make_leaf(None)
    ((good, _),) = told(publishing(whole(pair, 3)), other, pair)
    assert good


def test_a_host_that_stands_elsewhere_is_no_matter() -> None:
    assert told(publishing(whole(make_leaf(None), 3)), make_leaf(None, Wanted(names=("gw.example.net",)))) == []


def test_records_that_nobody_vouches_for() -> None:
    pair = make_leaf(None)
    ((good, text),) = told(publishing(whole(pair, 3), secure=False), pair)
    assert not good
    assert "count for nobody (insecure)" in text


def test_records_that_cannot_be_looked_up() -> None:
    known = replace(KNOWN, hosts=(replace(HOST, tlsa=TlsaSet(Answer.FAILED)),))
    assert told(known, make_leaf(None)) == [(False, f"the TLSA records of {MX} cannot be looked up")]


def policy(mode: StsMode, *mx: str) -> Knowledge:
    return replace(KNOWN, sts=StsPolicy("1", mode, 86400, mx), sts_answer=Answer.FOUND)


@pytest.mark.parametrize("pattern", [MX, "*.example.net"])
def test_a_policy_that_names_the_host(pattern: str) -> None:
    assert told(policy(StsMode.ENFORCE, pattern), make_leaf(None)) == [
        (True, f"example.net: its MTA-STS policy (enforce) names {MX}")
    ]


def test_a_policy_that_leaves_the_host_out() -> None:
    ((good, text),) = told(policy(StsMode.TESTING, "mx.old.example.net"), make_leaf(None))
    assert not good
    assert text.startswith(f"example.net: its MTA-STS policy (testing) does not name {MX}, so mail")


def test_a_policy_of_mode_none_wants_nothing() -> None:
    assert told(policy(StsMode.NONE, "mx.old.example.net"), make_leaf(None)) == []


def test_a_policy_that_cannot_be_had() -> None:
    assert told(replace(KNOWN, sts_answer=Answer.FAILED), make_leaf(None)) == [
        (False, "example.net: its MTA-STS policy cannot be had")
    ]
