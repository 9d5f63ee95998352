"""Why a connection could not be had, as tokens for records.

Source: connect(2).
"""

from __future__ import annotations

import errno
from typing import Final

HOST_NOT_FOUND: Final = "host-not-found"
TIMED_OUT: Final = "timed-out"
OTHER_FAMILY: Final = "source-of-other-family"
OTHER: Final = "connect-failed"

_REASONS: Final = {
    errno.ECONNREFUSED: "connection-refused",
    errno.ENETUNREACH: "network-unreachable",
    errno.EHOSTUNREACH: "host-unreachable",
    errno.ETIMEDOUT: TIMED_OUT,
    errno.ECONNRESET: "connection-reset",
    errno.EADDRNOTAVAIL: "source-not-available",
    errno.EMFILE: "out-of-descriptors",
    errno.ENFILE: "out-of-descriptors",
}


def reason_of(error: int) -> str:
    """Return the token for the error number of a connection that could not be had."""
    return _REASONS.get(error, OTHER)
