from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsMode, StsPolicy
from smtpproxy.policy.mta_sts import (
    MAX_AGE_S,
    MAX_POLICY_OCTETS,
    MalformedPolicy,
    StsState,
    StsVerdict,
    judge_sts,
    parse_policy,
    parse_record,
)
from smtpproxy.tls.facts import Chain, PeerCertificate, Revocation, TlsFacts, TlsReason, TlsVersion

ADDRESS = IPv4Address("192.0.2.1")
OTHER_ADDRESS = IPv4Address("192.0.2.2")
GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"
POLICY = StsPolicy("1", StsMode.ENFORCE, 604800, ("mail.example.com", "*.example.net"))


@pytest.mark.parametrize(
    ("texts", "policy_id"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=a"], "a"),
        ([b"v=STSv1 ; id=a ; "], "a"),
        ([b"v=STSv1; id=a; id=b"], "a"),
        ([b"v=STSv1; colour=red; id=a"], "a"),
        ([b"v=STSv1; id=2024-01-01_1"], "2024-01-01_1"),
        ([b"v=spf1 -all", b"v=STSv1; id=a", b"\xff\x00"], "a"),
    ],
)
def test_a_record_names_the_id_of_its_policy(texts: list[bytes], policy_id: str) -> None:
    assert parse_record(texts) == policy_id


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b"v=spf1 -all"],
        [b"v=STSv1"],
        [b"v=STSv1;"],
        [b"v=STSv1; id="],
        [b"v=STSv1; id=a b"],
        [b"v=STSv1; id=\xc3\xa4"],
        [b"v=STSv1; id=" + 65 * b"1"],
        [b"v=stsv1; id=a"],
        [b"v=STSv10; id=a"],
        [b"id=a; v=STSv1;"],
        [b"v=STSv1; id=a", b"v=STSv1; id=a"],
    ],
)
def test_other_records_promise_no_policy(texts: list[bytes]) -> None:
    assert parse_record(texts) is None


def test_a_policy_is_read_as_it_was_written() -> None:
    assert parse_policy(GOOD, "1") == POLICY


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOOD.replace(b"\r\n", b"\n"), id="line feeds alone"),
        pytest.param(GOOD.removesuffix(b"\r\n"), id="no last line's end"),
        pytest.param(GOOD.replace(b"\r\n", b" \t\r\n"), id="spaces behind values"),
        pytest.param(GOOD.replace(b": ", b":"), id="no spaces before values"),
        pytest.param(GOOD.replace(b": ", b" :   "), id="spaces behind keys"),
        pytest.param(b"  " + GOOD.replace(b"\r\n", b"\r\n  "), id="indented"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="byte order mark"),
        pytest.param(b"\r\n\r\n" + GOOD.replace(b"\r\n", b"\r\n\r\n"), id="blank lines"),
        pytest.param(GOOD + b"colour: red\r\nurl: https://example.com/\r\n", id="unknown keys"),
        pytest.param(b"# ours\r\n" + GOOD + b"that is all\r\n\xff\r\n", id="lines that are no field"),
        pytest.param(GOOD + b"mode: none\r\nmax_age: 1\r\nversion: STSv2\r\n", id="the first of doubles counts"),
        pytest.param(GOOD.replace(b"enforce", b"Enforce").replace(b"STSv1", b"stsv1"), id="words in another case"),
        pytest.param(GOOD.replace(b"mode", b"Mode").replace(b"max_age", b"MAX_AGE"), id="keys in another case"),
        pytest.param(GOOD.replace(b".com", b".COM.").replace(b".net", b".Net."), id="the root's dot"),
        pytest.param(GOOD + b"mx: mail.example.com\r\n", id="the same host twice"),
        pytest.param(GOOD + b"mx: .example.org\r\nmx: *\r\nmx: a.*.example.org\r\nmx:\r\n", id="what matches nothing"),
    ],
)
def test_what_domains_get_wrong_is_borne(body: bytes) -> None:
    assert parse_policy(body, "1") == POLICY


def test_hosts_may_be_written_in_u_labels() -> None:
    body = "version: STSv1\nmode: enforce\nmax_age: 1\nmx: mail.bücher.example\nmx: *.bücher.example\n"
    assert parse_policy(body.encode(), "1").mx == ("mail.xn--bcher-kva.example", "*.xn--bcher-kva.example")


@pytest.mark.parametrize(("written", "read"), [(b"0", 0), (b"31557600", MAX_AGE_S), (b"9" * 5000, MAX_AGE_S)])
def test_a_lifetime_ends_at_the_highest_one(written: bytes, read: int) -> None:
    assert parse_policy(GOOD.replace(b"604800", written), "1").max_age_s == read


def test_the_mode_none_needs_no_host() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 86400", "1") == StsPolicy("1", StsMode.NONE, 86400, ())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "version"),
        (b"<!doctype html><html><body style='mode: enforce'>", "version"),
        (GOOD.replace(b"STSv1", b"STSv2"), "version"),
        (GOOD.replace(b"enforce", b"report"), "mode"),
        (GOOD.replace(b"mode: enforce\r\n", b""), "mode"),
        (GOOD.replace(b"max_age: 604800\r\n", b""), "max-age"),
        (GOOD.replace(b"604800", b"-1"), "max-age"),
        (GOOD.replace(b"604800", b"1_000"), "max-age"),
        (GOOD.replace(b"604800", "\u0661".encode()), "max-age"),
        (GOOD.replace(b"mx:", b"host:"), "mx"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *\n", "mx"),
        (GOOD + b"".join(b"mx: mx%d.example.com\n" % number for number in range(100)), "mx"),
        (GOOD + (MAX_POLICY_OCTETS - len(GOOD) + 1) * b" ", "too-long"),
    ],
)
def test_what_is_no_policy_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedPolicy) as refused:
        parse_policy(body, "1")
    assert refused.value.reason == reason


def host(name: str, address: IPv4Address = ADDRESS, preference: int = 10) -> MailHost:
    return MailHost(name, preference, frozenset({address}))


def known(*hosts: MailHost, mode: StsMode = StsMode.ENFORCE, answer: Answer = Answer.FOUND) -> Knowledge:
    policy = StsPolicy("1", mode, 604800, ("mail.example.com", "*.example.net"))
    return Knowledge("example.com", answer, hosts=hosts, sts=policy, sts_answer=Answer.FOUND)


def shown(*names: str, chain: Chain = Chain.VALID, reason: TlsReason | None = None) -> TlsFacts:
    peer = PeerCertificate(b"", "", names, (), 0)
    return TlsFacts(TlsVersion.TLS1_3, "TLS_AES_256_GCM_SHA384", peer=peer, chain=chain, reason=reason)


MAIL = host("mail.example.com")


@pytest.mark.parametrize(
    ("name", "certificate"),
    [
        ("mail.example.com", "mail.example.com"),
        ("mail.example.com", "*.example.com"),
        ("mx1.example.net", "mx1.example.net"),
        ("mx1.example.net", "*.example.net"),
    ],
)
def test_a_listed_host_with_its_certificate_holds(name: str, certificate: str) -> None:
    assert judge_sts(known(host(name)), ADDRESS, shown("other.example", certificate)) == StsVerdict(StsState.HELD, name)


@pytest.mark.parametrize("name", ["example.net", "a.b.example.net", "mx.example.org", "smtp.example.com"])
def test_a_host_that_the_policy_does_not_list_breaks_it(name: str) -> None:
    verdict = judge_sts(known(host(name)), ADDRESS, shown(name))
    assert verdict == StsVerdict(StsState.BROKEN, name, TlsReason.VALIDATION_FAILURE)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (None, TlsReason.STARTTLS_NOT_SUPPORTED),
        (shown("example.com", "*.mail.example.com"), TlsReason.CERTIFICATE_HOST_MISMATCH),
        (shown(), TlsReason.CERTIFICATE_HOST_MISMATCH),
        (
            shown("mail.example.com", chain=Chain.INVALID, reason=TlsReason.CERTIFICATE_EXPIRED),
            TlsReason.CERTIFICATE_EXPIRED,
        ),
        (shown("mail.example.com", chain=Chain.UNCHECKED), TlsReason.VALIDATION_FAILURE),
        (TlsFacts(TlsVersion.TLS1_3, "", peer=None, chain=Chain.ABSENT), TlsReason.VALIDATION_FAILURE),
    ],
)
def test_a_listed_host_needs_a_valid_certificate_with_its_name(facts: TlsFacts | None, reason: TlsReason) -> None:
    assert judge_sts(known(MAIL), ADDRESS, facts) == StsVerdict(StsState.BROKEN, "mail.example.com", reason)


def test_a_revoked_certificate_breaks_a_policy() -> None:
    facts = TlsFacts(
        TlsVersion.TLS1_3,
        "",
        peer=shown("mail.example.com").peer,
        chain=Chain.VALID,
        revocation=Revocation.REVOKED,
    )
    assert judge_sts(known(MAIL), ADDRESS, facts).reason is TlsReason.CERTIFICATE_REVOKED


def test_of_several_names_of_an_address_one_has_to_hold() -> None:
    knowledge = known(host("mx.example.org", preference=1), host("mx1.example.net", preference=5), MAIL)
    assert judge_sts(knowledge, ADDRESS, shown("mail.example.com")) == StsVerdict(StsState.HELD, "mail.example.com")


def test_of_several_names_of_an_address_the_listed_one_gives_the_reason() -> None:
    knowledge = known(host("mx.example.org", preference=1), MAIL)
    verdict = judge_sts(knowledge, ADDRESS, shown("mx.example.org"))
    assert verdict == StsVerdict(StsState.BROKEN, "mail.example.com", TlsReason.CERTIFICATE_HOST_MISMATCH)


def test_at_an_address_of_a_host_only_that_host_counts() -> None:
    knowledge = known(host("mx.example.org"), host("mail.example.com", OTHER_ADDRESS))
    assert judge_sts(knowledge, ADDRESS, shown("mail.example.com")).state is StsState.BROKEN


def test_at_an_address_of_no_host_any_listed_one_will_do() -> None:
    knowledge = known(host("mail.example.com", OTHER_ADDRESS))
    assert judge_sts(knowledge, ADDRESS, shown("mail.example.com")).state is StsState.HELD
    assert judge_sts(knowledge, ADDRESS, shown("mx1.example.net")).state is StsState.BROKEN


def test_a_domain_without_hosts_breaks_its_policy() -> None:
    verdict = judge_sts(known(answer=Answer.ABSENT), ADDRESS, shown("mail.example.com"))
    assert verdict == StsVerdict(StsState.BROKEN, None, TlsReason.VALIDATION_FAILURE)


def test_hosts_that_nobody_knows_are_no_answer() -> None:
    assert judge_sts(known(answer=Answer.FAILED), ADDRESS, shown("mail.example.com")).state is StsState.FAILED


def test_a_policy_in_testing_is_told_apart() -> None:
    knowledge = known(MAIL, mode=StsMode.TESTING)
    assert judge_sts(knowledge, ADDRESS, shown("mail.example.com")).state is StsState.TESTING_HELD
    broken = StsVerdict(StsState.TESTING_BROKEN, "mail.example.com", TlsReason.STARTTLS_NOT_SUPPORTED)
    assert judge_sts(knowledge, ADDRESS, None) == broken


def test_a_policy_in_testing_never_makes_mail_wait() -> None:
    knowledge = known(mode=StsMode.TESTING, answer=Answer.FAILED)
    assert judge_sts(knowledge, ADDRESS, None) == StsVerdict(StsState.TESTING_BROKEN)


def test_the_mode_none_is_no_policy() -> None:
    assert judge_sts(known(MAIL, mode=StsMode.NONE), ADDRESS, None) == StsVerdict(StsState.ABSENT)


@pytest.mark.parametrize(
    ("answer", "state"),
    [(Answer.ABSENT, StsState.ABSENT), (Answer.FOUND, StsState.UNFETCHED), (Answer.FAILED, StsState.FAILED)],
)
def test_without_a_policy_the_answer_counts(answer: Answer, state: StsState) -> None:
    knowledge = Knowledge("example.com", Answer.FOUND, hosts=(MAIL,), sts_answer=answer)
    assert judge_sts(knowledge, ADDRESS, None) == StsVerdict(state)
