"""Ask the kernel whether an address is of this machine.

Source: rtnetlink(7) RTM_GETROUTE, RTN_LOCAL; netlink(7). Binding a socket would not tell where
net.ipv4.ip_nonlocal_bind is on, as it is beside keepalived.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Final

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # family, two prefix lengths, TOS, table, protocol, scope, type, flags
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_NEW_ROUTE: Final = 24
_GET_ROUTE: Final = 26
_REQUEST: Final = 1
_DESTINATION: Final = 1
_LOCAL: Final = 2
_ANSWER_OCTETS: Final = 8192
_PATIENCE_S: Final = 1.0  # the kernel answers before it returns from the request


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
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_PATIENCE_S)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _GET_ROUTE, _REQUEST, 1, 0) + body)
        answer = kernel.recv(_ANSWER_OCTETS)
    _length, kind, *_rest = _HEADER.unpack_from(answer)
    if kind != _NEW_ROUTE:
        return None
    found: int = _ROUTE.unpack_from(answer, _HEADER.size)[7]
    return found
