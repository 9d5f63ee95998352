"""Figures of workers: told by each as numbers, added up for all; what one counted counts on when it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from smtpproxy.lru import CacheFigures
from smtpproxy.net.figures import Figures

Numbers: TypeAlias = dict[str, Any]
"""Numbers by name, or further such."""


def told(figures: Figures) -> Numbers:
    """Return a worker's figures: counters, which only grow, and levels."""
    tally, caches = figures.tally, figures.caches
    return {
        "counters": {
            "handshakes": {f"{leg} {end}": count for (leg, end), count in tally.handshakes.items()},
            "transactions": dict(tally.transactions),
            "recipients": dict(tally.recipients),
            "tls_reports": dict(tally.tls_reports),
            "leaves": dict(tally.leaves),
            "not_inspected": dict(tally.not_inspected),
            "ended": {"downgraded" if key else "kept": count for key, count in tally.sessions.items()},
            "turned_away": dict(figures.turned_away),
            "hits": {name: each.hits for name, each in caches.items()},
            "misses": {name: each.misses for name, each in caches.items()},
            "content_octets": tally.content_octets,
            "incidents": tally.incidents,
            "crashes": tally.crashes,
            "begun": figures.sessions_begun,
            "pauses": figures.accept_pauses,
            "suspected": figures.interceptions_suspected,
        },
        "levels": {
            "running": figures.sessions_running,
            "spooled": figures.spooled_octets,
            "sizes": {name: each.size for name, each in caches.items()},
            "limits": {name: each.limit for name, each in caches.items()},
        },
        "blocked": figures.blocked_sources,
        "ends": dict(figures.authority_ends),
    }


def total(several: Iterable[Numbers]) -> Numbers:
    """Return the sum of numbers, name by name."""
    found: Numbers = {}
    for numbers in several:
        for name, value in numbers.items():
            found[name] = total([found.get(name, {}), value]) if isinstance(value, dict) else found.get(name, 0) + value
    return found


@dataclass(frozen=True, slots=True)
class FleetTally:
    """What the records of all workers told; see `smtpproxy.net.tally`."""

    handshakes: Mapping[tuple[str, str], int]
    transactions: Mapping[str, int]
    recipients: Mapping[str, int]
    sessions: Mapping[bool, int]
    tls_reports: Mapping[str, int]
    leaves: Mapping[str, int]
    not_inspected: Mapping[str, int]
    content_octets: int
    incidents: int
    crashes: int


class FleetFigures:
    """The figures of all workers as those of one gateway.

    Args:
        workers: returns what each worker that runs has told.
    """

    def __init__(self, workers: Callable[[], Iterable[Numbers]]) -> None:
        self._workers = workers
        self._departed: Numbers = {}

    def depart(self, figures: Numbers) -> None:
        """Count on what a worker counted that is gone."""
        self._departed = total([self._departed, figures.get("counters", {})])

    @property
    def _counters(self) -> Numbers:
        return total([self._departed, *(figures.get("counters", {}) for figures in self._workers())])

    @property
    def _levels(self) -> Numbers:
        return total(figures.get("levels", {}) for figures in self._workers())

    @property
    def tally(self) -> FleetTally:
        """What records told."""
        counters = self._counters
        ended = counters.get("ended", {})
        handshakes = (name.split(" ") for name in counters.get("handshakes", {}))
        return FleetTally(
            handshakes={(leg, end): counters["handshakes"][f"{leg} {end}"] for leg, end in handshakes},
            transactions=counters.get("transactions", {}),
            recipients=counters.get("recipients", {}),
            sessions={False: ended.get("kept", 0), True: ended.get("downgraded", 0)},
            tls_reports=counters.get("tls_reports", {}),
            leaves=counters.get("leaves", {}),
            not_inspected=counters.get("not_inspected", {}),
            content_octets=counters.get("content_octets", 0),
            incidents=counters.get("incidents", 0),
            crashes=counters.get("crashes", 0),
        )

    @property
    def caches(self) -> Mapping[str, CacheFigures]:
        """How the caches of each name do together."""
        counters, levels = self._counters, self._levels
        return {
            name: CacheFigures(
                size=size,
                limit=levels["limits"][name],
                hits=counters["hits"][name],
                misses=counters["misses"][name],
            )
            for name, size in levels.get("sizes", {}).items()
        }

    @property
    def spooled_octets(self) -> int:
        """Octets of messages that are on disk."""
        return int(self._levels.get("spooled", 0))

    @property
    def sessions_running(self) -> int:
        """How many there are."""
        return int(self._levels.get("running", 0))

    @property
    def sessions_begun(self) -> int:
        """How many there were."""
        return int(self._counters.get("begun", 0))

    @property
    def interceptions_suspected(self) -> int:
        """Sessions whose client seems to check a certificate that is replaced."""
        return int(self._counters.get("suspected", 0))

    @property
    def blocked_sources(self) -> int:
        """How many sources are turned away, by every worker."""
        return max((figures.get("blocked", 0) for figures in self._workers()), default=0)

    @property
    def authority_ends(self) -> Mapping[str, float]:
        """When each authority ends that signs; the earliest, while workers go over from one to the next."""
        found: dict[str, float] = {}
        for figures in self._workers():
            for name, end in figures.get("ends", {}).items():
                found[name] = min(end, found.get(name, end))
        return found

    @property
    def turned_away(self) -> Mapping[str, int]:
        """Connections that became no session, by reason."""
        found: Mapping[str, int] = self._counters.get("turned_away", {})
        return found

    @property
    def accept_pauses(self) -> int:
        """How often nothing was accepted for a while, by whichever worker."""
        return int(self._counters.get("pauses", 0))
