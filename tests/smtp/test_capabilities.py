from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.smtp.capabilities import Capabilities, Hop, denied, offer, parse_capabilities
from smtpproxy.smtp.replies import Reply

ALLOW = frozenset({"SIZE", "8BITMIME", "PIPELINING", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES"})


def said(*lines: bytes) -> Capabilities:
    return parse_capabilities(Reply(250, (b"mx.example.com greets you", *lines)))


def offered(upstream: Capabilities, *, starttls: bool = False, size_limit: int = 0) -> dict[str, bytes]:
    return dict(offer(upstream, ALLOW, Hop(starttls=starttls, size_limit=size_limit)).keywords)


def test_keywords_are_upper_case_and_arguments_verbatim() -> None:
    peer = said(b"size 1000", b"8BitMIME", b"AUTH PLAIN  login ", b"X-Thing-1 a=b")
    assert peer.greeting == b"mx.example.com greets you"
    assert peer.keywords == (("SIZE", b"1000"), ("8BITMIME", b""), ("AUTH", b"PLAIN  login"), ("X-THING-1", b"a=b"))


def test_question_about_a_keyword() -> None:
    peer = said(b"SIZE 1000", b"DSN")
    assert (peer.offers("SIZE"), peer.offers("DSN"), peer.offers("STARTTLS")) == (True, True, False)
    assert (peer.argument("SIZE"), peer.argument("DSN"), peer.argument("STARTTLS")) == (b"1000", b"", None)


@pytest.mark.parametrize(
    "line",
    [
        b"AUTH=LOGIN PLAIN",
        b"",
        b" SIZE",
        b"-DSN",
        b"D_SN",
        b"DSN\tx",
        b"DSN \xc3\xa4",
        b"\xc4SN",
        b"250-STARTTLS x\x7f",
    ],
)
def test_line_that_is_no_keyword_is_dropped(line: bytes) -> None:
    assert said(b"DSN", line, b"SMTPUTF8").keywords == (("DSN", b""), ("SMTPUTF8", b""))


def test_of_a_keyword_said_twice_the_first_counts() -> None:
    assert said(b"SIZE 10", b"size 20").keywords == (("SIZE", b"10"),)


def test_first_line_is_never_a_keyword() -> None:
    assert parse_capabilities(Reply(250, (b"STARTTLS",))) == Capabilities(b"STARTTLS")


def test_reply_says_what_the_capabilities_are() -> None:
    reply = Capabilities(b"mx", (("SIZE", b"10"), ("DSN", b""))).to_reply()
    assert reply == Reply(250, (b"mx", b"SIZE 10", b"DSN"))


def test_only_what_is_allowed_and_offered_by_upstream_is_offered() -> None:
    upstream = said(b"DSN", b"XCLIENT NAME", b"CHUNKING", b"8BITMIME", b"AUTH PLAIN")
    assert set(offered(upstream)) == {"DSN", "8BITMIME", "PIPELINING", "SIZE"}
    assert denied(upstream, ALLOW) == ("XCLIENT", "CHUNKING", "AUTH")


def test_greeting_is_upstreams() -> None:
    assert offer(said(), ALLOW, Hop(starttls=False, size_limit=0)).greeting == b"mx.example.com greets you"


@pytest.mark.parametrize("upstream", [said(), said(b"STARTTLS")])
def test_starttls_is_offered_on_our_own_word_alone(upstream: Capabilities) -> None:
    assert "STARTTLS" not in offered(upstream)
    assert offered(upstream, starttls=True)["STARTTLS"] == b""
    assert "STARTTLS" not in dict(offer(upstream, ALLOW | {"STARTTLS"}, Hop(starttls=False, size_limit=0)).keywords)
    assert denied(upstream, ALLOW) == ()


def test_pipelining_is_ours() -> None:
    assert offered(said())["PIPELINING"] == b""
    assert "PIPELINING" not in dict(offer(said(b"PIPELINING"), frozenset(), Hop(starttls=False, size_limit=0)).keywords)


@pytest.mark.parametrize(
    ("line", "size_limit", "size"),
    [
        (b"SIZE 1000", 2000, b"1000"),
        (b"SIZE 2000", 1000, b"1000"),
        (b"SIZE 0", 1000, b"1000"),
        (b"SIZE", 1000, b"1000"),
        (b"SIZE 1000", 0, b"1000"),
        (b"SIZE 0", 0, b""),
        (b"SIZE lots", 1000, b"1000"),
        (b"SIZE 1000 extra", 500, b"500"),
        (b"SIZE 99999999999999999999", 1000, b"1000"),
        (b"SIZE " + b"9" * 1000, 0, b""),
        (b"DSN", 1000, b"1000"),
    ],
)
def test_size_is_the_smaller_limit(line: bytes, size_limit: int, size: bytes) -> None:
    assert offered(said(line), size_limit=size_limit)["SIZE"] == size


def test_size_is_not_offered_where_it_is_not_allowed() -> None:
    upstream = said(b"SIZE 10")
    assert offer(upstream, frozenset(), Hop(starttls=False, size_limit=5)).keywords == ()
    assert denied(upstream, frozenset()) == ("SIZE",)


@pytest.mark.parametrize(
    ("line", "recipient_limit", "limits"),
    [
        (b"LIMITS RCPTMAX=100 MAILMAX=5", 1000, b"RCPTMAX=100 MAILMAX=5"),
        (b"LIMITS RCPTMAX=5000", 1000, b"RCPTMAX=1000"),
        (b"LIMITS rcptdomainmax=1 NEWMAX=3 RCPTMAX=0", 1000, b"RCPTDOMAINMAX=1 RCPTMAX=1000"),
        (b"LIMITS", 0, None),
        (b"DSN", 50, b"RCPTMAX=50"),
        (b"DSN", 0, None),
    ],
)
def test_limits_are_the_smaller_ones_that_are_known(line: bytes, recipient_limit: int, limits: bytes | None) -> None:
    hop = Hop(starttls=False, size_limit=0, recipient_limit=recipient_limit)
    assert offer(said(line), frozenset({"LIMITS"}), hop).argument("LIMITS") == limits


def test_mechanisms_that_may_not_pass_are_taken_out_in_upstreams_order() -> None:
    hop = Hop(starttls=False, size_limit=0, mechanisms=frozenset({"PLAIN", "SCRAM-SHA-256"}))
    upstream = said(b"AUTH GSSAPI SCRAM-SHA-256-PLUS scram-sha-256 EXTERNAL Plain")
    assert offer(upstream, frozenset({"AUTH"}), hop).argument("AUTH") == b"SCRAM-SHA-256 PLAIN"
    assert not offer(said(b"AUTH GSSAPI"), frozenset({"AUTH"}), hop).offers("AUTH")
    assert not offer(upstream, frozenset({"AUTH"}), Hop(starttls=False, size_limit=0)).offers("AUTH")
    assert not offer(upstream, frozenset(), hop).offers("AUTH")


@pytest.mark.parametrize("kept", [True, False])
def test_requiretls_is_offered_where_upstream_has_it_and_it_can_be_kept(kept: bool) -> None:  # noqa: FBT001
    hop = Hop(starttls=False, size_limit=0, requiretls=kept)
    assert offer(said(b"REQUIRETLS"), frozenset({"REQUIRETLS"}), hop).offers("REQUIRETLS") is kept
    assert not offer(said(), frozenset({"REQUIRETLS"}), hop).offers("REQUIRETLS")
    assert not offer(said(b"REQUIRETLS"), frozenset(), hop).offers("REQUIRETLS")


@pytest.mark.parametrize(("keyword", "needed"), [("BINARYMIME", "CHUNKING"), ("SMTPUTF8", "8BITMIME")])
def test_what_needs_another_extension_is_not_offered_without_it(keyword: str, needed: str) -> None:
    allow, hop = frozenset({keyword, needed}), Hop(starttls=False, size_limit=0)
    both = said(keyword.encode(), needed.encode())
    assert offer(both, allow, hop).offers(keyword)
    assert not offer(said(keyword.encode()), allow, hop).offers(keyword)
    assert not offer(both, frozenset({keyword}), hop).offers(keyword)


keywords = st.from_regex(r"[A-Z0-9][A-Z0-9-]{0,12}", fullmatch=True)
arguments = st.from_regex(rb"([!-~]{1,8}( [!-~]{1,8})?)?", fullmatch=True)


@given(
    st.builds(
        Capabilities, arguments, st.lists(st.tuples(keywords, arguments), unique_by=lambda pair: pair[0]).map(tuple)
    )
)
def test_what_is_written_is_parsed_as_the_same_capabilities(capabilities: Capabilities) -> None:
    assert parse_capabilities(capabilities.to_reply()) == capabilities


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\r" not in line and b"\n" not in line)))
def test_random_lines_raise_nothing_and_our_offer_has_no_control_in_it(lines: list[bytes]) -> None:
    reply = offer(said(*lines), ALLOW, Hop(starttls=True, size_limit=10)).to_reply()
    assert all(line.isascii() and line.decode().isprintable() for line in reply.lines)


def test_keywords_of_commands_that_pass_in_any_case_are_offered_and_not_removed() -> None:
    upstream = Capabilities(b"mx.test", (("HELP", b""), ("VRFY", b""), ("EXPN", b""), ("ETRN", b"")))
    offered = offer(upstream, frozenset(), Hop(starttls=False, size_limit=0))
    assert [name for name, _ in offered.keywords] == ["HELP", "VRFY", "EXPN"]
    assert denied(upstream, frozenset()) == ("ETRN",)
