"""Measure the proxy beside its peers: same load, same sink, runs interleaved.

The figure that stands still on a noisy machine is the CPU time of a session: user and system time of the proxy's whole
process tree, read from /proc before and after a run. Rates depend on what else runs.

Needs gcc, libssl-dev and openssl; root and iproute2 for a network namespace of its own (without: this machine's ports);
haproxy, sslsplit and stunnel take part when they are installed. benchmarks/README.md tells how to read the table.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from benchmarks.peers import CERTIFICATES, SINK, Address, Peer, prepare
from benchmarks.processes import tree_cpu_s
from benchmarks.table import Row, table

HERE = Path(__file__).resolve().parent
MEBIBYTE = 1024 * 1024
LOAD_CORE, PROXY_CORE = "0", "1"
_ATTEMPTS, _PAUSE_S = 100, 0.1
_COMPILER = ["gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-function"]


@dataclass(frozen=True)
class Workload:
    """One kind of session.

    Args:
        mode: how the client comes: clear, starttls or implicit.
        at_once: sessions kept going.
        size_octets: of the one message of a session.
        warm_up: sessions that are not counted.
    """

    mode: str
    at_once: int = 50
    size_octets: int = 4096
    warm_up: int = 30


WORKLOADS = {
    "starttls": Workload("starttls"),
    "implicit": Workload("implicit"),
    "clear": Workload("clear", warm_up=50),
    "large-starttls": Workload("starttls", at_once=4, size_octets=10 * MEBIBYTE, warm_up=2),
    "large-implicit": Workload("implicit", at_once=4, size_octets=10 * MEBIBYTE, warm_up=2),
}


class Seen(TypedDict):
    """What the load prints."""

    sessions: int
    warm_up: int
    seconds: float
    octets: int
    p50_ms: float
    p99_ms: float
    errors: int
    first_error: str
    cipher: str


class Bench:
    """The sink, the load and everybody that stands between them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._prefix: list[str] = []
        self._roots: dict[str, int] = {}
        _build()
        subprocess.run(["sh", "-ec", CERTIFICATES], cwd=folder, check=True, capture_output=True)
        if os.getuid() == 0 and shutil.which("ip"):
            self._enter_namespace()
        self._start("sink", LOAD_CORE, (str(HERE / "build" / "sink"), *SINK))

    def close(self) -> None:
        """End what was started, by its pid, and remove the namespace."""
        self._stack.close()

    def join(self, peer: Peer) -> None:
        """Start a peer and wait until it carries a message in every mode.

        Raises:
            SystemExit: it does not; with the end of its log.
        """
        if peer.command:
            self._start(peer.name, PROXY_CORE, peer.command)
        for mode, address in peer.addresses.items():
            probe = Workload(mode, at_once=1, warm_up=0)
            for _ in range(_ATTEMPTS):
                if (seen := self._load(probe, address, 0))["errors"] == 0:
                    break
                select.select([], [], [], _PAUSE_S)
            else:
                log = (self._folder / f"{peer.name}.log").read_text(errors="replace")[-2000:]
                raise SystemExit(f"{peer.name} does not serve {mode}: {seen['first_error']}\n{log}")

    def run(self, number: int, peer: Peer, workload: str, seconds: float) -> Row | None:
        """Run one workload against one peer in round ``number``; ``None`` if it does not serve that."""
        work = WORKLOADS[workload]
        if work.mode not in peer.addresses:
            return None
        root = self._roots.get(peer.name)
        before_s = tree_cpu_s(root) if root else 0.0
        seen = self._load(work, peer.addresses[work.mode], seconds)
        spent_s = (tree_cpu_s(root) if root else 0.0) - before_s
        return Row(
            round=number,
            peer=peer.name,
            workload=workload,
            per_s=seen["sessions"] / max(seen["seconds"], 1e-9),
            cpu_ms=1000 * spent_s / max(seen["sessions"] + seen["warm_up"], 1),
            p50_ms=seen["p50_ms"],
            p99_ms=seen["p99_ms"],
            errors=seen["errors"],
            first_error=seen["first_error"],
            cipher=seen["cipher"],
        )

    def _enter_namespace(self) -> None:
        name = f"smtpproxy-bench-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._stack.callback(subprocess.run, ["ip", "netns", "delete", name], check=False)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        # An address that is not loopback's: without one, sslsplit's getaddrinfo(AI_ADDRCONFIG) resolves nothing.
        subprocess.run(["ip", "-n", name, "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
        self._prefix = ["ip", "netns", "exec", name]

    def _pinned(self, core: str, command: tuple[str, ...]) -> list[str]:
        pin = ["taskset", "-c", core] if (os.cpu_count() or 1) > 1 else []
        return [*self._prefix, *pin, *command]

    def _start(self, name: str, core: str, command: tuple[str, ...]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(self._pinned(core, command), cwd=self._folder, stdout=log, stderr=log)
        self._roots[name] = process.pid
        self._stack.callback(_end, process)

    def _load(self, work: Workload, address: Address, seconds: float) -> Seen:
        options: dict[str, object] = {
            "--mode": work.mode,
            "--host": address.host,
            "--port": address.port,
            "--at-once": work.at_once,
            "--size": work.size_octets,
            "--warm-up": work.warm_up,
            "--seconds": seconds,
        }
        words = (str(word) for option in options.items() for word in option)
        command = self._pinned(LOAD_CORE, (str(HERE / "build" / "load"), *words))
        seen: Seen = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
        return seen


def _build() -> None:
    (HERE / "build").mkdir(exist_ok=True)
    for name in ("load", "sink"):
        target = ["-o", str(HERE / "build" / name), str(HERE / f"{name}.c"), "-lssl", "-lcrypto"]
        subprocess.run([*_COMPILER, *target], check=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each pair, interleaved; medians are shown")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--peers", default="direct,haproxy,sslsplit,stunnel,project")
    parser.add_argument("--json", action="store_true", help="print every run as JSON instead of the table")
    return parser.parse_args()


def main() -> None:
    """Run and print."""
    arguments = _arguments()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="smtpproxy-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        bench = Bench(folder)
        stack.callback(bench.close)
        peers = [peer for peer in prepare(folder) if peer.name in arguments.peers.split(",")]
        for peer in peers:
            bench.join(peer)
        for number in range(arguments.rounds):
            for workload in arguments.workloads.split(","):
                rows += [row for peer in peers if (row := bench.run(number, peer, workload, arguments.seconds))]
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(json.dumps([asdict(row) for row in rows], indent=1) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
