"""Begin a connection from a socket: what is dialled really, and from which address.

Source: connect(2), ip(7) IP_BIND_ADDRESS_NO_PORT; RFC 4291 s2.5.5.2 (IPv4 in IPv6).
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from smtpproxy.transport.transparent import make_transparent, mark_own

BEGUN: Final = (0, errno.EINPROGRESS)
"""What connect(2) says of a connection that stands, or will."""

_IP_BIND_ADDRESS_NO_PORT: Final = 24  # not in the socket module; else a bound source exhausts ports across destinations


def plainly(host: str) -> str:
    """Return what is dialled by an address: who accepts sees it so, and a loop is known by that."""
    address = ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    plain = mapped or address
    if plain.is_unspecified:  # the kernel takes it for this machine
        return "127.0.0.1" if isinstance(plain, IPv4Address) else "::1"
    return str(plain)


def connect(connecting: socket.socket, address: tuple[str, int], source: str | None) -> int:
    """Begin to connect; return an error number, which is one of `BEGUN` unless that is refused.

    Args:
        connecting: a socket of the address's family that does not block.
        address: what is dialled.
        source: the address to dial from, else the kernel chooses.
    """
    try:
        mark_own(connecting)
        if source is not None:
            with suppress(PermissionError):  # then an address of ours will do, and bind(2) refuses any other
                make_transparent(connecting)
            connecting.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            connecting.bind((source, 0))
        refused = connecting.connect_ex(address)
        return _source_error(connecting, source) if refused in BEGUN and source is not None else refused
    except OSError as error:
        return error.errno or errno.EINVAL


def _source_error(connecting: socket.socket, source: str) -> int:
    """Refuse another source than was wanted, which the kernel takes for one that no host can have: it would be ours."""
    chosen = ip_address(connecting.getsockname()[0])
    return errno.EINPROGRESS if chosen == ip_address(source.partition("%")[0]) else errno.EADDRNOTAVAIL


def loop_error(connected: socket.socket) -> int:
    """Refuse a connection to itself, which TCP makes of a free port dialled from the same port (RFC 9293 s3.5)."""
    try:
        return errno.ECONNREFUSED if connected.getsockname() == connected.getpeername() else 0
    except OSError as error:
        return error.errno or errno.ECONNRESET
