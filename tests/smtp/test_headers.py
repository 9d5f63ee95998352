from __future__ import annotations

import re
import time
from email import message_from_bytes
from email.policy import compat32
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.content import stuff, unstuff
from smtpproxy.smtp.headers import HeaderCollector, Headers, HeadersUnclear, fold
from smtpproxy.smtp.limits import HEADER_OCTETS
from tests.smtp.feeds import FEEDS, byte_by_byte, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Outcome = tuple[bytes, bytes] | str
"""The block and what follows it, or the reason of the fault."""


def collect(pieces: Iterable[bytes], limit: int = HEADER_OCTETS, *, stuffed: bool = True) -> Outcome:
    collector = HeaderCollector(limit, stuffed=stuffed)
    feeding = iter(pieces)
    try:
        for piece in feeding:
            found = collector.feed(piece)
            if found is not None:
                return found.block.to_wire(), found.rest + b"".join(feeding)
        found = collector.finish()
    except ProtocolError as error:
        return error.reason
    return found.block.to_wire(), found.rest


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    ("content", "block"),
    [
        (b"Subject: a\r\n\r\nbody\r\n", b"Subject: a\r\n"),
        (b"Subject: a\r\nTo: b\r\n\r\n", b"Subject: a\r\nTo: b\r\n"),
        (b"Subject: a\r\n b\r\n\r\n\r\n", b"Subject: a\r\n b\r\n"),
        (b"\r\nSubject: a\r\n\r\n", b""),
        (b"\r\n", b""),
        (b"", b""),
        (b"Subject: a\r\n", b"Subject: a\r\n"),
        (b"Subject: a", b"Subject: a"),
        (b"no field\r\nSubject: a\r\n\r\nbody", b"no field\r\nSubject: a\r\n"),
        (b"Subject: a\r\n \r\nTo: b\r\n\r\nbody", b"Subject: a\r\n \r\nTo: b\r\n"),
        (b"Subject: a\r\n..\r\nTo: b\r\n\r\nbody", b"Subject: a\r\n..\r\nTo: b\r\n"),
        (b"Subject: a\r\n\r\nbare\nnewlines\rand\0more", b"Subject: a\r\n"),
        (b"Subject: \xff\xfe\r\n\r\n", b"Subject: \xff\xfe\r\n"),
    ],
)
def test_the_block_ends_at_the_first_empty_line_and_nowhere_else(
    feed: Callable[[bytes], list[bytes]], content: bytes, block: bytes
) -> None:
    assert collect(feed(content)) == (block, content[len(block) :])


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("tail", [b"\r\n\r\nbody", b"\r\n\r\n", b"\r\n", b"", b"\r"])
@pytest.mark.parametrize("inside", [b"a\nb", b"a\rb", b"a\0b", b"\n", b"a\n\nb", b"a\r\r\nb", b"a\n\r\nb"])
def test_what_each_receiver_reads_otherwise_is_refused(
    feed: Callable[[bytes], list[bytes]], tail: bytes, inside: bytes
) -> None:
    assert collect(feed(b"Subject: " + inside + tail), stuffed=False) == "headers-unclear"


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    "block", [b". a\r\nSubject: b\r\n", b".\ta\r\n", b"a: b\r\n. a\r\nc: d\r\n", b"a\r\n. : b\r\n"]
)
def test_a_dot_in_front_of_a_fold_is_refused_where_dots_are_removed(
    feed: Callable[[bytes], list[bytes]], block: bytes
) -> None:
    assert collect(feed(block + b"\r\nbody"), stuffed=True) == "headers-unclear"
    assert collect(feed(block + b"\r\nbody"), stuffed=False) == (block, b"\r\nbody")
    dots_kept = block.replace(b". ", b".. ").replace(b".\t", b"..\t")
    assert collect(feed(dots_kept + b"\r\nbody"), stuffed=True) == (dots_kept, b"\r\nbody")


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    ("octets", "tail", "taken"),
    [
        (100, b"\r\n", True),
        (101, b"\r\n", False),
        (500, b"\r\n", False),
        (100, b"", True),
        (101, b"", False),
        (102, b"", False),
    ],
)
def test_a_block_that_is_too_long_is_refused_however_it_comes(
    feed: Callable[[bytes], list[bytes]], octets: int, tail: bytes, *, taken: bool
) -> None:
    block = b"S: ".ljust(octets - 2, b"x") + b"\r\n"
    expected = (block, tail) if taken else "headers-too-long"
    assert collect(feed(block + tail), 100) == expected


def test_a_body_of_any_length_is_none_of_its_business() -> None:
    body = b"\r\n" + b"x" * 1_000_000
    assert collect([b"S: a\r\n" + body], 100) == (b"S: a\r\n", body)


@pytest.mark.parametrize(("piece", "fault"), [(b"x" * 10, "headers-too-long"), (b"Subject: \n", "headers-unclear")])
def test_octets_without_end_are_not_held(piece: bytes, fault: str) -> None:
    pieces = iter([piece] * 1000)
    assert collect(pieces, 1000) == fault
    assert len(list(pieces)) == 1000 - 101


pieces_that_matter = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b".", b" ", b"\0", b"a: b", b"c", b":"]), max_size=20
).map(b"".join)


def reference(content: bytes, limit: int) -> Outcome:
    """What the collector does, said slowly."""
    end = (b"\r\n" + content).find(b"\r\n\r\n")
    block = content[:end] if end >= 0 else content
    seen = block[:limit]
    if len(block) > limit and seen.endswith(b"\r"):
        seen = seen[:-1]
    if any(octet in seen.replace(b"\r\n", b"") for octet in b"\r\n\0") or b"\r\n. " in b"\r\n" + seen:
        return "headers-unclear"
    return "headers-too-long" if len(block) > limit else (block, content[len(block) :])


@given(cut(pieces_that_matter), st.integers(0, 30))
@example((b"a\r\n\r\n", [b"a\r", b"\n\r\n"]), 3)
def test_any_cut_gives_the_same(drawn: tuple[bytes, list[bytes]], limit: int) -> None:
    content, pieces = drawn
    expected = reference(content, limit)
    assert collect(pieces, limit) == expected
    assert collect(byte_by_byte(content), limit) == expected


def seconds(pieces: list[bytes]) -> float:
    start = time.process_time()
    collect(pieces)
    return time.process_time() - start


def test_the_work_grows_with_the_octets_and_not_with_their_square() -> None:
    for octet in (b"x", b"\r"):
        short = min(seconds([octet] * 10_000) for _ in range(5))
        assert min(seconds([octet] * 80_000) for _ in range(5)) < 8 * 5 * short


lines = st.lists(
    st.sampled_from(
        [b"Subject: a", b"X: b", b"X : c", b" d", b"\t", b"junk", b".X: e", b"..", b"From me", b":", b"\xff: f"]
    ),
    max_size=8,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@given(lines, lines)
def test_another_parser_finds_no_field_that_is_not_found(head: bytes, body: bytes) -> None:
    """The standard library's, which ends the header at a line that is no field, as many do."""
    content = head + b"\r\n" + body
    collector = HeaderCollector()
    try:
        found = collector.feed(content)
    except HeadersUnclear:
        return
    assert found
    for name, value in message_from_bytes(unstuff(content), policy=compat32).raw_items():
        text = value.replace("\r\n", "").strip().encode("ascii", "surrogateescape")
        assert text in found.block.values(name.encode("ascii", "surrogateescape"))


# Fields

BLOCK = (
    b"Received: from a.example\r\n\tby b.example\r\n"
    b"Subject: one\r\n"
    b"SUBJECT : two \r\n  words\r\n"
    b"no field\r\n"
    b"X-Subject: not it\r\n"
    b"Subject2: nor it\r\n"
    b"subject:\r\n"
    b"To: <b@example>\r\n"
)


def test_values_are_unfolded_and_found_in_any_case() -> None:
    headers = Headers(BLOCK)
    assert headers.values(b"Subject") == headers.values(b"sUBJECT") == [b"one", b"two   words", b""]
    assert headers.values(b"received") == [b"from a.example\tby b.example"]
    assert headers.values(b"to") == [b"<b@example>"]
    assert headers.values(b"Subj.ct") == []
    assert headers.values(b"from") == []


@pytest.mark.parametrize(
    ("block", "value"),
    [
        (b"Subject: a", b"a"),
        (b"junk\r\nSubject: a\r\n", b"a"),
        (b" continues nothing\r\nSubject: a\r\n", b"a"),
        (b"Subject\t: a\r\n", b"a"),
        (b"Subject\r\n : a\r\n", b"a"),
        (b"Subject \r\n\t \r\n : a\r\n", b"a"),
        (b"To: x\r\n \r\nSubject: a\r\n", b"a"),
        (b"Subject: a\r\n \r\n\t\r\n", b"a"),
        (b"Subject:\r\n a\r\n", b"a"),
        (b"Subject: a : b\r\n", b"a : b"),
    ],
)
@pytest.mark.parametrize("stuffed", [True, False])
def test_a_field_is_seen_wherever_some_receiver_sees_it(block: bytes, value: bytes, *, stuffed: bool) -> None:
    assert Headers(block, stuffed).values(b"Subject") == [value]


@pytest.mark.parametrize(
    ("block", "as_data", "as_bdat"),
    [
        (b".Subject: a\r\n", [b"a"], []),
        (b"..Subject: a\r\n", [], []),
        (b"Subject: a\r\n ..b\r\n", [b"a ..b"], [b"a ..b"]),
        (b"Subject: a\r\n.b\r\n", [b"a"], [b"a"]),
    ],
)
def test_a_dot_at_the_start_of_a_line_is_what_the_receiver_removes(
    block: bytes, as_data: list[bytes], as_bdat: list[bytes]
) -> None:
    assert Headers(block, stuffed=True).values(b"Subject") == as_data
    assert Headers(block, stuffed=False).values(b"Subject") == as_bdat


def test_a_new_field_comes_first_and_all_else_stays() -> None:
    headers = Headers(BLOCK).added(b"X-One", b"1").added(b"X-Two", b"2")
    assert headers.to_wire() == b"X-Two: 2\r\nX-One: 1\r\n" + BLOCK
    assert headers.values(b"x-one") == [b"1"]
    assert headers.added(b"Subject", b"zero").values(b"subject")[:2] == [b"zero", b"one"]


def test_every_field_of_a_name_is_removed_and_all_else_stays() -> None:
    removed = Headers(BLOCK).removed(b"SUBJECT")
    assert removed.values(b"subject") == []
    kept = [line for line in BLOCK.splitlines(keepends=True) if not line.lower().startswith((b"subject:", b"subject "))]
    assert removed.to_wire() == b"".join(kept).replace(b"  words\r\n", b"")
    assert Headers(b"A: 1\r\nB: 2").removed(b"B").to_wire() == b"A: 1\r\n"
    assert Headers(b"A: 1\r\nB: 2").removed(b"A").to_wire() == b"B: 2"
    assert Headers(b"A: 1\r\n 2\r\n").removed(b"A").to_wire() == b""
    assert Headers(b".A: 1\r\n 2\r\n..b: 3\r\n").removed(b"a").to_wire() == b"..b: 3\r\n"


def test_removing_what_is_not_there_is_no_change() -> None:
    headers = Headers(BLOCK)
    assert headers.removed(b"X-None") is headers
    removed = headers.removed(b"To")
    assert removed.removed(b"to") is removed


def test_edits_follow_one_another() -> None:
    headers = Headers(b"A: 1\r\nB: 2\r\n")
    assert headers.added(b"A", b"0").removed(b"A").to_wire() == b"B: 2\r\n"
    assert headers.removed(b"A").added(b"A", b"0").to_wire() == b"A: 0\r\nB: 2\r\n"
    assert headers.removed(b"A").added(b"A", b"0").values(b"A") == [b"0"]
    assert headers.added(b"C", b"3").removed(b"C").to_wire() == headers.block


@pytest.mark.parametrize(
    ("block", "written"),
    [
        (b"", b"X: y\r\n"),
        (b"Hello,\r\nworld\r\n", b"X: y\r\nHello,\r\nworld\r\n"),
        (b" Hello\r\nA: 1\r\n", b"X: y\r\n\r\n Hello\r\nA: 1\r\n"),
        (b"\tHello\r\n", b"X: y\r\n\r\n\tHello\r\n"),
        (b"From me\r\n Hello\r\n", b"From me\r\nX: y\r\n\r\n Hello\r\n"),
        (b"From me Mon Jan  1 00:00:00 2024\r\nA: 1\r\n", b"From me Mon Jan  1 00:00:00 2024\r\nX: y\r\nA: 1\r\n"),
        (b">From me\r\n>>From me\r\nA: 1\r\n", b">From me\r\n>>From me\r\nX: y\r\nA: 1\r\n"),
        (b"From: me\r\n", b"X: y\r\nFrom: me\r\n"),
    ],
)
def test_a_new_field_takes_nothing_of_a_broken_block_into_itself(block: bytes, written: bytes) -> None:
    assert Headers(block).added(b"X", b"y").to_wire() == written


field = st.builds(
    lambda name, value: name + b":" + value + b"\r\n",
    st.sampled_from([b"Subject", b"To", b"x-a", b"Junk line", b" more", b".dot"]),
    st.sampled_from([b" a", b"", b" a\r\n b", b" a\r\n \r\n\tb"]),
)


@given(
    block=st.lists(field, max_size=8).map(b"".join),
    stuffed=st.booleans(),
    name=st.sampled_from([b"subject", b"to", b"X-A", b"dot"]),
)
def test_removing_takes_exactly_what_is_found(block: bytes, *, stuffed: bool, name: bytes) -> None:
    headers = Headers(block, stuffed)
    assert headers.to_wire() is block
    removed = headers.removed(name)
    assert Headers(removed.to_wire(), stuffed).values(name) == []
    for other in (b"subject", b"to", b"x-a", b"dot"):
        if other != name.lower():
            assert removed.values(other) == headers.values(other)
            assert Headers(removed.to_wire(), stuffed).values(other) == headers.values(other)


@given(st.lists(field, max_size=8).map(b"".join))
def test_dots_make_no_difference_once_they_are_removed(block: bytes) -> None:
    for name in (b"subject", b"to", b"x-a", b"dot", b".dot"):
        assert Headers(stuff(block), stuffed=True).values(name) == Headers(block, stuffed=False).values(name)
        assert Headers(block, stuffed=True).values(name) == Headers(unstuff(block), stuffed=False).values(name)


@pytest.mark.parametrize(
    "block",
    [
        b"a:\r\n" * 65_536,
        b"a\r\n" * 87_000,
        b"a" * 262_144,
        b"a : b\r\n" + b" \r\n" * 87_000,
        b"a\r\n" + b" \r\n" * 87_000,
        b"a" + b" " * 262_000,
        b"\r\n" * 131_072,
    ],
    ids=["fields", "lines", "one line", "folded value", "folded name", "white space", "empty lines"],
)
def test_a_search_is_linear(block: bytes) -> None:
    def cost(size: int) -> float:
        start = time.process_time()
        Headers(block[:size]).values(b"a")
        return time.process_time() - start

    short = min(cost(32_768) for _ in range(5))
    assert min(cost(262_144) for _ in range(5)) < 8 * 5 * max(short, 0.0001)


# New fields


def test_a_short_field_is_one_line() -> None:
    assert fold(b"X-TLSLevel", b"Require") == b"X-TLSLevel: Require\r\n"
    assert fold(b"X", b"a" * 300) == b"X: " + b"a" * 300 + b"\r\n"


_GAP = re.compile(rb"[ \t]")


def test_folding_costs_no_more_than_its_length() -> None:
    def cost(size: int) -> float:
        start = time.process_time()
        fold(b"Subject", b"a" + b" " * size + b"b " * size + b"c")
        return time.process_time() - start

    short = min(cost(20_000) for _ in range(5))
    assert min(cost(160_000) for _ in range(5)) < 8 * 5 * max(short, 0.0001)


@given(
    st.text("abcdefghijkl-", min_size=1, max_size=40).map(str.encode),
    st.lists(st.text("ab:\t", max_size=30).map(str.encode), min_size=1, max_size=40).map(b" ".join).map(bytes.strip),
)
def test_a_long_field_is_folded_at_its_spaces_and_unfolds_to_itself(name: bytes, value: bytes) -> None:
    folded = fold(name, value)
    lines = folded.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 78 or not _GAP.search(line.strip().removeprefix(name + b": ")) for line in lines)
    assert all(line.strip() for line in lines)
    assert Headers(folded).values(name) == [value]
