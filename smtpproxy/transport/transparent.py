"""Sockets that speak for other machines: taking what was sent to another address, and dialling from another.

Source: ip(7) IP_TRANSPARENT; capabilities(7) CAP_NET_RAW, CAP_NET_ADMIN; the kernel's Documentation/networking/tproxy;
netfilter's SO_ORIGINAL_DST (include/uapi/linux/netfilter_ipv4.h) and IP6T_SO_ORIGINAL_DST; socket(7) SO_MARK.
"""

from __future__ import annotations

import socket
import struct
from functools import cache
from ipaddress import IPv6Address
from typing import Final

OWN_MARK: Final = 0x04000000
"""The packets of connections that the gateway opens: never to be intercepted."""

TPROXY_MARK: Final = 0x08000000
"""Packets that are to be handed to the gateway, whatever address they are for."""

MARK_MASK: Final = 0x0C000000
"""The bits of both; the others are left to other programs."""

_IPV6_TRANSPARENT: Final = 75  # not in the socket module
_ORIGINAL_DST: Final = 80  # of either family
_SOCKADDR_IN: Final = struct.Struct("=H2s4s8x")
_SOCKADDR_IN6: Final = struct.Struct("=H2s4x16s4x")


def make_transparent(made: socket.socket) -> None:
    """Let a socket be bound to an address of another machine, and take connections to any.

    Raises:
        OSError: neither CAP_NET_RAW nor CAP_NET_ADMIN is there (EPERM).
    """
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1)


def is_transparent(made: socket.socket) -> bool:
    """Return whether a socket takes connections to any address."""
    if made.family == socket.AF_INET6:
        return bool(made.getsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT))
    return bool(made.getsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT))


def mark_own(made: socket.socket) -> None:
    """Mark a connection of ours, if the system lets us: without the right to it, the kernel's routes must do."""
    if _may_mark():
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OWN_MARK)


@cache
def _may_mark() -> bool:
    """Asked at the first connection, when privileges have been given up; they do not come back."""
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OWN_MARK)
        except PermissionError:
            return False
    return True


def original_destination(accepted: socket.socket) -> tuple[str, int] | None:
    """Return what a redirected connection was for, ``None`` if it was not redirected."""
    if accepted.family == socket.AF_INET6:
        return _ask(accepted, socket.IPPROTO_IPV6, _SOCKADDR_IN6) or _ask(accepted, socket.IPPROTO_IP, _SOCKADDR_IN)
    return _ask(accepted, socket.IPPROTO_IP, _SOCKADDR_IN)


def _ask(accepted: socket.socket, level: int, form: struct.Struct) -> tuple[str, int] | None:
    try:
        octets = accepted.getsockopt(level, _ORIGINAL_DST, form.size)
    except OSError:  # no connection tracking here, or it knows of no other destination
        return None
    if len(octets) != form.size:
        return None
    _family, port, address = form.unpack(octets)
    host = str(IPv6Address(address)) if len(address) == 16 else socket.inet_ntoa(address)  # noqa: PLR2004 - its octets
    return host, int.from_bytes(port, "big")
