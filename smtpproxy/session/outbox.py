"""The actions that an event leads to, in order."""

from __future__ import annotations

from smtpproxy.session.actions import Action, Close, How, Send, SetTimer
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer


class Outbox:
    """Collects actions while an event is handled, and counts the octets that leave on each leg."""

    __slots__ = ("_actions", "octets")

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self.octets = {Leg.CLIENT: 0, Leg.UPSTREAM: 0}

    def put(self, action: Action) -> None:
        """Add an action."""
        self._actions.append(action)

    def send(self, leg: Leg, data: bytes) -> None:
        """Add a `Send`."""
        self.octets[leg] += len(data)
        self._actions.append(Send(leg, data))

    def set_timer(self, timer: Timer, seconds: float | None) -> None:
        """Add a `SetTimer`."""
        self._actions.append(SetTimer(timer, seconds))

    def close(self, leg: Leg, how: How) -> None:
        """Add a `Close`."""
        self._actions.append(Close(leg, how))

    def take(self) -> list[Action]:
        """Hand over what was collected and begin anew."""
        actions, self._actions = self._actions, []
        return actions
