"""One question to the kernel over netlink, and its first answer.

Source: netlink(7).
"""

from __future__ import annotations

import socket
import struct
from typing import Final

ERROR: Final = 2
"""The kind of an answer that begins with the negative number of an error."""

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_IS_REQUEST: Final = 1
_ANSWER_OCTETS: Final = 8192
_PATIENCE_S: Final = 1.0  # the kernel answers before it returns from the request


def ask(protocol: int, kind: int, body: bytes) -> tuple[int, bytes]:
    """Return the kind of the answer, and what it says.

    Args:
        protocol: the family of netlink.
        kind: the type of the message.
        body: what follows its header.

    Raises:
        OSError: there is no answer.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as kernel:
        kernel.settimeout(_PATIENCE_S)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, _IS_REQUEST, 1, 0) + body)
        answer = kernel.recv(_ANSWER_OCTETS)
    return _HEADER.unpack_from(answer)[1], answer[_HEADER.size :]
