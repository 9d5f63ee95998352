from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.records import MAX_FRAGMENT_OCTETS, RecordFollower


def record(kind: int, fragment: bytes, version: bytes = b"\3\3") -> bytes:
    return bytes([kind]) + version + len(fragment).to_bytes(2) + fragment


def is_tls(*pieces: bytes) -> bool:
    follower = RecordFollower()
    try:
        for piece in pieces:
            follower.feed(piece)
    except ProtocolError as error:
        return error.reason != "not-tls"
    return True


def bytewise(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


def test_every_content_type_passes_and_no_other() -> None:
    for kind in range(256):
        assert is_tls(record(kind, b"x")) == (20 <= kind <= 24)


def test_the_longest_record_passes_and_no_longer_one() -> None:
    assert is_tls(record(23, bytes(MAX_FRAGMENT_OCTETS)), record(21, b"\1\0"))
    assert not is_tls(record(23, bytes(MAX_FRAGMENT_OCTETS + 1))[:5])


def test_records_without_content_pass() -> None:
    assert is_tls(record(23, b"") * 3, record(23, b"x"))


def test_another_protocol_is_seen_at_its_first_wrong_octet() -> None:
    assert not is_tls(b"E")
    assert not is_tls(b"\x17\x02")
    assert not is_tls(record(22, b"hello"), b"MAIL FROM:<a@b.test>\r\n")
    assert not is_tls(record(22, b"hello") + b"M")


def test_what_is_in_a_record_is_not_looked_at() -> None:
    assert is_tls(record(23, b"MAIL FROM:<a@b.test>\r\n"))


@given(st.lists(st.tuples(st.integers(20, 24), st.binary(max_size=40))), st.data())
def test_any_cut_leads_to_the_same(records: list[tuple[int, bytes]], data: st.DataObject) -> None:
    flight = b"".join(record(kind, fragment) for kind, fragment in records)
    cut = data.draw(st.integers(0, len(flight)))
    assert is_tls(flight[:cut], flight[cut:])
    assert is_tls(*bytewise(flight))
    assert not is_tls(flight[:cut], flight[cut:], b"2")
    assert not is_tls(*bytewise(flight), b"2")
