"""Stop: in good order when it is asked for once, without waiting any longer when it is asked for again."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

_log = Logger(namespace="smtpproxy")


class Stopping:
    """Stops on request.

    Args:
        stop: begins the end, which lets messages under way end.
        hurry: ends what is still under way.
    """

    def __init__(self, stop: Callable[[], None], hurry: Callable[[], None]) -> None:
        self._next = stop
        self._hurry = hurry

    def request(self) -> None:
        """Stop; the second time at once."""
        _log.info("asked to stop")
        step, self._next = self._next, self._hurry
        step()
