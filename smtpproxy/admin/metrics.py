"""Figures of the running gateway as Prometheus metrics; `docs/metrics.md` tells every one.

Source: Prometheus' naming and exposition format, https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from smtpproxy import __version__
from smtpproxy.lru import CacheFigures

Counts: TypeAlias = dict[tuple[str, ...], int]
"""Values by their labels'."""


class Tally(Protocol):
    """What records told, counted since the process began."""

    @property
    def handshakes(self) -> Mapping[tuple[str, str], int]:
        """By leg and result."""

    @property
    def transactions(self) -> Mapping[str, int]:
        """By status."""

    @property
    def recipients(self) -> Mapping[str, int]:
        """By status."""

    @property
    def not_inspected(self) -> Mapping[str, int]:
        """Sessions that passed in a tunnel, by the reason."""

    @property
    def sessions(self) -> Mapping[bool, int]:
        """Those that ended, by whether they were downgraded."""

    @property
    def content_octets(self) -> int:
        """Of messages, as they came in."""

    @property
    def incidents(self) -> int:
        """Attacks and breaks of the protocol."""

    @property
    def crashes(self) -> int:
        """Sessions that this program failed."""

    @property
    def leaves(self) -> Mapping[str, int]:
        """Those that had to be signed, by what came of it."""

    @property
    def tls_reports(self) -> Mapping[str, int]:
        """By what became of them."""


class Figures(Protocol):
    """What can be counted of a running gateway, of the present generation of its configuration."""

    @property
    def tally(self) -> Tally:
        """What records told."""

    @property
    def caches(self) -> Mapping[str, CacheFigures]:
        """How each cache does, by name."""

    @property
    def spooled_octets(self) -> int:
        """Octets of messages that are on disk."""

    @property
    def sessions_running(self) -> int:
        """How many there are."""

    @property
    def sessions_begun(self) -> int:
        """How many there were."""

    @property
    def interceptions_suspected(self) -> int:
        """Sessions whose client seems to check a certificate that is replaced."""

    @property
    def blocked_sources(self) -> int:
        """How many sources are turned away."""

    @property
    def authority_ends(self) -> Mapping[str, float]:
        """When each authority ends that signs, in seconds since the epoch."""

    @property
    def turned_away(self) -> Mapping[str, int]:
        """Connections that became no session, by reason."""

    @property
    def accept_pauses(self) -> int:
        """How often nothing was accepted for a while, for want of descriptors or memory."""


def registry_of(figures: Figures) -> CollectorRegistry:
    """Return a registry of the gateway's metrics and of those that every process has."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GatewayCollector(figures))
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Return every metric in Prometheus' text format, as it stands now."""
    return generate_latest(registry)


class GatewayCollector(Collector):
    """Reads the figures when it is asked; until then nothing is done that a session would have to wait for."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        yield InfoMetricFamily("smtpproxy_build", "The version that runs.", {"version": __version__})
        yield from self._sessions()
        yield from self._mail()
        yield from self._caches()

    def _sessions(self) -> Iterable[Metric]:
        figures, tally = self._figures, self._figures.tally
        ended: Counts = {("yes" if downgraded else "no",): count for downgraded, count in tally.sessions.items()}
        yield GaugeMetricFamily("smtpproxy_sessions_running", "Sessions that are under way.", figures.sessions_running)
        yield CounterMetricFamily("smtpproxy_sessions_begun", "Sessions that were begun.", figures.sessions_begun)
        yield _counter("smtpproxy_sessions_ended", "Sessions that ended.", ("downgraded",), ended)
        yield _counter(
            "smtpproxy_sessions_not_inspected",
            "Sessions that ended and had passed uninspected.",
            ("reason",),
            _one_label(tally.not_inspected),
        )
        yield GaugeMetricFamily("smtpproxy_blocked_sources", "Sources that are turned away.", figures.blocked_sources)
        yield _counter(
            "smtpproxy_connections_refused",
            "Connections that became no session.",
            ("reason",),
            _one_label(figures.turned_away),
        )
        yield CounterMetricFamily(
            "smtpproxy_accept_pauses",
            "Times that nothing was accepted for a while, for want of descriptors or memory.",
            figures.accept_pauses,
        )
        handshakes: Counts = {(leg, result): count for (leg, result), count in tally.handshakes.items()}
        yield _counter("smtpproxy_tls_handshakes", "TLS handshakes.", ("leg", "result"), handshakes)
        yield _counter("smtpproxy_leaves", "Certificates that had to be signed.", ("result",), _one_label(tally.leaves))
        ends = GaugeMetricFamily(
            "smtpproxy_authority_end_timestamp_seconds", "When the authority that signs ends.", labels=("authority",)
        )
        for name, end in figures.authority_ends.items():
            ends.add_metric((name,), end)
        yield ends
        yield CounterMetricFamily(
            "smtpproxy_incidents", "Attacks, and breaks of the protocol that ended a session.", tally.incidents
        )
        yield CounterMetricFamily(
            "smtpproxy_interception_suspected",
            "Sessions whose client seems to check the certificate that interception replaces.",
            figures.interceptions_suspected,
        )
        yield CounterMetricFamily("smtpproxy_crashes", "Sessions that this program failed.", tally.crashes)

    def _mail(self) -> Iterable[Metric]:
        tally = self._figures.tally
        yield _counter(
            "smtpproxy_transactions", "Mail transactions that ended.", ("status",), _one_label(tally.transactions)
        )
        yield _counter(
            "smtpproxy_recipients", "Recipients of those transactions.", ("status",), _one_label(tally.recipients)
        )
        yield CounterMetricFamily(
            "smtpproxy_content_bytes", "Content of messages, as it came in.", tally.content_octets
        )
        yield _counter(
            "smtpproxy_tls_reports", "Reports about TLS (TLSRPT).", ("result",), _one_label(tally.tls_reports)
        )
        yield GaugeMetricFamily(
            "smtpproxy_spool_bytes", "Content on disk until it is judged.", self._figures.spooled_octets
        )

    def _caches(self) -> Iterable[Metric]:
        size = GaugeMetricFamily("smtpproxy_cache_entries", "Entries of a cache.", labels=("cache",))
        limit = GaugeMetricFamily("smtpproxy_cache_limit", "Entries that a cache may have.", labels=("cache",))
        hits = CounterMetricFamily("smtpproxy_cache_hits", "Look-ups that found an entry.", labels=("cache",))
        misses = CounterMetricFamily("smtpproxy_cache_misses", "Look-ups that found none.", labels=("cache",))
        for name, figures in self._figures.caches.items():
            size.add_metric((name,), figures.size)
            limit.add_metric((name,), figures.limit)
            hits.add_metric((name,), figures.hits)
            misses.add_metric((name,), figures.misses)
        return (size, limit, hits, misses)


def _one_label(counts: Mapping[str, int]) -> Counts:
    return {(value,): count for value, count in counts.items()}


def _counter(name: str, documentation: str, labels: tuple[str, ...], counts: Counts) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
