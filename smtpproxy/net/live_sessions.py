"""Sessions that are under way as JSON documents; `docs/control.md` tells every field.

Neither content nor an envelope is among them: whoever asks how the gateway does need not see who writes to whom. The
records have that, under the same session's token.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from heapq import nlargest

from smtpproxy.net.documents import Document, origin_fields, tls_fields
from smtpproxy.net.driver import Driver
from smtpproxy.net.escapes import escaped
from smtpproxy.net.generation import Generation
from smtpproxy.session.standing import Standing
from smtpproxy.tls.facts import TlsFacts


def written_time(seconds: float) -> str:
    """Return a time in seconds since the epoch as records have it: RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def live_sessions(generations: Iterable[Generation], now_s: float, limit: int) -> list[Document]:
    """Return a document for each session, the oldest first.

    Args:
        generations: those that have sessions.
        now_s: the time of day.
        limit: how many there may be; the youngest are left out.
    """
    found = nlargest(limit, _all(generations), key=lambda each: each[1].age_s)
    return [_document(driver, standing, number, now_s) for driver, standing, number in found]


def _all(generations: Iterable[Generation]) -> Iterator[tuple[Driver, Standing, int]]:
    for generation in generations:
        for driver in generation.sessions:
            yield driver, driver.standing, generation.number


def _document(driver: Driver, standing: Standing, generation: int, now_s: float) -> Document:
    return {
        **origin_fields(driver.origin),
        "upstream_address": str(standing.upstream_address) if standing.upstream_address else None,
        "helo": escaped(standing.helo),
        "state": {"client": standing.client.value, "upstream": standing.upstream.value},
        "since": written_time(now_s - standing.age_s),
        "seconds": round(standing.age_s, 3),
        "idle": round(standing.idle_s, 3),
        "transactions": standing.transactions,
        "octets": {
            "client_in": standing.client_octets_in,
            "client_out": standing.client_octets_out,
            "upstream_in": standing.upstream_octets_in,
            "upstream_out": standing.upstream_octets_out,
        },
        "downgraded": standing.downgraded,
        "inspected": f"no, because {standing.not_inspected_because}" if standing.not_inspected_because else "yes",
        "client_tls": _tls(standing.client_tls, "client"),
        "upstream_tls": _tls(standing.upstream_tls, "upstream"),
        "generation": generation,
        "pid": os.getpid(),
    }


def _tls(facts: TlsFacts | None, leg: str) -> Document | None:
    return None if facts is None else tls_fields(facts, leg)
