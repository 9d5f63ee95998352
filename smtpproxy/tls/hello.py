"""Read a ClientHello before any TLS library sees it: server name, versions, what certificates the client can verify.

Source: RFC 8446 s4.1.2, s4.2.1, s4.2.3, s4.2.11 (pre-shared key); RFC 5246 s7.4.1.2; RFC 6066 s3 (server name);
RFC 7301 s3.1 (ALPN); RFC 8422 s5.1 (curves and ECDSA).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.collector import CLIENT_HELLO, HelloCollector
from smtpproxy.tls.facts import TlsVersion
from smtpproxy.tls.vectors import Reader, extensions_of

__all__ = ["ClientHello", "HelloCollector", "parse_client_hello"]

MAX_SERVER_NAME_OCTETS = 255
"""OpenSSL's limit too (TLSEXT_MAXLEN_host_name); a DNS name has at most 253."""

_SERVER_NAME = 0
_SUPPORTED_GROUPS = 10
_SIGNATURE_ALGORITHMS = 13
_ALPN = 16
_PRE_SHARED_KEY = 41
_SUPPORTED_VERSIONS = 43
_HOST_NAME = 0
_RANDOM_OCTETS = 32
_GRAPHIC = frozenset(range(0x21, 0x7F))

_SECP256R1 = 0x0017
_ECDSA_SECP256R1_SHA256 = 0x0403
_ECDSA_ALGORITHMS = frozenset({0x0403, 0x0503, 0x0603})
_ECDHE_ECDSA_SUITES = frozenset(
    {
        *(0xC009, 0xC00A),  # AES-CBC with SHA-1 (RFC 8422 s6)
        *(0xC023, 0xC024, 0xC02B, 0xC02C),  # AES-CBC with SHA-2, AES-GCM (RFC 5289 s3)
        *(0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF),  # AES-CCM (RFC 7251 s2)
        0xCCA9,  # ChaCha20-Poly1305 (RFC 7905 s2)
    }
)


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client asks for.

    Args:
        server_name: the host name of its SNI, as sent, ``None`` without.
        versions: protocol numbers on offer, best first as the client orders them, reserved values (GREASE) included.
        ciphers: cipher suites by number.
        signature_algorithms: by number, empty if the extension is missing.
        groups: key exchange groups by number, ``None`` if the extension is missing.
        offers_session: whether it would resume a session of TLS 1.3.
        protocols: application protocols on offer (ALPN), best first.
    """

    server_name: str | None
    versions: tuple[int, ...]
    ciphers: tuple[int, ...]
    signature_algorithms: tuple[int, ...]
    groups: tuple[int, ...] | None
    offers_session: bool = False
    protocols: tuple[bytes, ...] = ()

    @property
    def highest_version(self) -> TlsVersion | None:
        """The best version that is known here, ``None`` if there is none."""
        return max((known for known in TlsVersion if known in self.versions), default=None)

    @property
    def takes_tickets(self) -> bool:
        """Whether a ticket is worth its octets.

        Before TLS 1.3 a hello says so by an extension that the library looks at. A client of TLS 1.3 shows it by the
        session that it offers: most clients keep none, and tell nobody.
        """
        return self.offers_session or TlsVersion.TLS1_3 not in self.versions

    @property
    def has_ecdsa(self) -> bool:
        """Whether a certificate with an ECDSA P-256 key will do.

        TLS 1.3 ties the curve to the signature algorithm; before, the suite, the curve and (in 1.2) the algorithm
        have to be offered each by itself.
        """
        if TlsVersion.TLS1_3 in self.versions:
            return _ECDSA_SECP256R1_SHA256 in self.signature_algorithms
        if self.groups is not None and _SECP256R1 not in self.groups:
            return False
        if self.signature_algorithms and _ECDSA_ALGORITHMS.isdisjoint(self.signature_algorithms):
            return False
        return not _ECDHE_ECDSA_SUITES.isdisjoint(self.ciphers)


def parse_client_hello(handshake: bytes) -> ClientHello:
    """Parse a whole handshake message: type (1 octet), length (3 octets), body.

    Raises:
        ProtocolError: ``malformed-hello`` if it is no well-formed ClientHello, ``malformed-server-name`` if its
            server name is not one host name of graphic ASCII.
    """
    reader = Reader(handshake)
    if reader.integer(1) != CLIENT_HELLO:
        raise ProtocolError("malformed-hello")
    body = Reader(reader.vector(3))
    reader.end()
    legacy_version = body.integer(2)
    body.take(_RANDOM_OCTETS)
    body.vector(1)  # session id
    ciphers = _numbers(body.vector(2))
    body.vector(1)  # compression methods
    extensions = extensions_of(body)
    return _client_hello(legacy_version, ciphers, extensions)


def _client_hello(legacy_version: int, ciphers: tuple[int, ...], extensions: dict[int, bytes]) -> ClientHello:
    groups = extensions.get(_SUPPORTED_GROUPS)
    algorithms = extensions.get(_SIGNATURE_ALGORITHMS)
    return ClientHello(
        server_name=_server_name(extensions.get(_SERVER_NAME)),
        versions=_versions(legacy_version, extensions.get(_SUPPORTED_VERSIONS)),
        ciphers=ciphers,
        signature_algorithms=_list_of_numbers(algorithms, 2) if algorithms is not None else (),
        groups=_list_of_numbers(groups, 2) if groups is not None else None,
        offers_session=_PRE_SHARED_KEY in extensions,
        protocols=_protocols(extensions[_ALPN]) if _ALPN in extensions else (),
    )


def _versions(legacy_version: int, extension: bytes | None) -> tuple[int, ...]:
    """Without the extension a client speaks its legacy version and all before it (RFC 8446 s4.2.1)."""
    if extension is not None:
        return _list_of_numbers(extension, 1)
    newest = min(legacy_version, TlsVersion.TLS1_2)
    return tuple(version.value for version in sorted(TlsVersion, reverse=True) if version <= newest)


def _server_name(extension: bytes | None) -> str | None:
    if extension is None:
        return None
    reader = Reader(extension, reason="malformed-server-name")
    entries = Reader(reader.vector(2), reason="malformed-server-name")
    reader.end()
    kind, name = entries.integer(1), entries.vector(2)
    entries.end()  # one name of a type at most, and no other type was ever defined
    if kind != _HOST_NAME or not 0 < len(name) <= MAX_SERVER_NAME_OCTETS or not _GRAPHIC.issuperset(name):
        raise ProtocolError("malformed-server-name")
    return name.decode("ascii")


def _list_of_numbers(extension: bytes, length_octets: int) -> tuple[int, ...]:
    reader = Reader(extension)
    numbers = _numbers(reader.vector(length_octets))
    reader.end()
    return numbers


def _protocols(extension: bytes) -> tuple[bytes, ...]:
    reader = Reader(extension)
    names = Reader(reader.vector(2))
    reader.end()
    protocols = []
    while not names.at_end():
        protocols.append(names.vector(1))
    return tuple(protocols)


def _numbers(octets: bytes) -> tuple[int, ...]:
    if not octets or len(octets) % 2:
        raise ProtocolError("malformed-hello")
    return struct.unpack(f">{len(octets) // 2}H", octets)
