"""Medians of many runs, and how each peer stands beside the others."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

YARDSTICKS = ("sslsplit", "haproxy")
TWINS = {"starttls": "implicit", "large-starttls": "large-implicit"}
"""A yardstick that speaks no STARTTLS is compared by its implicit TLS, which does the same handshakes."""


@dataclass(frozen=True)
class Row:
    """One run: what the load saw, and the CPU time of a session in the proxy's processes."""

    round: int
    peer: str
    workload: str
    per_s: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    errors: int
    first_error: str
    cipher: str


def table(rows: list[Row]) -> str:
    """Return the medians as text, a block for each workload."""
    blocks = []
    for workload in dict.fromkeys(row.workload for row in rows):
        ratios = "".join(f"{f'x {name}':>12}" for name in YARDSTICKS)
        latencies = f"{'p50 ms':>9}{'p99 ms':>9}"
        head = f"{workload:16}{'sessions/s':>11}{'x direct':>10}{'CPU ms':>9}{ratios}{latencies}{'errors':>8}"
        peers = dict.fromkeys(row.peer for row in rows if row.workload == workload)
        blocks.append("\n".join([head, *(_line(rows, workload, peer) for peer in peers)]))
    return "\n\n".join(blocks)


def _line(rows: list[Row], workload: str, peer: str) -> str:
    mine = [row for row in rows if row.workload == workload and row.peer == peer]
    share = _ratio(mine, _runs(rows, workload, "direct"), attrgetter("per_s"))
    cpu_ms = median(row.cpu_ms for row in mine)
    ratios = "".join(f"{_ratio(mine, _runs(rows, workload, name), attrgetter('cpu_ms')):>12}" for name in YARDSTICKS)
    latencies = f"{median(row.p50_ms for row in mine):>9.1f}{median(row.p99_ms for row in mine):>9.1f}"
    errors = sum(row.errors for row in mine)
    why = next((f"  {row.first_error}" for row in mine if row.errors), "")
    per_s = median(row.per_s for row in mine)
    return f"  {peer:14}{per_s:>11.1f}{share:>10}{cpu_ms:>9.2f}{ratios}{latencies}{errors:>8}{why}"


def _runs(rows: list[Row], workload: str, peer: str) -> dict[int, Row]:
    """Return a yardstick's run of each round; of the workload's twin if it does not serve this one."""
    for name in (workload, TWINS.get(workload)):
        if runs := {row.round: row for row in rows if row.workload == name and row.peer == peer}:
            return runs
    return {}


def _ratio(mine: list[Row], theirs: dict[int, Row], figure: Callable[[Row], float]) -> str:
    """Return the median of the ratios within each round: what slows the machine slows both."""
    pairs = [(figure(row), figure(theirs[row.round])) for row in mine if row.round in theirs]
    ratios = [own / other for own, other in pairs if own and other]
    return f"{median(ratios):.2f}" if ratios else "-"
