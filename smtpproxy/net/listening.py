"""An address that cannot be listened on: one line that says why, and the exit status.

Source: bind(2), ipv6(7), capabilities(7); sysexits.h of 4.3BSD.
"""

from __future__ import annotations

import errno
from typing import Final

from smtpproxy.errors import SmtpProxyError

_EX_UNAVAILABLE: Final = 69
_EX_NOPERM: Final = 77
_PRIVILEGED_BELOW: Final = 1024
_NOT_PERMITTED: Final = frozenset({errno.EACCES, errno.EPERM})
_NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class ListenError(SmtpProxyError):
    """An address cannot be listened on.

    Args:
        interface: the IP address.
        port: the port.
        error: what the system said.
    """

    def __init__(self, interface: str, port: int, error: OSError) -> None:
        host = f"[{interface}]" if ":" in interface else interface
        reason = error.strerror or str(error)
        super().__init__(f"{host}:{port}: cannot listen: {reason}{_advice(interface, port, error.errno)}")
        self.status = status_of(error)


def status_of(error: OSError) -> int:
    """Return the exit status that an error of the system has: lack of permission is told from all else."""
    return _EX_NOPERM if error.errno in _NOT_PERMITTED else _EX_UNAVAILABLE


def _advice(interface: str, port: int, number: int | None) -> str:
    if number == errno.EACCES and port < _PRIVILEGED_BELOW:
        return f" (ports below {_PRIVILEGED_BELOW} need root or CAP_NET_BIND_SERVICE)"
    if number == errno.EPERM:
        return " (interception.mode: tproxy needs root or CAP_NET_RAW)"
    if number in _NO_SUCH_FAMILY and ":" in interface:
        return " (without IPv6 here, take this address out of interception.listen)"
    return ""
