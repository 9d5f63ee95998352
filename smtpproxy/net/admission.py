"""How many sessions there may be: in all and from one source, each by the proxy action's own limits."""

from __future__ import annotations

from collections import Counter
from typing import Final, TypeVar

from smtpproxy.policy.model import ProxyAction

_IN_ALL: Final = "too-many-sessions"
_OF_SOURCE: Final = "too-many-sessions-of-source"
LIMITS: Final = (_IN_ALL, _OF_SOURCE)
"""The tokens of the limits."""

_K = TypeVar("_K")


class Admission:
    """Counts the sessions of each proxy action, by its name: in a later generation its limits may be others."""

    __slots__ = ("_of_action", "_of_source")

    def __init__(self) -> None:
        self._of_action: Counter[str] = Counter()
        self._of_source: Counter[tuple[str, str]] = Counter()

    def admit(self, action: ProxyAction, source: str) -> str | None:
        """Count one session more, or return the token of the limit that it would break."""
        if self._of_action[action.name] >= action.general.max_sessions:
            return _IN_ALL
        if self._of_source[action.name, source] >= action.general.max_sessions_per_source:
            return _OF_SOURCE
        self._of_action[action.name] += 1
        self._of_source[action.name, source] += 1
        return None

    def release(self, action: ProxyAction, source: str) -> None:
        """Count one session less."""
        _count_less(self._of_action, action.name)
        _count_less(self._of_source, (action.name, source))


def _count_less(counts: Counter[_K], key: _K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
