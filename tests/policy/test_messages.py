from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.policy.message_edits import AddHeader, RemoveHeader
from smtpproxy.policy.messages import (
    Condition,
    Fields,
    Final,
    HeaderCondition,
    MessageDecision,
    MessageFacts,
    MessageRule,
    Need,
    SizeCondition,
    judge_message,
    need_of,
    reachable,
    still_needs_size,
)
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.smtp.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADERS = Headers(b"Subject: Hello World\r\nFrom: a@example\r\nX-Flag: one\r\nX-Flag: two\r\n")


def like(name: bytes, pattern: str = "*", fields: Fields = Fields.SOME) -> HeaderCondition:
    return HeaderCondition(name, Wildcard(pattern), fields)


def when(*headers: HeaderCondition, over: int | None = None, under: int | None = None) -> Condition:
    size = None if over is None and under is None else SizeCondition(over, under)
    return Condition(size, headers)


def judge(*rules: MessageRule, headers: Headers = HEADERS, size: int | None = 1000) -> MessageDecision:
    return judge_message(rules, MessageFacts(headers, size))


def fires(condition: Condition, headers: Headers = HEADERS, size: int | None = 1000) -> bool:
    return judge(MessageRule("r", condition), headers=headers, size=size).fired == ("r",)


# Conditions


def test_a_rule_without_conditions_always_applies() -> None:
    assert fires(Condition())
    assert fires(Condition(), Headers(b""), None)


@pytest.mark.parametrize(
    ("over", "under", "size", "expected"),
    [
        (1000, None, 1000, False),
        (1000, None, 1001, True),
        (0, None, 0, False),
        (None, 1000, 1000, False),
        (None, 1000, 999, True),
        (10, 20, 15, True),
        (10, 20, 10, False),
        (10, 20, 20, False),
        (10, None, None, False),
        (None, 10, None, False),
    ],
)
def test_size(over: int | None, under: int | None, size: int | None, *, expected: bool) -> None:
    assert fires(when(over=over, under=under), size=size) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (like(b"subject"), True),
        (like(b"SUBJECT", "hello*"), True),
        (like(b"Subject", "hello"), False),
        (like(b"Sender"), False),
        (like(b"Sender", "*", Fields.NONE), True),
        (like(b"Subject", "*", Fields.NONE), False),
        (like(b"X-Flag", "two"), True),
        (like(b"X-Flag", "three"), False),
        (like(b"X-Flag", "two", Fields.NONE), False),
        (like(b"X-Flag", "three", Fields.NONE), True),
        (like(b"Sender", "three", Fields.NONE), True),
    ],
)
def test_headers(condition: HeaderCondition, *, expected: bool) -> None:
    assert fires(when(condition)) is expected


def test_all_conditions_must_hold() -> None:
    subject, sender = like(b"Subject"), like(b"Sender")
    assert fires(when(subject, like(b"From"), over=10))
    assert not fires(when(subject, sender, over=10))
    assert not fires(when(subject, over=10_000))


@pytest.mark.parametrize(
    "subject",
    [
        b"=?utf-8?q?secret?= plan",
        b"=?utf-8?b?c2VjcmV0?= plan",
        b"=?utf-8?q?se?=\r\n =?utf-8?q?cret_plan?=",
        b"se=?utf-8?q?cret_pl?=an",
        b"  Secret plan  ",
        b"SECRET\r\n PLAN",
    ],
)
def test_a_pattern_sees_what_a_mail_program_shows(subject: bytes) -> None:
    headers = Headers(b"Subject:" + subject + b"\r\n")
    assert fires(when(like(b"Subject", "secret plan")), headers)
    assert not fires(when(like(b"Subject", "secret plan", Fields.NONE)), headers)


def test_a_pattern_sees_what_is_written_too() -> None:
    headers = Headers(b"Subject: =?utf-8?q?a?=\r\n")
    assert fires(when(like(b"Subject", "=?utf-8?q*")), headers)
    assert fires(when(like(b"Subject", "a")), headers)


# Actions and order


def test_edits_are_made_in_order() -> None:
    decision = judge(
        MessageRule("one", then=(RemoveHeader(b"x-flag"), AddHeader(b"X-Flag", b"three"))),
        MessageRule("two", then=(AddHeader(b"X-Two", b"2"),)),
    )
    assert decision.headers.to_wire() == b"X-Two: 2\r\nX-Flag: three\r\nSubject: Hello World\r\nFrom: a@example\r\n"
    assert (decision.denied_by, decision.fired) == (None, ("one", "two"))


def test_a_rule_sees_the_headers_as_those_before_it_left_them() -> None:
    added, gone = like(b"X-New", "a"), like(b"X-Flag", "*", Fields.NONE)
    edit = MessageRule("edit", then=(AddHeader(b"x-new", b"a"), RemoveHeader(b"x-flag")))
    late = MessageRule("late", when(added, gone))
    assert judge(late, edit).fired == ("edit",)
    assert judge(edit, late).fired == ("edit", "late")
    assert judge(MessageRule("look", when(gone)), edit, late).fired == ("edit", "late")


def test_nothing_edited_is_the_same_object() -> None:
    rules = (MessageRule("a"), MessageRule("b", then=(RemoveHeader(b"X-None"),)))
    decision = judge(*rules)
    assert decision.headers is HEADERS
    assert decision.fired == ("a", "b")


def test_deliver_and_deny_end_the_list() -> None:
    last = MessageRule("last", then=(AddHeader(b"X-Last", b"1"),))
    for final, denied_by in ((Final.DELIVER, None), (Final.DENY, "end")):
        decision = judge(MessageRule("end", then=(AddHeader(b"X", b"1"),), final=final), last)
        assert (decision.denied_by, decision.fired) == (denied_by, ("end",))
        assert decision.headers.values(b"X") == [b"1"]
        assert decision.headers.values(b"X-Last") == []
    assert judge(MessageRule("none", final=Final.NONE), last).fired == ("none", "last")


def test_deliver_saves_from_a_later_deny_only() -> None:
    deny = MessageRule("deny", when(like(b"Subject", "hello*")), final=Final.DENY)
    deliver = MessageRule("deliver", when(like(b"From", "a@*")), final=Final.DELIVER)
    assert judge(deliver, deny).denied_by is None
    assert judge(deny, deliver).denied_by == "deny"


def test_no_rules() -> None:
    assert judge() == MessageDecision(HEADERS, None, ())


# What must be held

EDIT = MessageRule("edit", then=(AddHeader(b"X", b"1"),))
SIZE = MessageRule("size", when(over=1), final=Final.DENY)
HEADER = MessageRule("header", when(like(b"X")), final=Final.DENY)
ALL = MessageRule("all", final=Final.DELIVER)


@pytest.mark.parametrize(
    ("rules", "need"),
    [
        ((), Need.NOTHING),
        ((EDIT,), Need.HEADERS),
        ((HEADER,), Need.HEADERS),
        ((MessageRule("deny all", final=Final.DENY),), Need.HEADERS),
        ((EDIT, HEADER), Need.HEADERS),
        ((HEADER, SIZE), Need.WHOLE),
        ((HEADER, ALL, SIZE), Need.HEADERS),
        ((SIZE, ALL), Need.WHOLE),
    ],
)
def test_need(rules: tuple[MessageRule, ...], need: Need) -> None:
    assert need_of(rules) is need


def test_reachable() -> None:
    assert reachable((EDIT, ALL, SIZE)) == (EDIT, ALL)
    assert reachable((EDIT, SIZE)) == (EDIT, SIZE)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), False),
        ((SIZE,), True),
        ((HEADER, SIZE), True),
        ((ALL, SIZE), False),
        ((MessageRule("a", when(like(b"Subject")), final=Final.DELIVER), SIZE), False),
        ((MessageRule("a", when(like(b"X")), final=Final.DELIVER), SIZE), True),
        ((MessageRule("a", when(like(b"X"), over=1), final=Final.DENY),), False),
        ((EDIT, MessageRule("a", when(like(b"X"), over=1), final=Final.DENY)), True),
        ((MessageRule("a", when(like(b"X-Flag"), over=1)), EDIT), True),
    ],
)
def test_whether_the_size_still_matters(rules: tuple[MessageRule, ...], *, expected: bool) -> None:
    assert still_needs_size(rules, HEADERS) is expected


names = st.sampled_from([b"Subject", b"X-Flag", b"X-New", b"From"])
edits = st.one_of(st.builds(AddHeader, names, st.just(b"hello")), st.builds(RemoveHeader, names))
conditions = st.builds(
    Condition,
    st.one_of(st.none(), st.builds(SizeCondition, st.sampled_from([None, 5, 50]), st.sampled_from([None, 10, 100]))),
    st.lists(
        st.builds(HeaderCondition, names, st.sampled_from(["*", "h*", "one"]).map(Wildcard), st.sampled_from(Fields)),
        max_size=2,
    ).map(tuple),
)
rule_lists = st.lists(
    st.builds(MessageRule, st.just("r"), conditions, st.lists(edits, max_size=2).map(tuple), st.sampled_from(Final)),
    max_size=5,
)


@given(rule_lists, st.integers(0, 120))
def test_where_the_size_does_not_matter_any_size_gives_the_same(rules: Sequence[MessageRule], size: int) -> None:
    if not still_needs_size(rules, HEADERS):
        assert judge(*rules, size=size) == judge(*rules, size=None)


@given(rule_lists, st.integers(0, 120))
def test_rules_that_are_not_reachable_change_nothing(rules: Sequence[MessageRule], size: int) -> None:
    assert judge(*rules, size=size) == judge(*reachable(rules), size=size)
    if need_of(rules) is not Need.WHOLE:
        assert judge(*rules, size=size) == judge(*rules, size=None)
