"""SIGHUP, which would end the process: a line in the log instead.

Source: signal(7); Python's signal module, whose handlers are the main thread's alone.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

_log = Logger(namespace="smtpproxy")


class Hangup(Service):
    """Outlives SIGHUP while it runs.

    Args:
        reactor: Twisted's; the line is logged there, since a handler may interrupt a log line half written.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._before: Any = None

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Take the signal, if this is the main thread: before a port is bound, and the gateway looks ready."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGHUP, self._caught)

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Give the signal back."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._before is not None:
            signal.signal(signal.SIGHUP, self._before)
            self._before = None

    def _caught(self, _number: int, _frame: object) -> None:
        self._reactor.callFromThread(_say)


def _say() -> None:
    _log.warn("reload is not available yet; restart to take up a new configuration")
