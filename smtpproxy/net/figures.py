"""Everything of a running gateway that can be counted, in one place for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping

from smtpproxy.lru import CacheFigures
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.tally import Tally


class Figures:
    """Reads the counters; nothing is counted here.

    Args:
        equipment: of the present generation of the configuration.
        gateway: runs the sessions.
        tally: of the record writer.

    Attributes:
        equipment: to be set anew when a reload brings another generation, whose caches begin empty.
    """

    def __init__(self, equipment: Equipment, gateway: Gateway, tally: Tally) -> None:
        self.equipment = equipment
        self.tally = tally
        self._gateway = gateway

    @property
    def caches(self) -> Mapping[str, CacheFigures]:
        """How each cache of the present generation does, by name."""
        return self.equipment.caches

    @property
    def spooled_octets(self) -> int:
        """Octets of messages that are on disk until they are judged."""
        return self.equipment.spools.budget.taken_octets

    @property
    def sessions_running(self) -> int:
        """How many sessions there are, of whatever generation."""
        return self._gateway.sessions_running

    @property
    def sessions_begun(self) -> int:
        """How many there were, those included."""
        return self._gateway.sessions_begun

    @property
    def turned_away(self) -> Mapping[str, int]:
        """Connections that became no session, by the token of the reason."""
        return self._gateway.turned_away
