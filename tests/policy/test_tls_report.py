from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address

import pytest

from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsMode, StsPolicy, Tlsa, TlsaSet
from smtpproxy.policy.mta_sts import StsProblem
from smtpproxy.policy.tls_report import (
    MAX_RECORD_OCTETS,
    Attempt,
    Detail,
    Judged,
    PolicyType,
    ResultType,
    parse_wish,
    report,
)
from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts, TlsFailure, TlsReason, TlsVersion

ADDRESS = ip_address("192.0.2.1")
DOMAIN, MX = "example.com", "mx.example.net"
NOW_S = 1.8e9
POLICY = StsPolicy("1", StsMode.ENFORCE, 86400, (MX, "*.example.org"))
LINES = ("version: STSv1", "mode: enforce", f"mx: {MX}", "mx: *.example.org", "max_age: 86400")
DER = b"a certificate"
EE = Tlsa(3, 0, 1, sha256(DER).digest())
EE_TEXT = f"3 0 1 {sha256(DER).hexdigest().upper()}"
OTHER_EE = Tlsa(3, 0, 1, bytes(32))
UNUSABLE = Tlsa(0, 0, 1, bytes(32))


@pytest.mark.parametrize(
    "text", [b"v=TLSRPTv1; rua=mailto:reports@example.com", b"v=TLSRPTv1;rua=https://r.example.com/a;", b"v=TLSRPTv1 ;"]
)
def test_a_domain_asks_by_one_record(text: bytes) -> None:
    assert parse_wish([b"v=spf1 -all", text, b"\xff"]) == text.decode()


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b"v=spf1 -all"],
        [b"v=tlsrptv1; rua=mailto:a@example.com"],
        [b"v=TLSRPTv10; rua=mailto:a@example.com"],
        [b"v=TLSRPTv1; rua=mailto:a@example.com", b"v=TLSRPTv1; rua=mailto:b@example.com"],
        [b"v=TLSRPTv1; rua=mailto:\xff@example.com"],
        [b"v=TLSRPTv1; rua=mailto:" + MAX_RECORD_OCTETS * b"a"],
    ],
)
def test_without_that_it_does_not_ask(texts: list[bytes]) -> None:
    assert parse_wish(texts) is None


def known(*records: Tlsa, sts: StsPolicy | None = None, sts_answer: Answer = Answer.ABSENT) -> Knowledge:
    tlsa = TlsaSet(Answer.FOUND if records else Answer.ABSENT, secure=True, records=records)
    host = MailHost(MX, 10, frozenset({ADDRESS}), secure=True, tlsa=tlsa, tlsa_domain=MX if records else "")
    return Knowledge(DOMAIN, Answer.FOUND, secure=True, hosts=(host,), sts=sts, sts_answer=sts_answer)


def on_tls(*names: str, chain: Chain = Chain.VALID, reason: TlsReason | None = None) -> Attempt:
    peer = PeerCertificate(DER, "", names, (), 2**31)
    facts = TlsFacts(TlsVersion.TLS1_3, "suite", peer=peer, chain=chain, reason=reason)
    return Attempt(DOMAIN, ADDRESS, facts, None)


def in_clear(reason: TlsReason = TlsReason.STARTTLS_NOT_SUPPORTED, detail: str = "") -> Attempt:
    return Attempt(DOMAIN, ADDRESS, None, TlsFailure(reason, detail))


def failed(result: ResultType, code: str | None = None, words: str = "") -> tuple[Detail, ...]:
    return (Detail(result, code, words, MX, ADDRESS),)


GOOD = on_tls(MX)
EXPIRED = on_tls(MX, chain=Chain.INVALID, reason=TlsReason.CERTIFICATE_EXPIRED)


def judged(attempt: Attempt, knowledge: Knowledge, problem: StsProblem | None = None) -> tuple[Judged, ...]:
    return report(attempt, knowledge, problem, NOW_S)


def test_a_session_without_any_policy_is_a_success_whatever_the_certificate() -> None:
    assert judged(EXPIRED, known()) == (Judged(PolicyType.NO_POLICY_FOUND, DOMAIN),)


@pytest.mark.parametrize(
    ("reason", "result", "code"),
    [
        (TlsReason.STARTTLS_NOT_SUPPORTED, ResultType.STARTTLS_NOT_SUPPORTED, None),
        (TlsReason.CERTIFICATE_HOST_MISMATCH, ResultType.CERTIFICATE_HOST_MISMATCH, None),
        (TlsReason.CERTIFICATE_EXPIRED, ResultType.CERTIFICATE_EXPIRED, None),
        (TlsReason.CERTIFICATE_NOT_TRUSTED, ResultType.CERTIFICATE_NOT_TRUSTED, None),
        (TlsReason.CERTIFICATE_REVOKED, ResultType.CERTIFICATE_NOT_TRUSTED, "certificate-revoked"),
        (TlsReason.CERTIFICATE_TOO_WEAK, ResultType.CERTIFICATE_NOT_TRUSTED, "certificate-too-weak"),
        (TlsReason.CERTIFICATE_WRONG_PURPOSE, ResultType.CERTIFICATE_NOT_TRUSTED, "certificate-wrong-purpose"),
        (TlsReason.CHAIN_TOO_LONG, ResultType.CERTIFICATE_NOT_TRUSTED, "chain-too-long"),
        (TlsReason.VALIDATION_FAILURE, ResultType.VALIDATION_FAILURE, None),
        (TlsReason.NOT_TLS, ResultType.VALIDATION_FAILURE, "not-tls"),
        (TlsReason.NO_COMMON_VERSION, ResultType.VALIDATION_FAILURE, "no-common-version"),
        (TlsReason.NO_COMMON_CIPHER, ResultType.VALIDATION_FAILURE, "no-common-cipher"),
        (TlsReason.PEER_ALERT, ResultType.VALIDATION_FAILURE, "peer-alert"),
        (TlsReason.CONNECTION_CLOSED, ResultType.VALIDATION_FAILURE, "connection-closed"),
        (TlsReason.TIMED_OUT, ResultType.VALIDATION_FAILURE, "timed-out"),
        (TlsReason.HANDSHAKE_FAILED, ResultType.VALIDATION_FAILURE, "handshake-failed"),
    ],
)
def test_each_failure_of_a_handshake_has_its_type(reason: TlsReason, result: ResultType, code: str | None) -> None:
    details = failed(result, code, "the library's words")
    expected = Judged(PolicyType.NO_POLICY_FOUND, DOMAIN, details=details, failed=True)
    assert judged(in_clear(reason, "the library's words"), known()) == (expected,)


STS_CASES = [
    (GOOD, ()),
    (on_tls("mx.other.example"), failed(ResultType.CERTIFICATE_HOST_MISMATCH)),
    (EXPIRED, failed(ResultType.CERTIFICATE_EXPIRED)),
    (
        on_tls(MX, chain=Chain.INVALID, reason=TlsReason.CERTIFICATE_NOT_TRUSTED),
        failed(ResultType.CERTIFICATE_NOT_TRUSTED),
    ),
    (on_tls(MX, chain=Chain.UNCHECKED), failed(ResultType.VALIDATION_FAILURE)),
    (in_clear(), failed(ResultType.STARTTLS_NOT_SUPPORTED)),
    (in_clear(TlsReason.PEER_ALERT, "alert 40"), failed(ResultType.VALIDATION_FAILURE, "peer-alert", "alert 40")),
]


@pytest.mark.parametrize(("attempt", "details"), STS_CASES)
def test_a_session_is_judged_by_the_policy_of_mta_sts(attempt: Attempt, details: tuple[Detail, ...]) -> None:
    expected = Judged(PolicyType.STS, DOMAIN, LINES, POLICY.mx, details, failed=bool(details))
    assert judged(attempt, known(sts=POLICY, sts_answer=Answer.FOUND)) == (expected,)


def test_a_policy_in_testing_is_reported_as_well() -> None:
    testing = replace(POLICY, mode=StsMode.TESTING)
    (found,) = judged(in_clear(), known(sts=testing, sts_answer=Answer.FOUND))
    assert (found.strings[1], found.failed) == ("mode: testing", True)


def test_a_host_that_a_policy_does_not_list_is_told() -> None:
    policy = replace(POLICY, mx=("mail.example.com",))
    (found,) = judged(GOOD, known(sts=policy, sts_answer=Answer.FOUND))
    assert found.details == failed(ResultType.VALIDATION_FAILURE, "mx-not-in-policy")


def test_the_mode_none_is_no_policy() -> None:
    (found,) = judged(GOOD, known(sts=replace(POLICY, mode=StsMode.NONE), sts_answer=Answer.FOUND))
    assert found.kind is PolicyType.NO_POLICY_FOUND


@pytest.mark.parametrize(
    ("problem", "result"),
    [
        (StsProblem.FETCH_ERROR, ResultType.STS_POLICY_FETCH_ERROR),
        (StsProblem.INVALID, ResultType.STS_POLICY_INVALID),
        (StsProblem.WEBPKI_INVALID, ResultType.STS_WEBPKI_INVALID),
    ],
)
def test_a_policy_that_cannot_be_had_is_told(problem: StsProblem, result: ResultType) -> None:
    missing = judged(GOOD, known(sts_answer=Answer.FOUND), problem)
    assert missing == (Judged(PolicyType.STS, DOMAIN, details=failed(result), failed=True),)
    kept = judged(GOOD, known(sts=POLICY, sts_answer=Answer.FOUND), problem)
    assert kept == (Judged(PolicyType.STS, DOMAIN, LINES, POLICY.mx, failed(result), failed=False),)


def test_a_session_is_judged_by_tlsa_records() -> None:
    assert judged(EXPIRED, known(EE)) == (Judged(PolicyType.TLSA, MX, (EE_TEXT,)),)
    (mismatched,) = judged(GOOD, known(OTHER_EE))
    assert (mismatched.details, mismatched.failed) == (failed(ResultType.CERTIFICATE_NOT_TRUSTED), True)
    (clear,) = judged(in_clear(TlsReason.NO_COMMON_VERSION), known(EE))
    assert clear.details == failed(ResultType.VALIDATION_FAILURE, "no-common-version")


def test_records_that_cannot_be_used_are_told() -> None:
    (on,) = judged(GOOD, known(UNUSABLE))
    assert (on.details, on.failed) == (failed(ResultType.TLSA_INVALID), True)
    (off,) = judged(in_clear(), known(UNUSABLE))
    assert off.details == failed(ResultType.TLSA_INVALID) + failed(ResultType.STARTTLS_NOT_SUPPORTED)


def test_records_that_are_bogus_are_told() -> None:
    knowledge = known()
    host = replace(knowledge.hosts[0], tlsa=TlsaSet(Answer.FAILED))
    (found,) = judged(GOOD, replace(knowledge, hosts=(host,)))
    assert (found.kind, found.details, found.failed) == (PolicyType.TLSA, failed(ResultType.DNSSEC_INVALID), True)


def test_records_that_a_rule_misses_are_told() -> None:
    (found,) = judged(replace(GOOD, demands_dane=True), known())
    assert found == Judged(PolicyType.TLSA, MX, details=failed(ResultType.DANE_REQUIRED, "absent"), failed=True)


def test_both_kinds_of_policy_are_judged() -> None:
    kinds = [each.kind for each in judged(GOOD, known(EE, sts=POLICY, sts_answer=Answer.FOUND))]
    assert kinds == [PolicyType.TLSA, PolicyType.STS]


def test_a_server_that_is_none_of_the_domains_is_no_business_of_it() -> None:
    elsewhere = replace(in_clear(), address=ip_address("192.0.2.2"))
    assert judged(elsewhere, known(EE, sts=POLICY, sts_answer=Answer.FOUND)) == ()
    assert judged(in_clear(), Knowledge(DOMAIN, Answer.FAILED)) == ()


def test_where_tls_was_not_tried_there_is_nothing_to_tell() -> None:
    assert judged(Attempt(DOMAIN, ADDRESS, None, None), known(EE)) == ()
