from __future__ import annotations

from email import message_from_bytes
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.policy.message_edits import ReplaceHeader, TagSubject
from smtpproxy.smtp.headers import Headers


def shown(headers: Headers) -> str:
    """What a mail program shows as the subject, by the standard library."""
    message = message_from_bytes(headers.to_wire() + b"\r\n")
    assert len(message.get_all("Subject") or ()) == 1
    return str(make_header(decode_header(message["Subject"])))


def test_replace_leaves_one_field_in_front() -> None:
    headers = Headers(b"To: a\r\nX-Flag: one\r\n two\r\nno field\r\n.x-flag : three\r\nFrom: b\r\n")
    replaced = ReplaceHeader(b"X-Flag", b"new").edit(headers)
    assert replaced.values(b"x-flag") == [b"new"]
    assert replaced.to_wire() == b"X-Flag: new\r\nTo: a\r\nno field\r\nFrom: b\r\n"


def test_replace_puts_a_field_where_there_is_none() -> None:
    assert ReplaceHeader(b"X", b"1").edit(Headers(b"To: a\r\n")).to_wire() == b"X: 1\r\nTo: a\r\n"


def test_what_was_added_is_replaced_too() -> None:
    headers = Headers(b"To: a\r\n").added(b"x", b"1").added(b"Y", b"2")
    assert ReplaceHeader(b"X", b"3").edit(headers).to_wire() == b"X: 3\r\nY: 2\r\nTo: a\r\n"


@pytest.mark.parametrize(
    ("tag", "subject", "expected"),
    [
        ("[EXTERN]", b"Hello", "[EXTERN] Hello"),
        ("[EXTERN]", b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "[EXTERN] Grüße"),
        ("[EXTERN]", b"=?utf-8?q?a?= =?utf-8?q?b?= c", "[EXTERN] ab c"),
        ("[ÄUSSERES]", b"Hello", "[ÄUSSERES] Hello"),
        ("[ÄUSSERES]", b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "[ÄUSSERES] Grüße"),
        ("[=?]", b"Hello", "[=?] Hello"),
        ("外部" * 15, b"Hello", "外部" * 15 + " Hello"),
        ("外部" * 15, b"=?utf-8?b?YQ==?=", "外部" * 15 + " a"),
        ("[EXTERN]", b"folded\r\n here", "[EXTERN] folded here"),
        ("[EXTERN]", b"", "[EXTERN]"),
        ("[ÄUSSERES]", b"", "[ÄUSSERES]"),
        ("[EXTERN]", b"about [EXTERN] mail", "[EXTERN] about [EXTERN] mail"),
        ("[EXTERN]", b"See it:now: [EXTERN]", "[EXTERN] See it:now: [EXTERN]"),
        ("[EXTERN]", b"a:b:c:d:e:f:[EXTERN]", "[EXTERN] a:b:c:d:e:f:[EXTERN]"),
    ],
)
def test_the_tag_stands_before_the_subject(tag: str, subject: bytes, expected: str) -> None:
    tagged = TagSubject(tag).edit(Headers(b"Subject: " + subject + b"\r\nTo: a\r\n"))
    assert shown(tagged) == expected
    assert all(len(line) <= 78 for line in tagged.to_wire().split(b"\r\n"))


@pytest.mark.parametrize(
    "subject",
    [
        b"[EXTERN] Hello",
        b"[extern]Hello",
        b"Re: [EXTERN] Hello",
        b"AW: Re[2]: [EXTERN] Hello",
        b"=?utf-8?q?=5BEXTERN=5D_Gr=C3=BC=C3=9Fe?=",
        b"=?utf-8?q?Re=3A_?= =?utf-8?q?=5BEXTERN=5D?=",
    ],
)
def test_a_tag_that_is_there_is_not_put_twice(subject: bytes) -> None:
    headers = Headers(b"Subject: " + subject + b"\r\n")
    assert TagSubject("[EXTERN]").edit(headers) is headers


@pytest.mark.parametrize("tag", ["EXTERN:", "Re: x:", "[ÄUSSERES]", "=?utf-8?q?a?="])
def test_any_tag_is_put_once(tag: str) -> None:
    once = TagSubject(tag).edit(Headers(b"Subject: Hello\r\n"))
    assert TagSubject(tag).edit(once) is once


def test_a_subject_that_is_missing_is_put() -> None:
    assert TagSubject("[EXTERN]").edit(Headers(b"To: a\r\n")).to_wire() == b"Subject: [EXTERN]\r\nTo: a\r\n"


def test_of_several_subjects_the_first_is_tagged_and_no_other_is_left() -> None:
    headers = Headers(b"Subject: [EXTERN] a\r\nTo: a\r\nsubject: b\r\n")
    assert TagSubject("[EXTERN]").edit(headers).to_wire() == b"Subject: [EXTERN] [EXTERN] a\r\nTo: a\r\n"


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30), st.binary(max_size=60))
def test_whatever_the_tag_and_the_subject_the_tag_is_put_once(tag: str, octets: bytes) -> None:
    subject = octets.translate(None, b"\r\n\0")
    once = TagSubject(tag).edit(Headers(b"Subject: " + subject + b"\r\n"))
    assert TagSubject(tag).edit(once) is once
    assert once.values(b"subject")[0].endswith(subject.strip())
