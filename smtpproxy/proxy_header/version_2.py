"""PROXY headers of version 2: binary, with further information behind the addresses.

Source: HAProxy's doc/proxy-protocol.txt s2.2.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final

from smtpproxy.endpoint import Endpoint
from smtpproxy.proxy_header.crc32c import crc32c
from smtpproxy.proxy_header.header import Header, HeaderError, Local, Proxied, Tlv, Unknown

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

FIXED_OCTETS: Final = 16
"""Signature, command, family, and the length of what follows."""

MAX_OCTETS: Final = 4096
"""The longest header that is taken, as in nginx; 65,551 could be announced. What balancers send has 28 to 300."""

SENT_OCTETS: Final = 536
"""The longest header that is sent: any segment has room for it (s2.2), and Postfix reads no more."""

NOOP: Final = 0x04
"""The type of padding."""

CRC32C: Final = 0x03
"""The type of the checksum."""

_FIXED: Final = Struct("!12sBBH")
_TLV: Final = Struct("!BH")
_VERSION: Final = 0x20
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_COMMANDS: Final = frozenset({_LOCAL, _PROXY})
_UNSPEC: Final = 0x00
_TCP_IPV4: Final = 0x11
_TCP_IPV6: Final = 0x21
_IPV4: Final = Struct("!4s4sHH")
_IPV6: Final = Struct("!16s16sHH")
_ADDRESS_OCTETS: Final = {0x00: 0, 0x10: _IPV4.size, 0x20: _IPV6.size, 0x30: 216}
"""Of each family: unspecified, IPv4, IPv6, UNIX."""

_TRANSPORTS: Final = range(3)
"""Unspecified, stream, datagram."""


def length_of(fixed: bytes) -> int:
    """Return how long a header is whose fixed part has come.

    Raises:
        HeaderError: ``proxy-header-version``, or ``proxy-header-too-long`` for more than ``MAX_OCTETS``.
    """
    _signature, command, _family, length = _FIXED.unpack(fixed)
    if command not in _COMMANDS:
        raise HeaderError("proxy-header-version")
    if FIXED_OCTETS + length > MAX_OCTETS:
        raise HeaderError("proxy-header-too-long")
    return int(FIXED_OCTETS + length)


def parse_binary(whole: bytes) -> Header:
    """Parse a whole header of that length.

    Whoever is not told of as TCP over IP is unknown. Where the addresses are to be passed over, what stands there need
    not be what the family says; a checksum that is found is checked all the same.

    Raises:
        HeaderError: ``proxy-header-syntax``, ``proxy-header-checksum``.
    """
    _signature, command, family, _length = _FIXED.unpack_from(whole)
    if command == _LOCAL:
        return Local(_tlvs_if_any(whole, family))
    if family & 0xF0 not in _ADDRESS_OCTETS or family & 0x0F not in _TRANSPORTS:
        raise HeaderError("proxy-header-syntax")
    if family in _FORMS:
        return _proxied(whole, family)
    return Unknown(_tlvs_if_any(whole, family))


def to_binary(header: Header, *, checksum: bool = False) -> bytes:
    """Return a header as octets.

    Raises:
        ValueError: it is longer than ``MAX_OCTETS``.
    """
    family, addresses = _addresses(header)
    tlvs = b"".join(_TLV.pack(each.type, len(each.value)) + each.value for each in header.tlvs)
    if checksum:
        tlvs += _TLV.pack(CRC32C, 4) + bytes(4)
    length = len(addresses) + len(tlvs)
    if FIXED_OCTETS + length > MAX_OCTETS:
        raise ValueError("the header is too long")
    command = _LOCAL if isinstance(header, Local) else _PROXY
    whole = _FIXED.pack(SIGNATURE, command, family, length) + addresses + tlvs
    return whole[:-4] + crc32c(whole).to_bytes(4, "big") if checksum else whole


def shortened(header: Proxied) -> Proxied:
    """Return a header of at most `SENT_OCTETS`: without padding, and without further information that does not fit."""
    room = SENT_OCTETS - len(to_binary(replace(header, tlvs=())))
    kept: list[Tlv] = []
    for each in header.tlvs:
        octets = _TLV.size + len(each.value)
        if each.type != NOOP and octets <= room:
            kept.append(each)
            room -= octets
    return replace(header, tlvs=tuple(kept))


def _addresses(header: Header) -> tuple[int, bytes]:
    if not isinstance(header, Proxied):
        return _UNSPEC, b""
    client, destination = header.client, header.destination
    pair = (ip_address(client.host), ip_address(destination.host))
    if any(each.version == 6 for each in pair):  # noqa: PLR2004 - of two families the one that holds both
        packed = [_as_ipv6(each).packed for each in pair]
        return _TCP_IPV6, _IPV6.pack(*packed, client.port, destination.port)
    return _TCP_IPV4, _IPV4.pack(*[each.packed for each in pair], client.port, destination.port)


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")


def _proxied(whole: bytes, family: int) -> Proxied:
    form, kind = _FORMS[family]
    start = FIXED_OCTETS + form.size
    if len(whole) < start:
        raise HeaderError("proxy-header-syntax")
    source, destination, source_port, destination_port = form.unpack_from(whole, FIXED_OCTETS)
    ends = Endpoint(str(kind(source)), source_port), Endpoint(str(kind(destination)), destination_port)
    return Proxied(*ends, _parse_tlvs(whole, start))


def _tlvs_if_any(whole: bytes, family: int) -> tuple[Tlv, ...]:
    try:
        return _parse_tlvs(whole, FIXED_OCTETS + _ADDRESS_OCTETS.get(family & 0xF0, 0))
    except HeaderError as error:
        if error.reason == _BAD_CHECKSUM:
            raise
        return ()


def _parse_tlvs(whole: bytes, start: int) -> tuple[Tlv, ...]:
    tlvs: list[Tlv] = []
    checksums: list[int] = []
    while start < len(whole):
        if len(whole) - start < _TLV.size:
            raise HeaderError("proxy-header-syntax")
        kind, length = _TLV.unpack_from(whole, start)
        start, end = start + _TLV.size, start + _TLV.size + length
        if end > len(whole):
            raise HeaderError("proxy-header-syntax")
        if kind == CRC32C:
            checksums.append(start)
        else:
            tlvs.append(Tlv(kind, whole[start:end]))
        start = end
    for each in checksums:
        _check(whole, each)
    return tuple(tlvs)


def _check(whole: bytes, start: int) -> None:
    """A second checksum can be right only by chance, since each is made with only itself as zero."""
    end = start + 4
    length = int.from_bytes(whole[start - 2 : start], "big")
    cleared = whole[:start] + bytes(4) + whole[end:]
    if length != end - start or crc32c(cleared) != int.from_bytes(whole[start:end], "big"):
        raise HeaderError(_BAD_CHECKSUM)


_FORMS: Final = {_TCP_IPV4: (_IPV4, IPv4Address), _TCP_IPV6: (_IPV6, IPv6Address)}
_BAD_CHECKSUM: Final = "proxy-header-checksum"
