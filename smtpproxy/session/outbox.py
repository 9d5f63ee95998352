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
        self._run = b""  # what was sent last, on one leg
        self._leg = Leg.CLIENT
        self._timers: dict[Timer, float | None] = {}
        self.octets = {Leg.CLIENT: 0, Leg.UPSTREAM: 0}

    def put(self, action: Action) -> None:
        """Add an action."""
        if self._run:
            self._end_run()
        self._actions.append(action)

    def send(self, leg: Leg, data: bytes) -> None:
        """Add octets to what goes out on ``leg``."""
        self.octets[leg] += len(data)
        if not self._run:
            self._run, self._leg = data, leg
        elif leg is self._leg:
            self._run += data
        else:
            self._end_run()
            self._run, self._leg = data, leg

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
        if self._run:
            self._end_run()
        actions, self._actions = self._actions, []
        if not self._timers:
            return actions
        timers, self._timers = self._timers, {}
        return [*[SetTimer(timer, seconds) for timer, seconds in timers.items()], *actions]

    def _end_run(self) -> None:
        self._actions.append(Send(self._leg, self._run))
        self._run = b""
