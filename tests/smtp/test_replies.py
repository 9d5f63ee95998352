from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.smtp.replies import Reply, ReplyError, ReplyLimits, ReplyReader
from tests.smtp.feeds import FEEDS, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMITS = ReplyLimits(line_octets=20, lines=4, octets=50)


def read(pieces: Iterable[bytes]) -> tuple[list[Reply], str | None]:
    """Return the replies and the reason of the error that ended them."""
    reader, replies = ReplyReader(LIMITS), []
    try:
        for piece in pieces:
            reader.feed(piece)
            while reply := reader.next_reply():
                replies.append(reply)
            assert reader.buffered <= LIMITS.octets + LIMITS.line_octets
    except ReplyError as error:
        assert reader.buffered == 0
        return replies, error.reason
    return replies, None


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    ("data", "replies", "reason"),
    [
        (b"250 Ok\r\n", [Reply(250, (b"Ok",))], None),
        (b"250\r\n", [Reply(250, (b"",))], None),
        (b"250 \r\n", [Reply(250, (b"",))], None),
        (b"250-a\r\n250-\r\n250 b\r\n", [Reply(250, (b"a", b"", b"b"))], None),
        (b"250-a\r\n250\r\n", [Reply(250, (b"a", b""))], None),
        (b"220 a\r\n354 b\r\n", [Reply(220, (b"a",)), Reply(354, (b"b",))], None),
        (b"220 t\tab\r\n", [Reply(220, (b"t\tab",))], None),
        (b"220 \xc3\xa4 \xff\r\n", [Reply(220, (b"\xc3\xa4 \xff",))], None),
        (b"599 x\r\n", [Reply(599, (b"x",))], None),
        (b"250 -x\r\n", [Reply(250, (b"-x",))], None),
        (b"250 " + b"x" * 14 + b"\r\n", [Reply(250, (b"x" * 14,))], None),
        (b"250 " + b"x" * 15 + b"\r\n", [], "reply-line-too-long"),
        (b"250 Ok\r\nrubbish\r\n", [Reply(250, (b"Ok",))], "reply-syntax"),
        (b"150 x\r\n", [], "reply-syntax"),
        (b"650 x\r\n", [], "reply-syntax"),
        (b"25 x\r\n", [], "reply-syntax"),
        (b"2500 x\r\n", [], "reply-syntax"),
        (b"250x\r\n", [], "reply-syntax"),
        (b"250\tx\r\n", [], "reply-syntax"),
        (b"250_x\r\n", [], "reply-syntax"),
        (b" 250 x\r\n", [], "reply-syntax"),
        (b"\xb2\xb5\xb0 x\r\n", [], "reply-syntax"),
        (b"\r\n", [], "reply-syntax"),
        (b"250 a\x07\r\n", [], "reply-syntax"),
        (b"250 a\x7f\r\n", [], "reply-syntax"),
        (b"250 a\x1b[2J\r\n", [], "reply-syntax"),
        (b"250 a\0\r\n", [], "reply-nul"),
        (b"250 a\rb\r\n", [], "reply-bare-cr"),
        (b"250 a\nb\r\n", [], "reply-bare-lf"),
        (b"250 a\n250 b\r\n", [], "reply-bare-lf"),
        (b"250-a\r\n251 b\r\n", [], "reply-codes-differ"),
        (b"250-a\r\n250-a\r\n250-a\r\n250 a\r\n", [Reply(250, (b"a",) * 4)], None),
        (b"250-a\r\n" * 4 + b"250 a\r\n", [], "reply-too-long"),
        (b"250-0123456789\r\n" * 4, [], "reply-too-long"),
        (b"x" * 21, [], "reply-line-too-long"),
        (b"HTTP/1.1 400 Bad\r\n", [], "reply-syntax"),
    ],
)
def test_replies(feed: Callable[[bytes], list[bytes]], data: bytes, replies: list[Reply], reason: str | None) -> None:
    assert read(feed(data)) == (replies, reason)
    if reason is None:
        assert read(feed(data + b"221 tail")) == (replies, None)


def test_reader_stays_failed() -> None:
    reader = ReplyReader()
    reader.feed(b"250 a\nb\r\n")
    for _ in range(2):
        with pytest.raises(ReplyError, match=r"^reply-bare-lf$"):
            reader.next_reply()
        reader.feed(b"250 Ok\r\n")
    assert reader.take_rest() == b""


def test_rest_holds_every_octet_behind_the_last_reply() -> None:
    reader = ReplyReader()
    reader.feed(b"220 Go ahead\r\n250-behind\r\n25")
    assert reader.next_reply() == Reply(220, (b"Go ahead",))
    assert reader.next_reply() is None
    assert reader.buffered == len(b"250-behind\r\n25")
    assert reader.take_rest() == b"250-behind\r\n25"
    assert reader.buffered == 0
    reader.feed(b"250 Ok\r\n")
    assert reader.next_reply() == Reply(250, (b"Ok",))


def test_rest_is_empty_when_nothing_is_behind() -> None:
    reader = ReplyReader()
    reader.feed(b"220 Go ahead\r\n")
    reader.next_reply()
    assert (reader.buffered, reader.take_rest()) == (0, b"")


fragments = st.lists(
    st.sampled_from([b"250", b"-", b" ", b"\r\n", b"\n", b"\r", b"\0", b"text", b"250-a\r\n", b"250 b\r\n", b"\xff"])
).map(b"".join)


@given(cut(fragments))
def test_any_cut_gives_the_same_replies(drawn: tuple[bytes, list[bytes]]) -> None:
    data, pieces = drawn
    assert read(pieces) == read([data])


@given(st.binary(max_size=200))
def test_random_octets_give_replies_or_a_protocol_error(data: bytes) -> None:
    replies, _ = read([data])
    for reply in replies:
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", b"".join(reply.lines))


lines = st.lists(st.from_regex(rb"[\t -~\x80-\xff]{0,30}", fullmatch=True), min_size=1, max_size=6).map(tuple)


@given(st.builds(Reply, st.integers(200, 599), lines))
def test_what_is_written_is_read_as_the_same_reply(reply: Reply) -> None:
    reader = ReplyReader()
    reader.feed(reply.to_wire())
    assert reader.next_reply() == reply
    assert reader.buffered == 0


def test_wire_form() -> None:
    assert Reply(250, (b"mx", b"SIZE 10", b"")).to_wire() == b"250-mx\r\n250-SIZE 10\r\n250 \r\n"


@pytest.mark.parametrize(
    ("code", "line", "enhanced"),
    [
        (250, b"2.0.0 Ok", "2.0.0"),
        (450, b"4.7.500 x", "4.7.500"),
        (550, b"5.1.1", "5.1.1"),
        (550, b"4.1.1 x", None),
        (550, b"5.1.1x", None),
        (550, b"5.1.1000 x", None),
        (550, b"5.1 x", None),
        (550, b" 5.1.1 x", None),
        (354, b"3.0.0 x", None),
        (250, b"", None),
    ],
)
def test_enhanced_code_counts_if_its_class_agrees(code: int, line: bytes, enhanced: str | None) -> None:
    assert Reply(code, (line, b"2.9.9 never looked at")).enhanced == enhanced


@pytest.mark.parametrize(
    ("code", "kind"), [(250, "is_positive"), (354, "is_intermediate"), (421, "is_transient"), (550, "is_permanent")]
)
def test_kind_of_a_reply(code: int, kind: str) -> None:
    kinds = ("is_positive", "is_intermediate", "is_transient", "is_permanent")
    assert [name for name in kinds if getattr(Reply(code, (b"",)), name)] == [kind]


def test_own_reply_has_the_class_of_its_code() -> None:
    assert Reply.own(450, (7, 4), "Later") == Reply(450, (b"4.7.4 Later",))
    assert Reply.own(354, None, "Go") == Reply(354, (b"Go",))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"Ok", "Ok"),
        (b"a\tb", "a\\tb"),
        ("größer".encode(), "größer"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("a\u2028b\u202ec\x85".encode(), "a\\u2028b\\u202ec\\x85"),
    ],
)
def test_text_for_a_log_is_printable(line: bytes, text: str) -> None:
    shown = Reply(250, (line, b"second")).text
    assert shown == text
    assert shown.isprintable()


def test_time_grows_with_the_octets_of_an_endless_reply() -> None:
    reader = ReplyReader(ReplyLimits(lines=10**6, octets=10**8))
    begun = time.process_time()
    for _ in range(100_000):
        reader.feed(b"250-x\r\n")
        reader.next_reply()
    assert time.process_time() - begun < 5
