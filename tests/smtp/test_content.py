from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpproxy.smtp.content import ContentFault, ContentReader, stuff, unstuff
from tests.smtp.feeds import FEEDS, cut
from tests.smtp.reference_content import read_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

END = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Read:
    octets: bytes
    ended: bool
    rest: bytes
    fault: ContentFault | None
    normalized: bool
    octets_in: int


def read(pieces: Iterable[bytes], *, normalize: bool = True) -> Read:
    reader = ContentReader(bare_newline_normalize=normalize)
    octets, ended, rest, sent = b"", False, b"", 0
    for piece in pieces:
        chunk = reader.feed(piece)
        octets += chunk.octets
        ended = ended or chunk.ended
        rest += chunk.rest
        sent += len(piece)
        held = sent - reader.octets_in - len(rest) - (3 if ended else 0)
        assert 0 <= held <= 4
        assert not ended or held == 0
    return Read(octets, ended, rest, reader.fault, reader.normalized, reader.octets_in)


octets_that_matter = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\0", b"\r\n", b"\r\n.", END])).map(b"".join)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"Subject: x\r\n\r\n..\r\n.\r\n", b"Subject: x\r\n\r\n..\r\n"),
        (b".a\r\n.\r\n", b".a\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"..\r\n...\r\n.\r\n", b"..\r\n...\r\n"),
        (b"a\0b\r\n\0.\r\n.\0\r\n.\r\n", b"a\0b\r\n\0.\r\n.\0\r\n"),
        (b"\xff\xfe\x80\r\n.\r\n", b"\xff\xfe\x80\r\n"),
        (b"x" * 5_000 + END, b"x" * 5_000 + b"\r\n"),
    ],
)
def test_content_without_bare_newline_passes_as_it_came(
    feed: Callable[[bytes], list[bytes]], wire: bytes, content: bytes
) -> None:
    for normalize in (True, False):
        for tail in (b"", b"QUIT\r\n"):
            expected = Read(content, True, tail, None, False, len(content))
            assert read(feed(wire + tail), normalize=normalize) == expected


def test_after_the_end_everything_is_rest() -> None:
    reader = ContentReader(bare_newline_normalize=True)
    reader.feed(b".\r\n")
    chunk = reader.feed(b"a\n.\r\n")
    assert (chunk.octets, chunk.ended, chunk.rest) == (b"", True, b"a\n.\r\n")


LOOK_ALIKES = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "LF . CR": b"\n.\r",
    "CR . LF": b"\r.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "CRLF . CRCR X LF": b"\r\n.\r\rX\n",
    "CRCRLF . CRCRLF": b"\r\r\n.\r\r\n",
    "LFLF . CRLF": b"\n\n.\r\n",
    "LFLF . LFLF": b"\n\n.\n\n",
    "CRLFLF . CRLF": b"\r\n\n.\r\n",
    "LFCR . LFCR": b"\n\r.\n\r",
    "LFCRLF . LF": b"\n\r\n.\n",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "CR NUL LF . CRLF": b"\r\0\n.\r\n",
    "CRLF . CR NUL LF": b"\r\n.\r\0\n",
    "CRLF SP . CRLF": b"\r\n .\r\n",
    "CRLF . SP CRLF": b"\r\n. \r\n",
    "CRLF .. CRLF": b"\r\n..\r\n",
    "NEL . NEL": b"\xc2\x85.\xc2\x85",
    "LINE SEPARATOR . LINE SEPARATOR": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "VT . VT": b"\x0b.\x0b",
    "FF . FF": b"\x0c.\x0c",
}
SMUGGLED = b"MAIL FROM:<evil@example.com>\r\n"


@pytest.mark.parametrize("normalize", [True, False], ids=["normalize", "reject"])
@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("look_alike", LOOK_ALIKES.values(), ids=LOOK_ALIKES.keys())
def test_look_alike_ends_nothing_and_never_reaches_upstream_as_one(
    feed: Callable[[bytes], list[bytes]], look_alike: bytes, *, normalize: bool
) -> None:
    got = read(feed(b"body" + look_alike + SMUGGLED + END), normalize=normalize)
    assert got.ended
    assert got.rest == b""
    assert got.octets_in == len(b"body" + look_alike + SMUGGLED) + 2
    assert END not in b"\r\n" + got.octets
    if got.fault is None:
        assert SMUGGLED in got.octets
        assert bare_newlines(got.octets) == 0
    else:
        assert SMUGGLED not in got.octets


@pytest.mark.parametrize("feed", FEEDS)
def test_crcrlf_dot_crlf_is_a_true_end_behind_a_bare_cr(feed: Callable[[bytes], list[bytes]]) -> None:
    got = read(feed(b"a\r\r\n.\r\nQUIT\r\n"))
    assert (got.ended, got.rest, got.fault) == (True, b"QUIT\r\n", ContentFault.BARE_CR)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    ("came", "goes"),
    [
        (b"a\nb", b"a\r\nb"),
        (b"\n", b"\r\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"a\r\n.\n", b"a\r\n\r\n"),
        (b".\n", b"\r\n"),
        (b"a\n.\r\n", b"a\r\n..\r\n"),
        (b"a\n.\n", b"a\r\n..\r\n"),
        (b"a\n.foo", b"a\r\n..foo"),
        (b"a\n..foo", b"a\r\n...foo"),
        (b"a\r\n..foo\n", b"a\r\n..foo\r\n"),
        (b"a\r\n..\n", b"a\r\n..\r\n"),
        (b"a\n\r\n..b", b"a\r\n\r\n..b"),
        (b"a\r\n\n.\n\r\n.\n.", b"a\r\n\r\n..\r\n\r\n\r\n.."),
        (b".stuffed but not needed\r\na\nb", b".stuffed but not needed\r\na\r\nb"),
    ],
)
def test_normalize_makes_a_bare_lf_crlf_and_stuffs_dots_anew(
    feed: Callable[[bytes], list[bytes]], came: bytes, goes: bytes
) -> None:
    assert read(feed(came + END)) == Read(goes + b"\r\n", True, b"", None, True, len(came) + 2)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    ("came", "normalize", "fault"),
    [
        (b"a\nb", False, ContentFault.BARE_LF),
        (b"\n", False, ContentFault.BARE_LF),
        (b"a\rb", False, ContentFault.BARE_CR),
        (b"a\rb", True, ContentFault.BARE_CR),
        (b"\r\r", True, ContentFault.BARE_CR),
        (b"a\n\rb", True, ContentFault.BARE_CR),
        (b"a\n\rb", False, ContentFault.BARE_LF),
        (b"a\rb\nc", False, ContentFault.BARE_CR),
        (b"a\rX\n", True, ContentFault.BARE_CR),
        (b"a\r\nb\r\r\n", True, ContentFault.BARE_CR),
    ],
)
def test_fault_is_the_first_one_and_the_true_end_is_still_found(
    feed: Callable[[bytes], list[bytes]], came: bytes, *, normalize: bool, fault: ContentFault
) -> None:
    got = read(feed(came + b"\r\nmore\nand\rmore" + END + b"NOOP\r\n"), normalize=normalize)
    assert (got.fault, got.ended, got.rest) == (fault, True, b"NOOP\r\n")
    assert b"more" not in got.octets
    assert not got.normalized


def test_dot_at_the_start_of_a_later_chunk_is_no_end_when_a_fault_stopped_the_line_before() -> None:
    got = read([b"a\rb\r\n", b"c", b".\r\n", b".\r\n"])
    assert got.ended
    assert got.octets_in == len(b"a\rb\r\nc.\r\n")


def test_every_short_input_cut_anywhere_does_what_the_reference_automaton_does() -> None:
    for length in range(7):
        for octets in itertools.product(b"\r\n.a", repeat=length):
            data = bytes(octets) + END
            agrees_with_reference([[data[:place], data[place:]] for place in range(length + 1)], data)


@given(cut(octets_that_matter))
@example((b"\r\n.\n.\r\n", [b"\r\n.", b"\n.\r", b"\n"]))
def test_any_input_in_any_cut_does_what_the_reference_automaton_does(drawn: tuple[bytes, list[bytes]]) -> None:
    data, pieces = drawn
    agrees_with_reference([[*pieces, END], FEEDS[1](data + END)], data + END)


def agrees_with_reference(cuts: list[list[bytes]], data: bytes) -> None:
    for normalize in (True, False):
        expected = read_content(data, normalize=normalize)
        for pieces in cuts:
            got = read(pieces, normalize=normalize)
            fault = got.fault and got.fault.value
            assert (got.ended, got.rest, fault) == (expected.ended, expected.rest, expected.fault)
            assert got.octets == expected.octets or (fault and expected.octets.startswith(got.octets))


@given(cut(octets_that_matter))
def test_upstream_decodes_what_the_client_said_with_each_bare_lf_as_end_of_line(
    drawn: tuple[bytes, list[bytes]],
) -> None:
    _, pieces = drawn
    got = read([*pieces, END])
    if got.fault is None:
        said = unstuff((b"".join(pieces) + END)[: got.octets_in])
        assert unstuff(got.octets) == b"\r\n".join(part.replace(b"\n", b"\r\n") for part in said.split(b"\r\n"))
        assert END not in b"\r\n" + got.octets
        assert bare_newlines(got.octets) == 0


@given(data=st.binary(), normalize=st.booleans())
def test_random_octets_raise_nothing(data: bytes, *, normalize: bool) -> None:
    assert read([data], normalize=normalize).octets_in <= len(data)


@given(octets_that_matter)
def test_unstuff_undoes_stuff(content: bytes) -> None:
    assert unstuff(stuff(content)) == content


@given(octets_that_matter)
def test_stuffed_content_holds_no_end(content: bytes) -> None:
    assert END not in b"\r\n" + stuff(content)


def test_stuffed_content_is_read_whole() -> None:
    content = b".\r\n..\r\n.a\r\n.\r\n"
    assert unstuff(read([stuff(content) + b".\r\n"]).octets) == content


def bare_newlines(octets: bytes) -> int:
    left = octets.replace(b"\r\n", b"")
    return left.count(b"\r") + left.count(b"\n")
