"""Measure the proxy beside its peers: same load, same sink, runs interleaved.

The figure that stands still on a noisy machine is the CPU time of a session: user and system time of the proxy's whole
process tree, read from /proc before and after a run. Rates depend on what else runs.

Needs gcc, libssl-dev and openssl; root and iproute2 for a network namespace of its own (without: this machine's ports);
peers take part when they are installed. benchmarks/README.md tells how to read the tables.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, PeerError
from benchmarks.measurement import Measurement, describe_machine
from benchmarks.peers.certificates import make_certificates
from benchmarks.peers.present import NAMES, SOURCES, prepare
from benchmarks.peers.project import before
from benchmarks.publish import publish
from benchmarks.runs import Run
from benchmarks.tables import markdown, text
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers.peer import Peer


def _measure(arguments: argparse.Namespace) -> Measurement:
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="smtpproxy-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        make_certificates(folder)
        peers = prepare(folder, arguments.peers)
        if arguments.before:
            peers.append(before(folder, arguments.before))
        _tell_missing(arguments.peers or list(NAMES), {peer.name for peer in peers})
        bench = Bench(folder, arguments.upstream_offers)
        stack.callback(bench.close)

        def measure(number: int, peer: Peer, workload: str) -> None:
            if run := bench.run(number, peer, workload, arguments.seconds):
                runs.append(run)

        peers = [peer for peer in peers if _serves(partial(bench.join, peer))]
        serving = peers
        for number in range(arguments.rounds):
            for workload in arguments.workloads:
                serving = [peer for peer in serving if _serves(partial(measure, number, peer, workload))]
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    titles = {peer.name: (peer.title, peer.version) for peer in peers}
    python = os.environ.get("BENCH_PYTHON", "")
    return Measurement(_options(arguments), python, describe_machine(), titles, tuple(runs))


def _serves(ask: Callable[[], None]) -> bool:
    """Ask something of a peer; one that does not serve is left out from then on, with the reason told."""
    try:
        ask()
    except PeerError as error:
        print(f"left out: {error}", file=sys.stderr)
        return False
    return True


def _tell_missing(wanted: list[str], present: set[str]) -> None:
    for name in wanted:
        if name not in present:
            print(f"left out, not to be had here: {name} ({SOURCES.get(name, 'unknown')})", file=sys.stderr)


def _options(arguments: argparse.Namespace) -> str:
    """Return what this was called with, as far as it decides how things are measured."""
    peers = f" --peers {','.join(arguments.peers)}" if arguments.peers else ""
    return f"--rounds {arguments.rounds} --seconds {arguments.seconds:g}{peers}"


def _names(known: list[str]) -> Callable[[str], list[str]]:
    def read(value: str) -> list[str]:
        names = value.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(known)}")
        return names

    return read


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each pair, interleaved; medians are shown")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run")
    parser.add_argument("--workloads", type=_names(list(WORKLOADS)), default=list(WORKLOADS), metavar="NAME,...")
    parser.add_argument(
        "--peers", type=_names(list(NAMES)), default=[], metavar="NAME,...", help="default: all that are installed"
    )
    parser.add_argument(
        "--before", metavar="PREFIX", help="an environment with another version of the proxy; takes part as `before`"
    )
    parser.add_argument(
        "--upstream-offers", default="PIPELINING CHUNKING 8BITMIME SIZE", help="what the sink announces"
    )
    parser.add_argument("--from", dest="earlier", type=Path, help="measure nothing; take what --json printed")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print every run as JSON")
    shape.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    shape.add_argument("--publish", action="store_true", help="write docs/performance.md's figures and its picture")
    return parser.parse_args()


def main() -> None:
    """Run and print."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that those who were started are ended
    earlier: Path | None = arguments.earlier
    measurement = Measurement.from_json(earlier.read_text()) if earlier else _measure(arguments)
    if arguments.publish:
        publish(measurement)
    elif arguments.json:
        print(measurement.to_json())
    else:
        print(markdown(measurement) if arguments.markdown else text(measurement))


if __name__ == "__main__":
    main()
