"""Signals of the system, each with what it asks for.

Source: signal(7); Python's signal module, whose handlers are the main thread's alone.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service


class Signals(Service):
    """Takes signals, and has what they ask for done on the reactor's turn.

    They are never given back: until the process is gone, a signal that comes late must not end it in its own way.

    Args:
        reactor: Twisted's.
        wishes: what each signal asks for.
    """

    def __init__(self, reactor: Any, wishes: Mapping[signal.Signals, Callable[[], object]]) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._wishes = dict(wishes)

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Take the signals, if this is the main thread: before a port is bound, and the gateway looks ready.

        The reactor takes some of them when it starts, to end with their number as status; they are taken back then.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if threading.current_thread() is threading.main_thread():
            self._take()
            self._reactor.callWhenRunning(self._take)

    def _take(self) -> None:
        for number in self._wishes:
            signal.signal(number, self._caught)

    def _caught(self, number: int, _frame: object) -> None:
        # A handler may interrupt a log line half written, or a session at work.
        self._reactor.callFromThread(self._wishes[signal.Signals(number)])
