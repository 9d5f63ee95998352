"""Medians of many runs, and how each peer stands beside the others."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

YARDSTICKS = ("sslsplit", "haproxy")
TWINS = {"starttls": "implicit", "large-starttls": "large-implicit"}
"""A yardstick that speaks no STARTTLS is compared by its implicit TLS, which does the same handshakes."""


@dataclass(frozen=True)
class Row:
    """One run: what the load saw, and the CPU time of a session in the proxy's processes."""

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
    per_s = median(row.per_s for row in mine)
    direct = [row.per_s for row in rows if row.workload == workload and row.peer == "direct"]
    share = f"{per_s / median(direct):.2f}" if direct else "-"
    cpu_ms = median(row.cpu_ms for row in mine)
    ratios = "".join(f"{_ratio(cpu_ms, _cpu_ms(rows, workload, name)):>12}" for name in YARDSTICKS)
    latencies = f"{median(row.p50_ms for row in mine):>9.1f}{median(row.p99_ms for row in mine):>9.1f}"
    errors = sum(row.errors for row in mine)
    why = next((f"  {row.first_error}" for row in mine if row.errors), "")
    return f"  {peer:14}{per_s:>11.1f}{share:>10}{cpu_ms:>9.2f}{ratios}{latencies}{errors:>8}{why}"


def _cpu_ms(rows: list[Row], workload: str, peer: str) -> float:
    """Return the median of a yardstick, of the workload's twin if it does not serve this one; 0 if it did not run."""
    for name in (workload, TWINS.get(workload)):
        if figures := [row.cpu_ms for row in rows if row.workload == name and row.peer == peer]:
            return median(figures)
    return 0.0


def _ratio(mine: float, theirs: float) -> str:
    return f"{mine / theirs:.2f}" if mine and theirs else "-"
