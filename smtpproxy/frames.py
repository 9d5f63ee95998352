"""Turn lists of octet strings into frames on a pipe or a socket, and back."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from smtpproxy.errors import SmtpProxyError

MAX_FRAME_OCTETS = 16 * 1024 * 1024
"""The authorities of a trust store are the longest: a distribution's have 200 KiB."""

_LENGTH = struct.Struct("!I")


class FrameError(SmtpProxyError):
    """What came is no frame."""


def pack(fields: Sequence[bytes]) -> bytes:
    """Return a frame of ``fields``.

    Raises:
        FrameError: they are too long for one.
    """
    body = b"".join(_LENGTH.pack(len(field)) + field for field in fields)
    if len(body) > MAX_FRAME_OCTETS:
        raise FrameError(f"{len(body)} octets are too many for a frame")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts frames out of octets that come in any pieces.

    Args:
        limit_octets: of a frame.
    """

    __slots__ = ("_buffer", "_limit_octets")

    def __init__(self, limit_octets: int = MAX_FRAME_OCTETS) -> None:
        self._buffer = bytearray()
        self._limit_octets = limit_octets

    def feed(self, octets: bytes) -> Iterator[list[bytes]]:
        """Yield the fields of each frame that is whole.

        Raises:
            FrameError: what came is none.
        """
        self._buffer += octets
        while (body := self._next()) is not None:
            yield list(_fields(body))

    def _next(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._limit_octets:
            raise FrameError(f"a frame of {length} octets")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return body


def _fields(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        if at + _LENGTH.size > len(body):
            raise FrameError("a length that is cut off")
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        if at + length > len(body):
            raise FrameError("a field that is cut off")
        yield body[at : at + length]
        at += length
