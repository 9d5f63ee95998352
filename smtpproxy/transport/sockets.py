"""Ask the kernel whether a connection has an end on this machine.

Source: sock_diag(7); the kernel's include/uapi/linux/inet_diag.h, and its net/ipv4/inet_diag.c, which looks for one
socket as it would for a packet, and so may find one that listens.
"""

from __future__ import annotations

import errno
import socket
import struct
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from smtpproxy.transport.netlink import ERROR, ask

if TYPE_CHECKING:
    from smtpproxy.endpoint import Endpoint

_PROTOCOL: Final = 4  # NETLINK_SOCK_DIAG
_REQUEST: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_ENDS: Final = struct.Struct("!HH16s16s")  # ports and addresses, the own end first
_ANY_SOCKET: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # interface, cookie
_STATE: Final = struct.Struct("=BB")  # family, state
_BY_FAMILY: Final = 20
_LISTENS: Final = 10
_ALL_STATES: Final = 0xFFFFFFFF


def may_have_end(local: Endpoint, remote: Endpoint) -> bool:
    """Return whether a socket of this machine, or one that speaks for another, has these ends.

    Returns:
        ``True`` also where the kernel cannot be asked.
    """
    return not _can_tell() or _state(local, remote) not in (None, _LISTENS)


@cache
def _can_tell() -> bool:
    """Whether the kernel has what it takes: without that it says of every socket that there is none."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
            probe.listen(1)
            host, port = probe.getsockname()
            return _ask(socket.AF_INET, _ENDS.pack(port, 1, _padded(host), _padded(host))) == _LISTENS
        except OSError:
            return False


def _state(local: Endpoint, remote: Endpoint) -> int | None:
    family = socket.AF_INET6 if ":" in local.host else socket.AF_INET
    ends = _ENDS.pack(local.port, remote.port, _padded(local.host), _padded(remote.host))
    try:
        return _ask(family, ends)
    except OSError:
        return 0


def _padded(host: str) -> bytes:
    return ip_address(host).packed.ljust(16, b"\0")


def _ask(family: int, ends: bytes) -> int | None:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES) + ends + _ANY_SOCKET
    kind, answer = ask(_PROTOCOL, _BY_FAMILY, body)
    if kind == ERROR:
        number = -struct.unpack_from("=i", answer)[0]
        if number == errno.ENOENT:
            return None
        raise OSError(number, "sock_diag")
    state: int = _STATE.unpack_from(answer)[1]
    return state
