"""Run a command, pass signals on to it, and come back once it has ended, however it ends.

Source: signal(7), wait(2); a shell's exit status of a command that a signal ended is 128 and the signal.
"""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final, Self

from smtpproxy.admin.exits import os_error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

PASSED_ON: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip

_KILLED: Final = 128


class Guard:
    """Takes the signals of this process, and passes them on to the command once it runs."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals; none ends this process any more."""
        self._before = {number: signal.signal(number, self._take) for number in PASSED_ON}
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave them to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str]) -> int:
        """Run a command in a session of its own, so that a terminal's Ctrl-C reaches it once.

        Args:
            command: the program and its arguments.

        Returns:
            its exit status; 128 and the number of the signal that ended it.

        Raises:
            CommandError: it cannot be started.
        """
        try:
            self._running = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - the administrator's own
        except OSError as error:
            raise os_error(error) from None
        while self._early:
            self._running.send_signal(self._early.pop(0))
        status = self._running.wait()
        return status if status >= 0 else _KILLED - status

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self._running is None:
            self._early.append(number)
        else:
            self._running.send_signal(number)
