"""Runs as a measurement would bring them."""

from __future__ import annotations

from typing import cast

from benchmarks.runs import Run, Runs, Seen, Taken

NOTHING_TAKEN = Taken(sessions=0, handshakes=0, resumed=0, messages=0, chunked=0, grouped=0, octets=0)
NOTHING_SEEN = Seen(
    sessions=0,
    messages=0,
    pipelined=0,
    chunked=0,
    resumed=0,
    held=0,
    seconds=1.0,
    octets=4096,
    p50_ms=1.0,
    p99_ms=2.0,
    errors=0,
    first_error="",
    cipher="",
)


def run(peer: str, workload: str, cpu_s: float = 0.0, number: int = 0, memory_kib: int = 0, **seen: object) -> Run:
    """Return a run of 1000 sessions with a message each, but for what is said."""
    counted = cast("Seen", {**NOTHING_SEEN, "sessions": 1000, "messages": 1000, **seen})
    return Run(number, peer, workload, counted, NOTHING_TAKEN, cpu_s, memory_kib)


def runs(*all_of_them: Run) -> Runs:
    return Runs(all_of_them)
