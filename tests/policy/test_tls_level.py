from __future__ import annotations

import pytest

from smtpproxy.policy.message_edits import AddHeader, SetEncryption
from smtpproxy.policy.messages import (
    Condition,
    Final,
    MessageFacts,
    MessageRule,
    Need,
    SizeCondition,
    can_raise,
    judge_message,
    levels_in_reach,
    need_of,
)
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.policy.tls_level import Finding, TlsLevel, TlsLevelHeader, read_tls_level
from smtpproxy.smtp.headers import Headers

HONOUR = TlsLevelHeader(honour=True)
REQUIRED, PREFERRED = RecipientEncryption.REQUIRED, RecipientEncryption.PREFERRED


def read(*values: bytes, header: TlsLevelHeader = HONOUR) -> TlsLevel:
    return read_tls_level(header, block(*values))


def block(*values: bytes) -> Headers:
    return Headers(b"".join(b"x-TLSLevel:" + value + b"\r\n" for value in values) + b"To: a\r\n")


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (b" Require", REQUIRED),
        (b"require", REQUIRED),
        (b"\tREQUIRE  ", REQUIRED),
        (b"\r\n Require", REQUIRED),
        (b" Require (the bank (or \\) so) wants it)", REQUIRED),
        (b" (a comment) Try(another)", PREFERRED),
        (b" tRY", PREFERRED),
    ],
)
def test_what_is_asked_for(value: bytes, level: RecipientEncryption) -> None:
    found = read(value)
    assert (found.level, found.findings) == (level, ())
    assert found.headers.to_wire() == b"To: a\r\n"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" Required",
        b" Try Require",
        b" Try (and so on",
        b" T(r)ry",
        b" Try)",
        b' "Try"',
        b" =?utf-8?q?Try?=",
        b" Try \xff",
        b" Try (" + b"x" * 200 + b")",
        b" " + b"(" * 100 + b")" * 99 + b" Try",
    ],
)
def test_what_cannot_be_read_asks_for_all(value: bytes) -> None:
    found = read(value)
    assert (found.level, found.findings) == (REQUIRED, (Finding.UNREADABLE,))


def test_no_field_asks_for_nothing() -> None:
    headers = block()
    assert read_tls_level(HONOUR, headers) == TlsLevel(headers)


def test_the_first_counts_and_more_are_told() -> None:
    assert read(b"Try", b"Require").level is PREFERRED
    found = read(b"Require", b"Try", b"nonsense")
    assert (found.level, found.findings) == (REQUIRED, (Finding.REPEATED,))
    assert found.headers.to_wire() == b"To: a\r\n"
    assert read(b"maybe", b"Try").findings == (Finding.REPEATED, Finding.UNREADABLE)


def test_a_field_that_was_added_is_the_first() -> None:
    headers = block(b"Try").added(b"X-TLSLEVEL", b"Require")
    assert read_tls_level(HONOUR, headers).level is REQUIRED


def test_where_it_is_not_honoured_it_is_a_field_as_any_other() -> None:
    headers = block(b"Require", b"nonsense")
    assert read_tls_level(TlsLevelHeader(strip=True), headers) == TlsLevel(headers)


def test_it_may_go_on_upstream() -> None:
    headers = block(b"Require")
    assert read_tls_level(TlsLevelHeader(honour=True, strip=False), headers) == TlsLevel(headers, REQUIRED)


# What message rules ask for


def test_rules_ask_for_all_that_any_of_them_sets() -> None:
    rules = (
        MessageRule("a", then=(SetEncryption(REQUIRED),)),
        MessageRule("b", Condition(size=SizeCondition(over=10**6)), (SetEncryption(RecipientEncryption.DANE),)),
        MessageRule("c", then=(SetEncryption(RecipientEncryption.VERIFIED), AddHeader(b"X", b"1"))),
    )
    decision = judge_message(rules, MessageFacts(block(), 100))
    assert decision.levels == {REQUIRED, RecipientEncryption.VERIFIED}
    assert decision.headers.values(b"X") == [b"1"]


def test_rules_that_do_not_apply_ask_for_nothing() -> None:
    assert judge_message((MessageRule("a"),), MessageFacts(block())).levels == frozenset()


ASKS = MessageRule("asks", then=(SetEncryption(RecipientEncryption.VERIFIED),))
LAST = MessageRule("last", final=Final.DELIVER)
LABEL = MessageRule("label", then=(AddHeader(b"x-TLSLevel", b"Require"),))


@pytest.mark.parametrize(
    ("rules", "header", "expected"),
    [
        ((), TlsLevelHeader(), set()),
        ((), HONOUR, {REQUIRED, PREFERRED}),
        ((LABEL,), TlsLevelHeader(), set()),
        ((LABEL,), HONOUR, {REQUIRED, PREFERRED}),
        ((LABEL, ASKS), TlsLevelHeader(), {RecipientEncryption.VERIFIED}),
        ((LAST, ASKS), TlsLevelHeader(), set()),
        ((ASKS, LAST), HONOUR, {RecipientEncryption.VERIFIED, REQUIRED, PREFERRED}),
    ],
)
def test_what_a_message_may_ask_for(
    rules: tuple[MessageRule, ...], header: TlsLevelHeader, expected: set[RecipientEncryption]
) -> None:
    assert levels_in_reach(rules, header) == expected
    assert can_raise(expected) is bool(expected)


def test_where_it_is_honoured_every_header_is_held() -> None:
    big = MessageRule("big", Condition(size=SizeCondition(over=1)))
    assert need_of((), HONOUR) is Need.HEADERS
    assert need_of((LABEL,), HONOUR) is Need.HEADERS
    assert need_of((big,), HONOUR) is Need.WHOLE
    assert need_of((), TlsLevelHeader()) is Need.NOTHING
