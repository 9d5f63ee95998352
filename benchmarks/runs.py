"""What one run brought, the figure that it is judged by, and ratios between peers."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, TypedDict

from benchmarks.workloads import MEBIBYTE, WORKLOADS, Measure

if TYPE_CHECKING:
    from collections.abc import Callable

DIRECT, PROJECT = "direct", "smtpproxy"


class Seen(TypedDict):
    """What the load prints."""

    sessions: int
    messages: int
    pipelined: int
    chunked: int
    resumed: int
    held: int
    seconds: float
    octets: int
    p50_ms: float
    p99_ms: float
    errors: int
    first_error: str
    cipher: str


class Taken(TypedDict):
    """What the sink counts."""

    sessions: int
    handshakes: int
    resumed: int
    messages: int
    chunked: int
    grouped: int
    octets: int


@dataclass(frozen=True, slots=True)
class Run:
    """One workload against one peer, once.

    Args:
        round: of the interleaved rounds, which one.
        peer: who stood between load and sink.
        workload: its name.
        seen: by the load.
        taken: by the sink, in this run.
        cpu_s: CPU time of the peer's processes.
        memory_kib: by how much they grew until all sessions were open; only where sessions are held.
    """

    round: int
    peer: str
    workload: str
    seen: Seen
    taken: Taken
    cpu_s: float
    memory_kib: int = 0

    @property
    def units(self) -> float:
        """How many of what the workload is measured by were done: sessions, messages, MiB or sessions held."""
        measure, seen = WORKLOADS[self.workload].measure, self.seen
        match measure:
            case Measure.MESSAGE:
                return seen["messages"]
            case Measure.MEBIBYTE:
                return seen["messages"] * seen["octets"] / MEBIBYTE
            case Measure.MEMORY:
                return seen["held"]
            case _:
                return seen["sessions"]

    @property
    def per_s(self) -> float:
        """The rate of those units."""
        return self.units / self.seen["seconds"] if self.seen["seconds"] else 0.0

    @property
    def cpu_ms(self) -> float | None:
        """CPU milliseconds a unit, ``None`` if nothing was done."""
        return 1000 * self.cpu_s / self.units if self.units else None


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of a measurement."""

    all: tuple[Run, ...]

    def of(self, peer: str, workload: str) -> list[Run]:
        """Return the runs of one peer in one workload."""
        return [run for run in self.all if run.peer == peer and run.workload == workload]

    def workloads(self) -> list[str]:
        """Return the workloads that were run, in order."""
        return list(dict.fromkeys(run.workload for run in self.all))

    def peers(self, workload: str) -> list[str]:
        """Return the peers that took part in a workload, in order."""
        return list(dict.fromkeys(run.peer for run in self.all if run.workload == workload))

    def figure(self, run: Run) -> float | None:
        """Return what a run is judged by; ``None`` if nothing was done or what it is taken from is missing."""
        measure = WORKLOADS[run.workload].measure
        if measure is Measure.ADDED_MS:
            direct = self._at(DIRECT, run.workload, run.round)
            served = direct and direct.units and run.units
            return run.seen["p50_ms"] - direct.seen["p50_ms"] if direct and served else None
        if measure is Measure.MEMORY:
            return run.memory_kib / run.units if run.units else None
        return run.cpu_ms

    def median(self, peer: str, workload: str, figure: Callable[[Run], float | None] | None = None) -> float | None:
        """Return the median over the rounds of the workload's figure, or of another; ``None`` without any."""
        found = [value for run in self.of(peer, workload) if (value := (figure or self.figure)(run)) is not None]
        return median(found) if found else None

    def ratio(self, mine: tuple[str, str], theirs: tuple[str, str]) -> float | None:
        """Return the median of the ratios within each round, of two pairs of peer and workload.

        What slows the machine for a while slows both.
        """
        found = []
        for run in self.of(*mine):
            other = self._at(*theirs, run.round)
            own, yardstick = self.figure(run), self.figure(other) if other else None
            if own is not None and yardstick is not None and yardstick > 0:
                found.append(own / yardstick)
        return median(found) if found else None

    def share_of_direct(self, peer: str, workload: str) -> float | None:
        """Return the rate divided by that of the load on the sink itself, the median over the rounds."""
        pairs = [(run, self._at(DIRECT, workload, run.round)) for run in self.of(peer, workload)]
        found = [run.per_s / direct.per_s for run, direct in pairs if direct and direct.per_s]
        return median(found) if found else None

    def yardstick(self, peer: str, workload: str) -> str | None:
        """Return the workload that a peer is a yardstick of this one by: itself, or its twin over implicit TLS."""
        candidates = (workload, WORKLOADS[workload].twin)
        return next((name for name in candidates if name and self.of(peer, name)), None)

    def _at(self, peer: str, workload: str, number: int) -> Run | None:
        return next((run for run in self.of(peer, workload) if run.round == number), None)
