"""Everything of a running gateway that can be counted, in one place for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from smtpproxy.lru import CacheFigures
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.signing_authorities import authority_ends
from smtpproxy.net.suspicions import Suspicions
from smtpproxy.net.tally import Tally
from smtpproxy.transport.shortage import SHORTAGE


class LookUps:
    """Has the look-ups of caches counted on when a reload makes the caches anew, so that no counter goes back."""

    def __init__(self) -> None:
        self._before: dict[str, CacheFigures] = {}
        self._last: dict[str, CacheFigures] = {}

    def all(self, caches: Mapping[str, CacheFigures]) -> dict[str, CacheFigures]:
        """Return how caches do, with what their predecessors counted as far as it was ever seen."""
        for name, last in self._last.items():
            now = caches.get(name, _NOTHING)
            if now.hits < last.hits or now.misses < last.misses:
                self._before[name] = _added(last, self._before.get(name, _NOTHING))
        self._last = dict(caches)
        return {name: _added(now, self._before.get(name, _NOTHING)) for name, now in caches.items()}


_NOTHING: Final = CacheFigures(0, 0, 0, 0)


def _added(now: CacheFigures, before: CacheFigures) -> CacheFigures:
    return replace(now, hits=now.hits + before.hits, misses=now.misses + before.misses)


class Figures:
    """Reads the counters.

    Args:
        gateway: runs the sessions.
        tally: of the record writers.
        suspicions: of the record writers.
    """

    def __init__(self, gateway: Gateway, tally: Tally, suspicions: Suspicions) -> None:
        self.tally = tally
        self.suspicions = suspicions
        self._gateway = gateway
        self._lookups = LookUps()

    @property
    def interceptions_suspected(self) -> int:
        """How many sessions give reason to think that interception breaks what their client checks."""
        return self.suspicions.sessions

    @property
    def caches(self) -> Mapping[str, CacheFigures]:
        """How each cache of the newest generation does, by name; a reload has them begin empty, and count on."""
        return self._lookups.all(self._gateway.newest.equipment.caches)

    @property
    def spooled_octets(self) -> int:
        """Octets of messages that are on disk until they are judged."""
        return self._gateway.newest.equipment.spools.budget.taken_octets

    @property
    def sessions_running(self) -> int:
        """How many sessions there are, of whatever generation."""
        return self._gateway.sessions_running

    @property
    def sessions_begun(self) -> int:
        """How many there were, those included."""
        return self._gateway.sessions_begun

    @property
    def blocked_sources(self) -> int:
        """How many sources are turned away."""
        return len(self._gateway.newest.equipment.blocklist)

    @property
    def authority_ends(self) -> Mapping[str, float]:
        """When each authority ends that signs, in seconds since the epoch."""
        return authority_ends(self._gateway.newest.equipment.authorities)

    @property
    def turned_away(self) -> Mapping[str, int]:
        """Connections that became no session, by the token of the reason."""
        return self._gateway.turned_away

    @property
    def accept_pauses(self) -> int:
        """How often nothing was accepted for a while, for want of descriptors or memory."""
        return SHORTAGE.pauses
