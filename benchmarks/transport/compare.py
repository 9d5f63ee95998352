"""Measure the candidates beside each other: interleaved rounds, CPU time of the relay's process, medians, ratios.

    python -m benchmarks.transport.compare [--rounds 7] [--seconds 1.5] [--candidates stream startTLS]

Load and sink run on core 0, each relay on core 1. Both legs make a full TLS 1.3 handshake with an ECDSA P-256
certificate; a short session carries one message of 4 KiB, 50 at a time, a long one 10 MiB, four at a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trustme

ROOT = Path(__file__).resolve().parents[2]
CANDIDATES = ("startTLS", "pyopenssl-memory", "pyopenssl-socket", "stdlib-memory", "stream")
SHORT = {"size": 4096, "concurrency": 50}
LONG = {"size": 10 << 20, "concurrency": 4}
LONG_MIB = 10
WARM_HELD, HELD = 100, 300  # idle sessions: the first fill what earlier ones left free


class Program:
    """A process on one core that speaks JSON lines."""

    def __init__(self, core: int, module: str, *arguments: str) -> None:
        command = ["taskset", "-c", str(core), sys.executable, "-m", f"benchmarks.transport.{module}", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = self._read()["port"]

    def ask(self, job: dict[str, float]) -> int:
        """Have a job done; return how many sessions that were."""
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        return self._read()["done"]

    def cpu_s(self) -> float:
        """Return the CPU time of the process; Linux makes a clock of a process id, clock_getcpuclockid(3)."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def resident_kib(self) -> int:
        """Return the resident memory of the process."""
        return int(Path(f"/proc/{self.process.pid}/status").read_text().split("VmRSS:")[1].split()[0])

    def _read(self) -> dict[str, int]:
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        if not line:
            raise SystemExit("a program has ended early")
        return dict(json.loads(line))


class Subject:
    """One candidate's relay and its figures."""

    def __init__(self, name: str, load: Program, folder: str) -> None:
        self.name, self.load = name, load
        self.relay = Program(1, "relay", name, str(load.port), folder)
        self.short_ms: list[float] = []
        self.mib_ms: list[float] = []
        self.idle_kib = 0.0

    def begin(self) -> None:
        """Warm up, and measure the memory of idle sessions."""
        self._session_ms(SHORT, 0.5)
        self._ask({"hold": WARM_HELD})
        before = self.relay.resident_kib()
        self._ask({"hold": HELD})
        self.idle_kib = (self.relay.resident_kib() - before) / HELD
        self._ask({})

    def round(self, seconds: float) -> None:
        """Measure once."""
        self.short_ms.append(self._session_ms(SHORT, seconds))
        self.mib_ms.append(self._session_ms(LONG, seconds) / LONG_MIB)

    def _session_ms(self, kind: dict[str, int], seconds: float) -> float:
        before = self.relay.cpu_s()
        sessions = self._ask({**kind, "seconds": seconds})
        return (self.relay.cpu_s() - before) * 1e3 / sessions

    def _ask(self, job: dict[str, float]) -> int:
        return self.load.ask({"port": self.relay.port, **job})


def write_certificates(folder: str) -> None:
    """Write an authority and a leaf of it; both have ECDSA P-256 keys."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(f"{folder}/ca.pem")
    authority.issue_cert("sink.test").private_key_and_cert_chain_pem.write_to_path(f"{folder}/leaf.pem")


def show(subjects: list[Subject]) -> None:
    """Print the table; ratios are those of the first row."""
    first = statistics.median(subjects[0].short_ms)
    print(f"{'candidate':<18}{'ms/session':>12}{'ratio':>8}{'ms/MiB':>8}{'KiB idle':>10}")
    for subject in subjects:
        short, mib = statistics.median(subject.short_ms), statistics.median(subject.mib_ms)
        print(f"{subject.name:<18}{short:>12.2f}{short / first:>8.2f}{mib:>8.2f}{subject.idle_kib:>10.1f}")


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=1.5)
    arguments.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=CANDIDATES)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_certificates(folder)
        load = Program(0, "load", folder)
        subjects = [Subject(name, load, folder) for name in options.candidates]
        for subject in subjects:
            subject.begin()
        for _ in range(options.rounds):
            for subject in subjects:
                subject.round(options.seconds)
        show(subjects)
        for program in (load, *(subject.relay for subject in subjects)):
            program.process.terminate()


if __name__ == "__main__":
    main()
