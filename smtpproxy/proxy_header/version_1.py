"""PROXY headers of version 1: one line of text.

Source: HAProxy's doc/proxy-protocol.txt s2.1.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from smtpproxy.endpoint import Endpoint
from smtpproxy.proxy_header.header import Header, HeaderError, Proxied, Unknown

MAX_OCTETS: Final = 107
"""The longest line, with its CRLF."""

PREFIX: Final = b"PROXY "

# "PROXY" SP "TCP4" / "TCP6" SP source SP destination SP port SP port CRLF ; exactly one space, no leading zeros
_PORT: Final = rb"(0|[1-9][0-9]{0,4})"
_TCP: Final = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]++) ([0-9A-Fa-f:.]++) %b %b\r\n" % (_PORT, _PORT))
# "PROXY" SP "UNKNOWN" [SP anything] CRLF ; what stands there is to be passed over
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*+)?\r\n")
_FAMILIES: Final = {b"4": IPv4Address, b"6": IPv6Address}
_MAX_PORT: Final = 65535


def parse_line(line: bytes) -> Header:
    """Parse a whole line with its CRLF.

    Raises:
        HeaderError: ``proxy-header-syntax``.
    """
    if _UNKNOWN.fullmatch(line):
        return Unknown()
    match = _TCP.fullmatch(line)
    if match is None:
        raise HeaderError("proxy-header-syntax")
    family, source, destination, source_port, destination_port = match.groups()
    return Proxied(_endpoint(family, source, source_port), _endpoint(family, destination, destination_port))


def to_line(header: Header) -> bytes:
    """Return a header as a line; what version 1 cannot say (TLVs, LOCAL) is left out."""
    if not isinstance(header, Proxied):
        return b"PROXY UNKNOWN\r\n"
    client, destination = header.client, header.destination
    family = 6 if ":" in client.host else 4
    ends = f"{client.host} {destination.host} {client.port} {destination.port}"
    return f"PROXY TCP{family} {ends}\r\n".encode()


def octets_to_come(begun: bytes) -> int:
    """Return how many octets more a line that is not whole has at least.

    Raises:
        HeaderError: it can become none.
    """
    to_come = 1 if begun.endswith(b"\r") else _least(begun)
    if len(begun) + to_come > MAX_OCTETS:
        raise HeaderError("proxy-header-too-long")
    return to_come


def _least(begun: bytes) -> int:
    if b"\n" in begun or b"\r" in begun:
        raise HeaderError("proxy-header-syntax")
    shortest = next((octets for word, octets in _SHORTEST.items() if _agree(begun, word)), None)
    if shortest is None:
        raise HeaderError("proxy-header-syntax")
    return max(shortest - len(begun), 2)


_SHORTEST: Final = {
    b"PROXY UNKNOWN": len(b"PROXY UNKNOWN\r\n"),
    b"PROXY TCP6 ": len(b"PROXY TCP6 :: :: 0 0\r\n"),
    b"PROXY TCP4 ": len(b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"),
}
"""How a line may begin, and how long it then is at least; the shortest first, since several may agree."""


def _agree(begun: bytes, word: bytes) -> bool:
    return begun.startswith(word) or word.startswith(begun)


def _endpoint(family: bytes, host: bytes, port: bytes) -> Endpoint:
    try:
        address = _FAMILIES[family](host.decode())
    except ValueError:
        raise HeaderError("proxy-header-syntax") from None
    if int(port) > _MAX_PORT:
        raise HeaderError("proxy-header-syntax")
    return Endpoint(str(address), int(port))
