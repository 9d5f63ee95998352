"""Ways to cut an input, for parsers whose result must not depend on it."""

from __future__ import annotations

from hypothesis import strategies as st


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


FEEDS = (whole, byte_by_byte)


@st.composite
def cut(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """Draw an input and its pieces."""
    octets = draw(data)
    places = sorted(draw(st.lists(st.integers(0, len(octets)), max_size=12)))
    return octets, [octets[begin:end] for begin, end in zip([0, *places], [*places, len(octets)], strict=True)]
