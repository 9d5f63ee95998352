"""One deadline for all of a question, name look-up included."""

from __future__ import annotations

import socket
import time
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class DeadlineError(TimeoutError):
    """The time is over."""


class Deadline:
    """Tells how much time is left.

    Args:
        seconds: for everything, from now on.
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._end_s = monotonic() + seconds

    def remaining_s(self, share: int = 1) -> float:
        """Return what is left for the next of ``share`` steps.

        Raises:
            DeadlineError: nothing is.
        """
        left = self._end_s - self._monotonic()
        if left <= 0:
            raise DeadlineError("timed out")
        return left / share


def addresses_of(host: str, port: int, deadline: Deadline) -> list[str]:
    """Return the IP addresses of a host, in the system's order.

    Raises:
        OSError: it has none, or the system cannot tell; ``DeadlineError`` if it does not tell in time.
    """
    answers: list[list[str] | OSError] = []

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            answers.append(error)
        else:
            answers.append(list(dict.fromkeys(str(address[0]) for *_, address in found)))

    thread = Thread(target=look_up, daemon=True)  # the library's resolver knows no deadline
    thread.start()
    thread.join(deadline.remaining_s())
    if not answers:
        raise DeadlineError("timed out")
    answer = answers[0]
    if isinstance(answer, OSError):
        raise answer
    return answer
