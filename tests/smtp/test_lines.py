from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.smtp.lines import Line, LineFault, LineReader
from tests.smtp.feeds import FEEDS, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMIT = 12
HOPELESS = 40


def read(pieces: Iterable[bytes]) -> list[Line]:
    reader, lines = LineReader(LIMIT, hopeless_octets=HOPELESS), []
    for piece in pieces:
        reader.feed(piece)
        while line := reader.next_line():
            lines.append(line)
        assert reader.buffered <= LIMIT
    return lines


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"NOOP\r\n", [Line(b"NOOP")]),
        (b"\r\n", [Line(b"")]),
        (b"MAIL\r\nRCPT\r\nDATA\r\n", [Line(b"MAIL"), Line(b"RCPT"), Line(b"DATA")]),
        (b"0123456789\r\n", [Line(b"0123456789")]),
        (b"01234567890\r\nQUIT\r\n", [Line(b"", LineFault.TOO_LONG), Line(b"QUIT")]),
        (b"x" * 38 + b"\r\nQUIT\r\n", [Line(b"", LineFault.TOO_LONG), Line(b"QUIT")]),
        (b"x" * 39 + b"\r\nQUIT\r\n", [Line(b"", LineFault.HOPELESS)]),
        (b"x" * 41, [Line(b"", LineFault.HOPELESS)]),
        (b"\r" * 30 + b"\n", [Line(b"", LineFault.TOO_LONG)]),
        (b"x" * 30 + b"\nQUIT\r\n", [Line(b"", LineFault.BARE_LF)]),
        (b"A\r\nB\nC\r\nD\r\n", [Line(b"A"), Line(b"", LineFault.BARE_LF)]),
        (b"\n", [Line(b"", LineFault.BARE_LF)]),
        (b"A\rB\r\nC\r\n", [Line(b"", LineFault.BARE_CR), Line(b"C")]),
        (b"A\r\r\nC\r\n", [Line(b"", LineFault.BARE_CR), Line(b"C")]),
        (b"A\0\r\nC\r\n", [Line(b"", LineFault.NUL), Line(b"C")]),
        (b"A\0\r\r\nC\r\n", [Line(b"", LineFault.NUL), Line(b"C")]),
        (b"A\0\nC\r\n", [Line(b"", LineFault.BARE_LF)]),
    ],
)
def test_lines(feed: Callable[[bytes], list[bytes]], data: bytes, lines: list[Line]) -> None:
    assert read(feed(data)) == lines


def test_incomplete_line_is_awaited() -> None:
    reader = LineReader(LIMIT)
    reader.feed(b"NOOP\r")
    assert reader.next_line() is None
    assert reader.buffered == 5
    reader.feed(b"\nQ")
    assert reader.next_line() == Line(b"NOOP")
    assert reader.next_line() is None


def test_rest_is_handed_over_and_forgotten() -> None:
    reader = LineReader(LIMIT)
    reader.feed(b"DATA\r\ncontent\r\n")
    reader.next_line()
    assert reader.take_rest() == b"content\r\n"
    assert reader.buffered == 0
    reader.feed(b"NOOP\r\n")
    assert reader.next_line() == Line(b"NOOP")


@pytest.mark.parametrize("fatal", [b"A\nQUIT\r\n", b"x" * 41 + b"\r\nQUIT\r\n"])
def test_nothing_is_read_after_a_fault_that_closes(fatal: bytes) -> None:
    reader = LineReader(LIMIT, hopeless_octets=HOPELESS)
    reader.feed(fatal)
    assert reader.next_line() is not None
    reader.feed(b"MAIL FROM:<a@b>\r\n")
    assert reader.next_line() is None
    assert reader.take_rest() == b""


fragments = st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"\r\n", b"NOOP", b"x" * 11, b"\r\n\r\n"])).map(b"".join)


@given(cut(fragments))
def test_any_cut_gives_the_same_lines(drawn: tuple[bytes, list[bytes]]) -> None:
    data, pieces = drawn
    assert read(pieces) == read([data])


@given(st.lists(st.binary(max_size=8).filter(lambda octets: not set(octets) & set(b"\r\n\0"))))
def test_what_was_written_as_lines_is_read_as_lines(texts: list[bytes]) -> None:
    assert read([b"".join(text + b"\r\n" for text in texts)]) == [Line(text) for text in texts]


def seconds(work: Callable[[int], None], size: int) -> float:
    begun = time.process_time()
    work(size)
    return time.process_time() - begun


def one_octet_feeds_without_end(size: int) -> None:
    reader = LineReader(2048, hopeless_octets=size * 2)
    for _ in range(size):
        reader.feed(b"x")
        reader.next_line()


def unread_octets_fed_one_by_one(size: int) -> None:
    reader = LineReader(size * 2, hopeless_octets=size * 2)
    for _ in range(size):
        reader.feed(b"x")
        reader.next_line()


def pipelined_lines_in_one_feed(size: int) -> None:
    reader = LineReader(2048)
    reader.feed(b"NOOP\r\n" * (size // 6))
    while reader.next_line():
        pass


@pytest.mark.parametrize(
    "work", [one_octet_feeds_without_end, unread_octets_fed_one_by_one, pipelined_lines_in_one_feed]
)
def test_time_grows_with_the_octets_and_not_with_their_square(work: Callable[[int], None]) -> None:
    work(10_000)
    small = min(seconds(work, 125_000) for _ in range(3))
    large = min(seconds(work, 1_000_000) for _ in range(3))
    assert large < 8 * small * 4  # eight times the octets; squared it would be 64 times, with a margin of four
