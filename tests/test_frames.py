from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.frames import MAX_FRAME_OCTETS, FrameError, FrameReader, pack


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=4), max_size=4), st.integers(1, 9))
def test_what_was_packed_is_read_in_any_pieces(frames: list[list[bytes]], step: int) -> None:
    octets = b"".join(map(pack, frames))
    for size in (step, len(octets) or 1):
        reader = FrameReader()
        pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
        assert [fields for piece in pieces for fields in reader.feed(piece)] == frames


@pytest.mark.parametrize(
    "octets",
    [
        (MAX_FRAME_OCTETS + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x02\x00\x00",
        b"\x00\x00\x00\x06\x00\x00\x00\x03ab",
    ],
    ids=["too long", "a length cut off", "a field cut off"],
)
def test_what_is_no_frame_is_refused(octets: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader().feed(octets))


def test_what_is_too_long_is_not_packed() -> None:
    with pytest.raises(FrameError):
        pack([bytes(MAX_FRAME_OCTETS)])


def test_a_reader_may_take_less() -> None:
    reader = FrameReader(limit_octets=8)
    assert list(reader.feed(pack([b"four"]))) == [[b"four"]]
    with pytest.raises(FrameError):
        list(reader.feed(pack([b"fives"])[:4]))
