from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.collector import MAX_HELLO_OCTETS, HelloCollector

MESSAGE = b"\x01" + (300).to_bytes(3) + bytes(range(100)) * 3


def record(fragment: bytes, kind: int = 22, version: bytes = b"\3\1") -> bytes:
    return bytes([kind]) + version + len(fragment).to_bytes(2) + fragment


def in_records(message: bytes, size: int) -> bytes:
    return b"".join(record(message[at : at + size]) for at in range(0, len(message), size))


def outcome(*pieces: bytes) -> bytes | str | None:
    collector, result = HelloCollector(), None
    try:
        for piece in pieces:
            result = result or collector.feed(piece)
    except ProtocolError as error:
        return error.reason
    return result


def three_feeds(octets: bytes) -> set[bytes | str | None]:
    bytewise = [octets[at : at + 1] for at in range(len(octets))]
    return {outcome(octets), outcome(*bytewise), outcome(octets + b"tail")}


def test_one_record() -> None:
    assert three_feeds(record(MESSAGE)) == {MESSAGE}


def test_several_records() -> None:
    assert three_feeds(in_records(MESSAGE, 7)) == {MESSAGE}
    assert three_feeds(in_records(MESSAGE, 1)) == {MESSAGE}


def test_what_follows_in_the_same_record_is_no_part_of_it() -> None:
    assert outcome(record(MESSAGE + b"more")) == MESSAGE


def test_an_unfinished_hello_is_none() -> None:
    assert outcome() is None
    assert outcome(record(MESSAGE)[:-1]) is None
    assert outcome(record(MESSAGE[:3])) is None


def test_other_protocols_are_seen_at_the_first_wrong_octet() -> None:
    assert outcome(b"E") == "not-tls"
    assert outcome(b"\x16\x02") == "not-tls"
    assert three_feeds(b"GET / HTTP/1.1\r\n") == {"not-tls"}
    assert three_feeds(b"\x80\x2e\x01\x03\x01") == {"not-tls"}  # a hello of SSL 2
    assert three_feeds(record(b"\x02\x28", kind=21)) == {"not-tls"}


def test_records_that_no_hello_has_are_refused() -> None:
    assert three_feeds(b"\x16\3\1\0\0") == {"not-tls"}
    assert three_feeds(b"\x16\3\1\x40\x01") == {"not-tls"}
    assert three_feeds(record(b"\x02" + MESSAGE[1:])) == {"not-tls"}


def test_a_declared_length_over_the_limit_is_refused_at_once() -> None:
    assert outcome(record(b"\x01\xff\xff\xff")) == "hello-too-long"


def test_record_headers_count_towards_the_limit() -> None:
    message = b"\x01" + (MAX_HELLO_OCTETS // 6).to_bytes(3) + bytes(MAX_HELLO_OCTETS // 6)
    assert outcome(in_records(message, 1)) == "hello-too-long"


def test_the_longest_hello_that_fits_passes() -> None:
    room = MAX_HELLO_OCTETS - 4 * 5 - 4
    message = b"\x01" + room.to_bytes(3) + bytes(room)
    assert outcome(in_records(message, 16384)) == message
    longer = b"\x01" + (room + 1).to_bytes(3) + bytes(room + 1)
    assert outcome(in_records(longer, 16384)) == "hello-too-long"


def test_every_octet_fed_can_be_had_again() -> None:
    collector = HelloCollector()
    flight = record(MESSAGE) + record(b"early data", kind=23)
    collector.feed(flight[:50])
    collector.feed(flight[50:])
    assert collector.raw == flight


@given(st.integers(1, 400), st.lists(st.integers(0, 700), max_size=5), st.binary(max_size=20))
def test_any_cut_gives_the_same_hello(size: int, cuts: list[int], tail: bytes) -> None:
    flight = in_records(MESSAGE, size) + tail
    edges = [0, *sorted(cuts), len(flight)]
    pieces = [flight[start:end] for start, end in pairwise(edges)]
    assert outcome(*pieces) == MESSAGE


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x16", b"\x16\3\1", b"\x16\3\3\0\x05", b"\x16\3\1\0\x05\1\0\0\0"])
)
def test_random_octets_give_the_same_whole_and_octet_by_octet(octets: bytes, head: bytes) -> None:
    flight = head + octets
    assert outcome(flight) == outcome(*(flight[at : at + 1] for at in range(len(flight))))
