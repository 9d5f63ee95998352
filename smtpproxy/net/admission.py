"""How many sessions there may be: in all and from one source, each by the proxy action's own limits.

On the Internet an IPv6 host has all addresses of a network of 64 bits to choose from, so that the network counts as one
source, as in the block list. Inside, where such a network has many hosts, each address counts by itself.

Source: RFC 4291 s2.5.1, RFC 8981 (temporary addresses).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.counts import Counts, OwnCounts
from smtpproxy.net.blocklist import source_of
from smtpproxy.policy.model import ActionKind, ProxyAction

_IN_ALL: Final = "too-many-sessions"
_OF_SOURCE: Final = "too-many-sessions-of-source"
LIMITS: Final = (_IN_ALL, _OF_SOURCE)
"""The tokens of the limits."""

_KEY: Final = "sessions"


class Admission:
    """Counts the sessions of each proxy action, by its name: in a later generation its limits may be others.

    Args:
        counts: those of all processes of the gateway.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts: Counts = OwnCounts() if counts is None else counts

    def admit(self, action: ProxyAction, source: str) -> str | None:
        """Count one session more, or return the token of the limit that it would break."""
        if self._counts.more(_KEY, action.name) > action.general.max_sessions:
            self._counts.less(_KEY, action.name)
            return _IN_ALL
        if self._counts.more(_KEY, action.name, _counted(action, source)) > action.general.max_sessions_per_source:
            self.release(action, source)
            return _OF_SOURCE
        return None

    def release(self, action: ProxyAction, source: str) -> None:
        """Count one session less."""
        self._counts.less(_KEY, action.name)
        self._counts.less(_KEY, action.name, _counted(action, source))


def _counted(action: ProxyAction, source: str) -> str:
    return source_of(source) if action.kind is ActionKind.SERVER else source
