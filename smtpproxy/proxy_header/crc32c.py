"""CRC32c, the checksum of PROXY headers.

Source: RFC 4960 appendix B (Castagnoli polynomial 0x1EDC6F41, reflected); RFC 3720 appendix B.4 (examples).
"""

from __future__ import annotations

from typing import Final

_REFLECTED: Final = 0x82F63B78
_ONES: Final = 0xFFFFFFFF


def crc32c(octets: bytes) -> int:
    """Return the checksum; some 0.1 us an octet, which headers of a few hundred can afford."""
    register = _ONES
    for octet in octets:
        register = _TABLE[(register ^ octet) & 0xFF] ^ (register >> 8)
    return register ^ _ONES


def _entry(index: int) -> int:
    for _ in range(8):
        index = (index >> 1) ^ (_REFLECTED if index & 1 else 0)
    return index


_TABLE: Final = tuple(_entry(index) for index in range(256))
