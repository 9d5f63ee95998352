"""Take a handshake message apart: length-prefixed vectors, and the extensions that end a hello.

Source: RFC 8446 s3.4 (vectors), s4.2 (extensions); RFC 5246 s7.4.1.2.
"""

from __future__ import annotations

import struct

from smtpproxy.errors import ProtocolError

_EXTENSION_HEADER = struct.Struct(">HH")  # type and length


def extensions_of(body: Reader) -> dict[int, bytes]:
    """Return the extensions that end a hello, by their type.

    Raises:
        ProtocolError: ``malformed-hello`` if they do not add up, or one comes twice.
    """
    extensions: dict[int, bytes] = {}
    if body.at_end():  # RFC 5246 s7.4.1.2: a hello may end here
        return extensions
    block = body.vector(2)
    body.end()
    position, end = 0, len(block)
    while position < end:
        start = position + _EXTENSION_HEADER.size
        if start > end:
            raise ProtocolError("malformed-hello")
        kind, length = _EXTENSION_HEADER.unpack_from(block, position)
        position = start + length
        if position > end or kind in extensions:  # RFC 8446 s4.2: none comes twice
            raise ProtocolError("malformed-hello")
        extensions[kind] = block[start:position]
    return extensions


class Reader:
    """Takes length-prefixed vectors off a message, and refuses what does not add up.

    Args:
        octets: the message.
        reason: the token of the `ProtocolError` that whatever does not add up raises.
    """

    __slots__ = ("_end", "_octets", "_position", "_reason")

    def __init__(self, octets: bytes, reason: str = "malformed-hello") -> None:
        self._octets = octets
        self._end = len(octets)
        self._position = 0
        self._reason = reason

    def take(self, count: int) -> bytes:
        """Return the next ``count`` octets."""
        start, self._position = self._position, self._position + count
        if self._position > self._end:
            raise ProtocolError(self._reason)
        return self._octets[start : self._position]

    def integer(self, count: int) -> int:
        """Return the next ``count`` octets as a number."""
        return int.from_bytes(self.take(count))

    def vector(self, length_octets: int) -> bytes:
        """Return the octets behind a length of ``length_octets`` octets."""
        start = self._position + length_octets
        end = start + int.from_bytes(self._octets[self._position : start])
        if end > self._end:  # a length cut short too, for then `start` is beyond the end
            raise ProtocolError(self._reason)
        self._position = end
        return self._octets[start:end]

    def at_end(self) -> bool:
        """Return whether nothing is left."""
        return self._position == self._end

    def end(self) -> None:
        """Refuse anything that is left."""
        if self._position != self._end:
            raise ProtocolError(self._reason)
