"""How many sessions there may be: in all and from one source, each by the proxy action's own limits."""

from __future__ import annotations

from collections import Counter

from smtpproxy.policy.model import ProxyAction


class Admission:
    """Counts the sessions of each proxy action."""

    __slots__ = ("_of_action", "_of_source")

    def __init__(self) -> None:
        self._of_action: Counter[str] = Counter()
        self._of_source: Counter[tuple[str, str]] = Counter()

    def admit(self, action: ProxyAction, source: str) -> str | None:
        """Count one session more, or return the token of the limit that it would break."""
        if self._of_action[action.name] >= action.general.max_sessions:
            return "too-many-sessions"
        if self._of_source[action.name, source] >= action.general.max_sessions_per_source:
            return "too-many-sessions-of-source"
        self._of_action[action.name] += 1
        self._of_source[action.name, source] += 1
        return None

    def release(self, action: ProxyAction, source: str) -> None:
        """Count one session less."""
        self._of_action[action.name] -= 1
        self._of_source[action.name, source] -= 1
        if not self._of_source[action.name, source]:
            del self._of_source[action.name, source]
