"""Follow the records of a TLS connection by their headers, so that nothing else passes for one.

Source: RFC 8446 s5.1, s5.2 (a ciphertext has 2^14 + 256 octets at the most); RFC 5246 s6.2.3 (in TLS 1.2 it has 2^14 +
2048); RFC 6520 s3 (heartbeat).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.errors import ProtocolError

MAX_FRAGMENT_OCTETS: Final = 2**14 + 2048

_HEADER_OCTETS: Final = 5
_CONTENT_TYPES: Final = frozenset({20, 21, 22, 23, 24})
"""Change cipher spec, alert, handshake, application data, heartbeat."""

_MAJOR_VERSION: Final = 3


class RecordFollower:
    """Looks at each record's header, at none of what is in it; the price is one step a record, not one an octet."""

    __slots__ = ("_header", "_to_skip")

    def __init__(self) -> None:
        self._header = b""  # what has come of one
        self._to_skip = 0  # octets of a record that are still to come

    def feed(self, data: bytes) -> None:
        """Take the next octets, cut anywhere.

        Raises:
            ProtocolError: ``not-tls``, as soon as an octet of a header is wrong.
        """
        position, size = min(self._to_skip, len(data)), len(data)
        self._to_skip -= position
        while position < size:
            header = self._header + data[position : position + _HEADER_OCTETS - len(self._header)]
            position += len(header) - len(self._header)
            _check(header)
            if len(header) < _HEADER_OCTETS:
                self._header = header
                return
            self._header = b""
            fragment_octets = int.from_bytes(header[3:])
            step = min(fragment_octets, size - position)
            position += step
            self._to_skip = fragment_octets - step


def _check(header: bytes) -> None:
    if header[0] not in _CONTENT_TYPES or (len(header) > 1 and header[1] != _MAJOR_VERSION):
        raise ProtocolError("not-tls")
    if len(header) == _HEADER_OCTETS and int.from_bytes(header[3:]) > MAX_FRAGMENT_OCTETS:
        raise ProtocolError("not-tls")
