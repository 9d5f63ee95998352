"""Announce to the service manager that the gateway serves, reloads, stops, and that its reactor still turns.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5) Type=notify-reload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smtpproxy.net.notify import Notifier

STATUS_S: Final = 1.0
"""How soon a change of the status is told."""

GRACE_S: Final = 10.0
"""What a stop may take beside the wait for messages."""

_log = Logger(namespace="smtpproxy")


class Announcing(Service):
    """Is the last to be started, and so the first to hear that the gateway stops.

    Args:
        reactor: Twisted's.
        notifier: sends what is announced.
        describe: returns the status, in a few words.
        drain_s: returns how long a stop waits for messages.
        watchdog_s: after how many seconds of silence the manager ends the process, ``None`` for never.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        notifier: Notifier,
        describe: Callable[[], str],
        drain_s: Callable[[], float],
        *,
        watchdog_s: float | None = None,
    ) -> None:
        self._notifier = notifier
        self._describe = describe
        self._drain_s = drain_s
        self._watchdog_s = watchdog_s
        self._serves = False
        self._reloads = 0
        self._last_refused = False
        self._told = ""
        self._reporting = LoopingCall(self._report)
        self._beating = LoopingCall(notifier.alive)
        self._reporting.clock = self._beating.clock = reactor

    def serves(self) -> None:
        """Announce that every address is bound and connections are accepted; from now on, also that this goes on."""
        self._serves = True
        self._told = self._status()
        self._notifier.ready(self._told)
        if self._notifier.is_heard:
            _begin(self._reporting, STATUS_S)
            if self._watchdog_s is not None:
                _begin(self._beating, self._watchdog_s / 2)

    def reloads(self, request: Callable[[], Deferred[list[str]]]) -> Callable[[], Deferred[list[str]]]:
        """Return what does a reload, and announces it.

        Args:
            request: returns the mistakes that a reload was refused for, when it is over.
        """

        def announced() -> Deferred[list[str]]:
            self._reloads += 1
            if self._serves:
                self._notifier.reloading()  # each time: the manager waits for one that is younger than its own request
            return request().addBoth(self._reloaded)

        return announced

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Announce the end; the watchdog is kept quiet until it is reached."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._told = self._status()
        self._notifier.stopping(self._told, self._drain_s() + GRACE_S)

    def _reloaded(self, mistakes: Any) -> Any:  # noqa: ANN401 - the mistakes, or a failure
        self._reloads -= 1
        self._last_refused = not isinstance(mistakes, Sequence) or bool(mistakes)
        if self._serves and not self._reloads and self.running:
            self.serves()
        return mistakes

    def _report(self) -> None:
        now = self._status()
        if now != self._told:
            self._told = now
            self._notifier.status(now)

    def _status(self) -> str:
        state = "serving" if self.running else "stopping"
        refused = "; the last reload was refused" if self._last_refused else ""
        return f"{state}: {self._describe()}{refused}"


def _begin(loop: LoopingCall, seconds: float) -> None:
    if not loop.running:
        loop.start(seconds, now=False).addErrback(partial(_log.failure, "an announcement broke"))
