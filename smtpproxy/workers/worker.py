"""A worker as its supervisor sees it: begun, watched by its pulse, told what to do, gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.workers.channel import Body, Channel, Gone, NoAnswer, Refused
from smtpproxy.workers.launch import Launch, Process

BEGIN_S: Final = 120.0
"""To start, on a machine where everything starts at once; it takes a second."""

BEAT_S: Final = 1.0
"""From one answer to the next question for its figures."""

SILENCE_S: Final = 10.0
"""What does not answer for so long hangs: nothing in a worker blocks for a tenth of that."""

Figures: TypeAlias = dict[str, Any]

_log = Logger(namespace="smtpproxy")


class Worker:
    """One process, from its start to its end.

    Args:
        reactor: Twisted's.
        name: what it is called in the log.
        launch: how it is started.
        column: where it counts.
        serve: does what it asks for.
        pulse: told whenever it has sent its figures.
        ended: told once when it is gone.

    Attributes:
        serves: whether it takes connections or drains.
        figures: what it counted, as it told last.
        column: where it counts what all workers count together.
    """

    def __init__(  # noqa: PLR0913 - each is a part of its own, given by name
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's
        name: str,
        launch: Launch,
        *,
        column: int,
        serve: Callable[[str, Body], Body],
        pulse: Callable[[], None],
        ended: Callable[[Worker, Failure], None],
    ) -> None:
        self.name = name
        self.column = column
        self.serves = False
        self.figures: Figures = {}
        self._reactor = reactor
        self._waiting: list[Deferred[None]] = []
        self._serve = serve
        self._pulse = pulse
        self._ended = ended
        self._beat: IDelayedCall | None = None
        self._channel = Channel(reactor, self._asked, self._hung_up)
        self._process = Process(name, launch, self._gone)
        self.started_s = reactor.seconds()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.alive

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid

    def start(self) -> None:
        """Start the process.

        Raises:
            OSError: the system has no process or descriptor left.
        """
        self._process.start(self._reactor, self._channel)
        _log.info("{name} is process {pid}", name=self.name, pid=self.pid)

    def begin(self, body: Body, descriptors: Sequence[int]) -> None:
        """Have it serve; what keeps it from that is told, and it ends."""
        asked = self._channel.ask("begin", body, patience_s=BEGIN_S, descriptors=descriptors)
        asked.addCallbacks(self._has_begun, self._has_not_begun)
        asked.addErrback(lambda failure: _log.failure("a worker broke", failure))

    def has_begun(self) -> Deferred[None]:
        """Fire when it serves, or is gone."""
        if self.serves or not self.alive:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def ask(
        self, what: str, body: Body = None, *, patience_s: float, descriptors: Sequence[int] = ()
    ) -> Deferred[Body]:
        """Ask it for something, as `Channel.ask` does."""
        return self._channel.ask(what, body, patience_s=patience_s, descriptors=descriptors)

    def tell(self, what: str, body: Body = None) -> None:
        """Tell it something."""
        self._channel.tell(what, body)

    def kill(self, why: str) -> None:
        """End it at once."""
        if self._process.alive:
            _log.error("{name} {why}, so it is killed", name=self.name, why=why)
            self._process.kill()

    # What it does

    def _has_begun(self, figures: Body) -> None:
        self.serves = True
        self._take(figures)
        self._tell_waiting()
        self._next_beat()

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _has_not_begun(self, failure: Failure) -> None:
        failure.trap(Refused, NoAnswer)
        if not failure.check(Gone):
            self.kill(f"cannot begin ({failure.getErrorMessage()})")

    def _next_beat(self) -> None:
        if self._process.alive:
            self._beat = self._reactor.callLater(BEAT_S, self._ask_figures)

    def _ask_figures(self) -> None:
        asked = self._channel.ask("figures", patience_s=SILENCE_S)
        asked.addCallbacks(self._told, self._silent)
        asked.addErrback(lambda failure: _log.failure("a worker broke", failure))

    def _told(self, figures: Body) -> None:
        self._take(figures)
        self._next_beat()

    def _silent(self, failure: Failure) -> None:
        failure.trap(NoAnswer, Refused)
        if failure.check(Refused):
            self._next_beat()
        elif not failure.check(Gone):
            self.kill("does not answer")

    def _take(self, figures: Body) -> None:
        if isinstance(figures, dict):
            self.figures = figures
            self._pulse()

    def _asked(self, what: str, body: Body, descriptors: list[int]) -> Deferred[Body]:  # noqa: ARG002 - it sends none
        if what == "figures":
            return maybeDeferred(self._take, body)
        return maybeDeferred(self._serve, what, body)

    def _hung_up(self) -> None:
        """The process ends now, or is of no use any more."""
        if self._beat is not None and self._beat.active():
            self._beat.cancel()
        if self._process.alive:
            self._beat = self._reactor.callLater(SILENCE_S, self.kill, "has hung up")

    def _gone(self, reason: Failure) -> None:
        self.serves = False
        if self._beat is not None and self._beat.active():
            self._beat.cancel()
        self._tell_waiting()
        self._ended(self, reason)
