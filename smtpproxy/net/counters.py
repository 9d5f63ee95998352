"""Figures of a running gateway as a JSON document: the same numbers as the metrics, under the same names.

A metric's name loses ``smtpproxy_`` and ``_total``; one with labels is a mapping by the values of its labels.
"""

# ruff: noqa: D102 - each number is told where it is counted

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from smtpproxy.lru import CacheFigures
from smtpproxy.net.documents import Document


class Tallied(Protocol):
    """What records told, see `tally`."""

    @property
    def handshakes(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def transactions(self) -> Mapping[str, int]: ...
    @property
    def recipients(self) -> Mapping[str, int]: ...
    @property
    def sessions(self) -> Mapping[bool, int]: ...
    @property
    def tls_reports(self) -> Mapping[str, int]: ...
    @property
    def leaves(self) -> Mapping[str, int]: ...
    @property
    def not_inspected(self) -> Mapping[str, int]: ...
    @property
    def content_octets(self) -> int: ...
    @property
    def incidents(self) -> int: ...
    @property
    def crashes(self) -> int: ...


class Counted(Protocol):
    """What is counted of a gateway of one process or of many, see `figures`."""

    @property
    def tally(self) -> Tallied: ...
    @property
    def caches(self) -> Mapping[str, CacheFigures]: ...
    @property
    def spooled_octets(self) -> int: ...
    @property
    def sessions_running(self) -> int: ...
    @property
    def sessions_begun(self) -> int: ...
    @property
    def interceptions_suspected(self) -> int: ...
    @property
    def blocked_sources(self) -> int: ...
    @property
    def authority_ends(self) -> Mapping[str, float]: ...
    @property
    def turned_away(self) -> Mapping[str, int]: ...
    @property
    def accept_pauses(self) -> int: ...


def counters_of(figures: Counted) -> Document:
    """Return every number."""
    return {
        "sessions_running": figures.sessions_running,
        "sessions_begun": figures.sessions_begun,
        "blocked_sources": figures.blocked_sources,
        "authority_end_timestamp_seconds": dict(figures.authority_ends),
        "connections_refused": dict(figures.turned_away),
        "accept_pauses": figures.accept_pauses,
        "interception_suspected": figures.interceptions_suspected,
        "spool_bytes": figures.spooled_octets,
        **_tallied(figures.tally),
        **_cached(figures.caches),
    }


def _tallied(tally: Tallied) -> Document:
    return {
        "sessions_ended": {"yes": tally.sessions[True], "no": tally.sessions[False]},
        "sessions_not_inspected": dict(tally.not_inspected),
        "tls_handshakes": _handshakes(tally),
        "leaves": dict(tally.leaves),
        "transactions": dict(tally.transactions),
        "recipients": dict(tally.recipients),
        "content_bytes": tally.content_octets,
        "tls_reports": dict(tally.tls_reports),
        "incidents": tally.incidents,
        "crashes": tally.crashes,
    }


def _handshakes(tally: Tallied) -> Document:
    found: dict[str, dict[str, int]] = {}
    for (leg, result), count in tally.handshakes.items():
        found.setdefault(leg, {})[result] = count
    return found


_OF_A_CACHE: Mapping[str, Callable[[CacheFigures], int]] = {
    "cache_entries": lambda cache: cache.size,
    "cache_limit": lambda cache: cache.limit,
    "cache_hits": lambda cache: cache.hits,
    "cache_misses": lambda cache: cache.misses,
}


def _cached(caches: Mapping[str, CacheFigures]) -> Document:
    return {key: {name: value(cache) for name, cache in caches.items()} for key, value in _OF_A_CACHE.items()}
