"""What happens when there is no descriptor or no memory to accept a connection with: a pause, told and counted.

Source: accept(2) EMFILE, ENFILE, ENOBUFS, ENOMEM.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE_S: Final = 1.0
"""How long nothing is accepted when there was nothing to accept with."""

QUIET_S: Final = 60.0
"""How soon the same lack is told again."""

LACKS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = Logger(namespace="smtpproxy")


class Shortage:
    """Counts and tells of pauses.

    Args:
        clock: returns monotonic seconds.

    Attributes:
        pauses: how often a listener has paused.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until = 0.0
        self.pauses = 0

    def note(self, error: OSError) -> None:
        """Count a pause; tell of it unless that was done lately."""
        self.pauses += 1
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            _log.warn("cannot accept connections: {reason}; they wait until there is room", reason=error.strerror)


SHORTAGE: Final = Shortage()
"""The process's: its descriptors are its own, whichever listener lacks them."""
