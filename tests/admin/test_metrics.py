from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from smtpproxy import __version__
from smtpproxy.admin.metrics import exposition, registry_of
from smtpproxy.lru import CacheFigures

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENTED = re.compile(r"^\| `(smtpproxy_\w+)`", re.MULTILINE)
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


class Tally:
    """Every number is another."""

    handshakes: Mapping[tuple[str, str], int] = {("client", "full"): 11, ("upstream", "resumed"): 12}
    transactions: Mapping[str, int] = Counter({"accepted": 21})
    recipients: Mapping[str, int] = Counter({"refused": 31})
    sessions: Mapping[bool, int] = {False: 41, True: 42}
    not_inspected: Mapping[str, int] = {"tls-action": 43}
    content_octets = 51
    incidents = 61
    crashes = 71
    tls_reports: Mapping[str, int] = {"sent": 72}
    leaves: Mapping[str, int] = {"signed": 73}


class Figures:
    def __init__(self) -> None:
        self.tally = Tally()
        self.caches = {"leaves": CacheFigures(81, 82, 83, 84)}
        self.spooled_octets = 85
        self.sessions_running = 91
        self.sessions_begun = 92
        self.interceptions_suspected = 94
        self.blocked_sources = 95
        self.turned_away = Counter({"no-policy": 93})
        self.accept_pauses = 96
        self.authority_ends = {"proxy": 97.0}


def samples(figures: Figures) -> dict[tuple[str, ...], float]:
    text = exposition(registry_of(figures)).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_figure_has_its_metric() -> None:
    found = {key: value for key, value in samples(Figures()).items() if key[0].startswith("smtpproxy_")}
    assert found == {
        ("smtpproxy_build_info", __version__): 1,
        ("smtpproxy_sessions_running",): 91,
        ("smtpproxy_sessions_begun_total",): 92,
        ("smtpproxy_sessions_ended_total", "no"): 41,
        ("smtpproxy_sessions_ended_total", "yes"): 42,
        ("smtpproxy_sessions_not_inspected_total", "tls-action"): 43,
        ("smtpproxy_blocked_sources",): 95,
        ("smtpproxy_tls_reports_total", "sent"): 72,
        ("smtpproxy_leaves_total", "signed"): 73,
        ("smtpproxy_connections_refused_total", "no-policy"): 93,
        ("smtpproxy_accept_pauses_total",): 96,
        ("smtpproxy_authority_end_timestamp_seconds", "proxy"): 97,
        ("smtpproxy_tls_handshakes_total", "client", "full"): 11,
        ("smtpproxy_tls_handshakes_total", "upstream", "resumed"): 12,
        ("smtpproxy_transactions_total", "accepted"): 21,
        ("smtpproxy_recipients_total", "refused"): 31,
        ("smtpproxy_content_bytes_total",): 51,
        ("smtpproxy_spool_bytes",): 85,
        ("smtpproxy_incidents_total",): 61,
        ("smtpproxy_interception_suspected_total",): 94,
        ("smtpproxy_crashes_total",): 71,
        ("smtpproxy_cache_entries", "leaves"): 81,
        ("smtpproxy_cache_limit", "leaves"): 82,
        ("smtpproxy_cache_hits_total", "leaves"): 83,
        ("smtpproxy_cache_misses_total", "leaves"): 84,
    }


def test_the_page_tells_every_metric_and_no_other() -> None:
    told = DOCUMENTED.findall(PAGE.read_text())
    assert set(told) == {name for name, *_ in samples(Figures()) if name.startswith("smtpproxy_")}
    assert len(set(told)) == len(told)


def test_the_metrics_of_every_process_are_there() -> None:
    assert samples(Figures())["process_open_fds",] > 0


def test_figures_are_read_when_they_are_asked_for() -> None:
    figures = Figures()
    registry = registry_of(figures)
    figures.sessions_running = 5
    assert b"\nsmtpproxy_sessions_running 5.0\n" in exposition(registry)
