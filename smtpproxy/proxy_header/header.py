"""What a PROXY header says, whatever its version.

Source: HAProxy's doc/proxy-protocol.txt s2, s2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smtpproxy.endpoint import Endpoint
from smtpproxy.errors import ProtocolError


class HeaderError(ProtocolError):
    """Octets that are no PROXY header."""


@dataclass(frozen=True, slots=True)
class Tlv:
    """A piece of further information: its type, 0 to 255, and its octets as they are."""

    type: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Proxied:
    """The connection is relayed.

    Args:
        client: who dialled the balancer; the host is an IP address.
        destination: what it dialled, of the same family.
        tlvs: further information, in order; a checksum is checked and not kept.
    """

    client: Endpoint
    destination: Endpoint
    tlvs: tuple[Tlv, ...] = ()


@dataclass(frozen=True, slots=True)
class Local:
    """The balancer speaks for itself, most likely to see whether anybody is there."""

    tlvs: tuple[Tlv, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """The balancer cannot say who the client is, or not as TCP over IP."""

    tlvs: tuple[Tlv, ...] = ()


Header: TypeAlias = Proxied | Local | Unknown
