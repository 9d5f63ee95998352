"""Read a ServerHello that passes by: what was chosen of what the client offered.

Source: RFC 8446 s4.1.3 (ServerHello), s4.1.4 (HelloRetryRequest: version and cipher suite stay what it says), s4.2.1;
RFC 7301 s3.1 (ALPN; in TLS 1.3 the choice is encrypted).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.collector import SERVER_HELLO
from smtpproxy.tls.vectors import Reader, extensions_of

_ALPN = 16
_SUPPORTED_VERSIONS = 43
_RANDOM_OCTETS = 32
_RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What a server chose.

    Args:
        version: the protocol's number.
        cipher: the suite's number.
        protocol: the application protocol, ``None`` if none was chosen or it cannot be seen.
        is_retry: whether it asks for another ClientHello first.
    """

    version: int
    cipher: int
    protocol: bytes | None
    is_retry: bool


def parse_server_hello(handshake: bytes) -> ServerHello:
    """Parse a whole handshake message: type (1 octet), length (3 octets), body.

    Raises:
        ProtocolError: ``malformed-hello`` if it is no well-formed ServerHello.
    """
    reader = Reader(handshake)
    if reader.integer(1) != SERVER_HELLO:
        raise ProtocolError("malformed-hello")
    body = Reader(reader.vector(3))
    reader.end()
    legacy_version = body.integer(2)
    random = body.take(_RANDOM_OCTETS)
    body.vector(1)  # session id
    cipher = body.integer(2)
    body.take(1)  # compression method
    extensions = extensions_of(body)
    return ServerHello(
        version=_version(legacy_version, extensions.get(_SUPPORTED_VERSIONS)),
        cipher=cipher,
        protocol=_protocol(extensions.get(_ALPN)),
        is_retry=random == _RETRY_RANDOM,
    )


def _version(legacy_version: int, extension: bytes | None) -> int:
    if extension is None:
        return legacy_version
    reader = Reader(extension)
    version = reader.integer(2)
    reader.end()
    return version


def _protocol(extension: bytes | None) -> bytes | None:
    if extension is None:
        return None
    reader = Reader(extension)
    names = Reader(reader.vector(2))
    reader.end()
    name = names.vector(1)
    names.end()  # exactly one
    return name
