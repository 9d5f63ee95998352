"""Ask the kernel whether an address is of this machine.

Source: rtnetlink(7) RTM_GETROUTE, RTN_LOCAL; netlink(7). Binding a socket would not tell where
net.ipv4.ip_nonlocal_bind is on, as it is beside keepalived.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Final

from smtpproxy.transport.netlink import ask

_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # family, two prefix lengths, TOS, table, protocol, scope, type, flags
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_NEW_ROUTE: Final = 24
_GET_ROUTE: Final = 26
_DESTINATION: Final = 1
_LOCAL: Final = 2


def is_local(host: str) -> bool:
    """Return whether what is sent to an address stays on this machine; ``False`` for what is no address."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - the version of IP
    try:
        return _route_type(family, address.packed) == _LOCAL
    except OSError:
        return address.is_loopback


def _route_type(family: int, packed: bytes) -> int | None:
    route = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    body = route + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _DESTINATION) + packed
    kind, answer = ask(socket.NETLINK_ROUTE, _GET_ROUTE, body)
    if kind != _NEW_ROUTE:
        return None
    found: int = _ROUTE.unpack_from(answer)[7]
    return found
