"""Collect the first handshake message of a TLS connection from its records.

Source: RFC 8446 s5.1 (records, and messages that span them); RFC 5246 s6.2.1.
"""

from __future__ import annotations

from smtpproxy.errors import ProtocolError

MAX_HELLO_OCTETS = 64 * 1024
"""Octets of the connection that a hello with its record headers may take: real ones have 200 to 2,000."""

CLIENT_HELLO = 1
SERVER_HELLO = 2
_HANDSHAKE = 22
_MAJOR_VERSION = 3
_RECORD_HEADER_OCTETS = 5
_MAX_FRAGMENT_OCTETS = 16384
_MESSAGE_HEADER_OCTETS = 4


class HelloCollector:
    """Takes a connection's first octets, cut anywhere, until its hello is whole.

    The TLS library has to get every octet of it again, those behind the hello included: see ``raw``.

    Args:
        kind: the type of the handshake message that is to come.
    """

    __slots__ = ("_kind", "_message", "_position", "_raw")

    def __init__(self, kind: int = CLIENT_HELLO) -> None:
        self._kind = kind
        self._raw = bytearray()
        self._position = 0  # where the next record begins
        self._message = bytearray()

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._raw)

    @property
    def raw(self) -> bytes:
        """All octets fed so far."""
        return bytes(self._raw)

    def feed(self, data: bytes) -> bytes | None:
        """Take the next octets; return the whole handshake message once it is there, ``None`` before.

        Raises:
            ProtocolError: ``not-tls`` if this is no TLS record with that hello, ``hello-too-long`` if the hello does
                not end within ``MAX_HELLO_OCTETS`` of the connection.
        """
        self._raw += data
        while (message := self._whole_message()) is None:
            if not self._take_record():
                return None
        return message

    def _whole_message(self) -> bytes | None:
        message = self._message
        if message and message[0] != self._kind:
            raise ProtocolError("not-tls")
        if len(message) < _MESSAGE_HEADER_OCTETS:
            return None
        end = _MESSAGE_HEADER_OCTETS + int.from_bytes(message[1:_MESSAGE_HEADER_OCTETS])
        if end > MAX_HELLO_OCTETS:
            raise ProtocolError("hello-too-long")
        return bytes(message[:end]) if len(message) >= end else None

    def _take_record(self) -> bool:
        header = self._raw[self._position : self._position + _RECORD_HEADER_OCTETS]
        _check_header(header)
        if len(header) < _RECORD_HEADER_OCTETS:
            return False
        start = self._position + _RECORD_HEADER_OCTETS
        end = start + int.from_bytes(header[3:])
        if end > MAX_HELLO_OCTETS:
            raise ProtocolError("hello-too-long")
        if len(self._raw) < end:
            return False
        self._message += self._raw[start:end]
        self._position = end
        return True


def _check_header(header: bytearray) -> None:
    """Refuse as soon as an octet is wrong, so that another protocol's client is not kept waiting for more."""
    if header and header[0] != _HANDSHAKE:
        raise ProtocolError("not-tls")
    if len(header) > 1 and header[1] != _MAJOR_VERSION:
        raise ProtocolError("not-tls")
    if len(header) == _RECORD_HEADER_OCTETS and not 0 < int.from_bytes(header[3:]) <= _MAX_FRAGMENT_OCTETS:
        raise ProtocolError("not-tls")
