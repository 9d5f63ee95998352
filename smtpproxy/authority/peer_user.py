"""Know the user at the other end of a UNIX socket.

Source: unix(7) SO_PEERCRED.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_CREDENTIALS: Final = struct.Struct("iII")  # process, user, group


def user_of(connected: socket.socket) -> int:
    """Return the effective user of whoever connected, or called listen(2)."""
    octets = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _process, user, _group = _CREDENTIALS.unpack(octets)
    return int(user)
