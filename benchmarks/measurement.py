"""A whole measurement: who took part, on what machine, by which command, and every run; to JSON and back."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.runs import Run, Runs
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything that a report is made from.

    Args:
        options: of `make bench`, but for the workloads.
        python: the interpreter that it was called with; nothing if none was named.
        machine: in one line.
        peers: by name, how each was set up and its version.
        all: the runs.
    """

    options: str
    python: str
    machine: str
    peers: dict[str, tuple[str, str]]
    all: tuple[Run, ...]

    @property
    def runs(self) -> Runs:
        """The runs, to be asked for medians and ratios."""
        return Runs(self.all)

    def command(self, *workloads: str) -> str:
        """Return what measures these workloads again, or all that were measured."""
        chosen = workloads or self.runs.workloads()
        some = "" if len(chosen) == len(WORKLOADS) else f" --workloads {','.join(chosen)}"
        by = f"BENCH_PYTHON={self.python} " if self.python else ""
        return f'make bench {by}ARGS="{self.options}{some}"'

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, written: str) -> Measurement:
        """Return what `to_json` wrote."""
        found = json.loads(written)
        peers = {name: (title, version) for name, (title, version) in found["peers"].items()}
        return cls(
            found["options"], found["python"], found["machine"], peers, tuple(Run(**run) for run in found["all"])
        )


def describe_machine() -> str:
    """Return processor, cores, system and the day, in one line."""
    processor = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    system = next((line for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME=")), "Linux")
    return ", ".join(
        (
            f"{processor.rpartition(':')[2].strip()}, {os.cpu_count()} cores",
            system.rpartition("=")[2].strip('"'),
            f"Linux {platform.release().partition('-')[0]}",
            f"{datetime.now(UTC):%Y-%m-%d}",
        )
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
