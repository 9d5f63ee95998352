"""Who takes part here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.haraka import haraka
from benchmarks.peers.peer import HOST, SINK_CLEAR, SINK_IMPLICIT, SINK_STARTTLS, Address, Peer
from benchmarks.peers.postfix import postfix
from benchmarks.peers.project import TWO_WORKERS, project, two_workers
from benchmarks.peers.relays import haproxy, sslsplit, stunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

_TO_SINK = {"clear": SINK_CLEAR, "starttls": SINK_STARTTLS, "implicit": SINK_IMPLICIT}
DIRECT = Peer(
    "direct", "nobody: the load on the sink", (), {mode: Address(HOST, port) for mode, port in _TO_SINK.items()}
)

SOURCES = {
    "haproxy": "apt-get install haproxy",
    "sslsplit": "apt-get install sslsplit",
    "stunnel": "apt-get install stunnel4",
    "postfix": "apt-get install postfix, and root",
    "haraka": "npm install Haraka; it is fetched if --peers names it",
    TWO_WORKERS: "it takes part if --peers names it",
}
"""Where those come from that are not here."""

NAMES = ("direct", "sslsplit", "haproxy", "stunnel", "postfix", "haraka", "smtpproxy", TWO_WORKERS)


def prepare(folder: Path, named: Collection[str]) -> list[Peer]:
    """Write everybody's configuration into ``folder`` and return those that can run.

    Args:
        folder: with the certificates in it.
        named: who is to take part; nobody: all that are installed.
    """
    prepared: dict[str, Callable[[], Peer | None]] = {
        "direct": lambda: DIRECT,
        "sslsplit": lambda: sslsplit(folder),
        "haproxy": lambda: haproxy(folder),
        "stunnel": lambda: stunnel(folder),
        "postfix": lambda: postfix(folder),
        "haraka": lambda: haraka(folder, may_install="haraka" in named),
        "smtpproxy": lambda: project(folder),
        TWO_WORKERS: lambda: two_workers(folder) if TWO_WORKERS in named else None,
    }
    wanted = [name for name in NAMES if not named or name in named]
    return [peer for name in wanted if (peer := prepared[name]()) is not None]
