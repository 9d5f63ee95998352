"""Everything of a running gateway that can be counted, in one place for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping

from smtpproxy.lru import CacheFigures
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.suspicions import Suspicions
from smtpproxy.net.tally import Tally
from smtpproxy.transport.shortage import SHORTAGE


class Figures:
    """Reads the counters; nothing is counted here.

    Args:
        gateway: runs the sessions.
        tally: of the record writers.
        suspicions: of the record writers.
    """

    def __init__(self, gateway: Gateway, tally: Tally, suspicions: Suspicions) -> None:
        self.tally = tally
        self.suspicions = suspicions
        self._gateway = gateway

    @property
    def interceptions_suspected(self) -> int:
        """How many sessions give reason to think that interception breaks what their client checks."""
        return self.suspicions.sessions

    @property
    def caches(self) -> Mapping[str, CacheFigures]:
        """How each cache of the newest generation does, by name; a reload has them begin empty."""
        return self._gateway.newest.equipment.caches

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
    def turned_away(self) -> Mapping[str, int]:
        """Connections that became no session, by the token of the reason."""
        return self._gateway.turned_away

    @property
    def accept_pauses(self) -> int:
        """How often nothing was accepted for a while, for want of descriptors or memory."""
        return SHORTAGE.pauses
