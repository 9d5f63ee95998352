"""The actions that an event leads to, in order.

What goes to one leg in a run leaves as one `Send`, so that a pipelined group costs one write; of each timer only what
it was set to last counts.
"""

from __future__ import annotations

from smtpproxy.session.actions import Action, Close, How, Send, SetTimer
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer


class Outbox:
    """Collects actions while an event is handled, and counts the octets that leave on each leg."""

    __slots__ = ("_actions", "_leg", "_run", "_timers", "octets")

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self._run: list[bytes] = []  # what was sent last, and on which leg
        self._leg = Leg.CLIENT
        self._timers: dict[Timer, float | None] = {}
        self.octets = {Leg.CLIENT: 0, Leg.UPSTREAM: 0}

    def put(self, action: Action) -> None:
        """Add an action."""
        self._end_run()
        self._actions.append(action)

    def send(self, leg: Leg, data: bytes) -> None:
        """Add octets to what goes out on ``leg``."""
        self.octets[leg] += len(data)
        if leg is not self._leg:
            self._end_run()
            self._leg = leg
        self._run.append(data)

    def octets_replayed(self, octets: int) -> None:
        """Count octets that left upstream from the spool."""
        self.octets[Leg.UPSTREAM] += octets

    def set_timer(self, timer: Timer, seconds: float | None) -> None:
        """Let ``timer`` be due in ``seconds``, or never."""
        self._timers[timer] = seconds

    def close(self, leg: Leg, how: How) -> None:
        """Add a `Close`."""
        self.put(Close(leg, how))

    def take(self) -> list[Action]:
        """Hand over what was collected, timers first, and begin anew."""
        self._end_run()
        actions, self._actions = self._actions, []
        if self._timers:
            timers: list[Action] = [SetTimer(timer, seconds) for timer, seconds in self._timers.items()]
            self._timers = {}
            return timers + actions
        return actions

    def _end_run(self) -> None:
        if self._run:
            data = self._run[0] if len(self._run) == 1 else b"".join(self._run)
            self._actions.append(Send(self._leg, data))
            self._run = []
