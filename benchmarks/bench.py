"""Start sink and peers, run the load against each, and end them all."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.build import build
from benchmarks.meter import Meter
from benchmarks.peers.peer import SINK_CLEAR, SINK_IMPLICIT, SINK_POLITE, SINK_STARTTLS, Address, Peer
from benchmarks.runs import Run, Seen, Taken
from benchmarks.workloads import WORKLOADS, Measure, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAMS = Path(__file__).resolve().parent / "build"
_ATTEMPTS, _PAUSE_S = 150, 0.1
_SINK = {"--clear": SINK_CLEAR, "--starttls": SINK_STARTTLS, "--implicit": SINK_IMPLICIT, "--polite": SINK_POLITE}
_NAMESPACE_SETTINGS = ("net.ipv4.ip_local_port_range=10240 65000", "net.ipv4.tcp_tw_reuse=1", "net.core.somaxconn=4096")


class Cores(NamedTuple):
    """Who runs where; the sink shares the load's core where there are only two."""

    load: str = "0"
    proxy: str = "1"
    sink: str = "2" if (os.cpu_count() or 1) > 2 else "0"
    every: str = f"0-{(os.cpu_count() or 1) - 1}"


class PeerError(Exception):
    """A peer does not do its work."""


class Bench:
    """The sink, the load and everybody that stands between them.

    Args:
        folder: with the peers' configuration; logs go there.
        offers: what the sink's EHLO announces.
    """

    def __init__(self, folder: Path, offers: str) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._prefix: list[str] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._cores = Cores()
        build(_PROGRAMS)
        try:
            if os.getuid() == 0 and shutil.which("ip"):
                self._enter_namespace()
            self._sink = self._start_sink(offers)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what was started, by its pid, and remove the namespace."""
        while self._running:
            _end(self._running.popitem()[1])
        self._stack.close()

    def join(self, peer: Peer) -> None:
        """Start a peer, anew if it runs, and wait until it carries a message in every mode.

        Raises:
            PeerError: it does not; with the end of its log.
        """
        if peer.command:
            if peer.name in self._running:
                _end(self._running.pop(peer.name))
            self._start(peer)
        for mode, address in peer.addresses.items():
            if error := self._probe(peer, mode, address):
                raise PeerError(f"{peer.name} does not serve {mode}: {error}\n{self._end_of_log(peer)}")

    def run(self, number: int, peer: Peer, workload: str, seconds: float) -> Run | None:
        """Run one workload against one peer in round ``number``; ``None`` if it does not serve that.

        A peer that has ended meanwhile is started again.

        Raises:
            PeerError: it does not serve any longer; with the end of its log.
        """
        work = WORKLOADS[workload]
        if work.mode not in peer.addresses or work.hold > peer.most_sessions or (work.hold and not peer.command):
            return None
        if work.measure is Measure.MEMORY or self._has_ended(peer):
            self.join(peer)  # what earlier runs left in its memory would hide what these sessions need
        root = self._running[peer.name].pid if peer.command else None
        meter = Meter(root, self._taken, holds=work.hold > 0)
        seen = self._load(work, peer.addresses[work.mode], seconds, meter.begin)
        cpu_s = meter.spent_s()
        return Run(number, peer.name, workload, seen, meter.taken(), cpu_s, meter.memory_kib)

    def _probe(self, peer: Peer, mode: str, address: Address) -> str:
        """Return why no message gets through, though there was time for it; nothing if one does."""
        work = Workload("", mode, at_once=1, warm_up=0)
        for _ in range(_ATTEMPTS):
            seen = self._load(work, address, 0)
            if not seen["errors"] or self._has_ended(peer):
                break
            select.select([], [], [], _PAUSE_S)
        return seen["first_error"]

    def _end_of_log(self, peer: Peer) -> str:
        log = self._folder / f"{peer.name}.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def _has_ended(self, peer: Peer) -> bool:
        return bool(peer.command) and self._running[peer.name].poll() is not None

    def _enter_namespace(self) -> None:
        name = f"smtpproxy-bench-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._stack.callback(subprocess.run, ["ip", "netns", "delete", name], check=False)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        # An address that is not loopback's: without one, sslsplit's getaddrinfo(AI_ADDRCONFIG) resolves nothing.
        subprocess.run(["ip", "-n", name, "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
        self._prefix = ["ip", "netns", "exec", name]
        # So many short connections run out of ports otherwise.
        subprocess.run([*self._prefix, "sysctl", "-q", "-w", *_NAMESPACE_SETTINGS], check=True)

    def _pinned(self, core: str, command: tuple[str, ...]) -> list[str]:
        pin = ["taskset", "-c", core] if (os.cpu_count() or 1) > 1 else []
        return [*self._prefix, *pin, *command]

    def _start_sink(self, offers: str) -> subprocess.Popen[str]:
        files = ("--certificate", "sink.pem", "--key", "sink.key", "--offers", offers)
        ports = (str(word) for option in _SINK.items() for word in option)
        command = self._pinned(self._cores.sink, (str(_PROGRAMS / "sink"), *ports, *files))
        sink = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.PIPE, text=True)
        self._stack.enter_context(sink)
        self._stack.callback(_end, sink)
        return sink

    def _start(self, peer: Peer) -> None:
        command = self._pinned(self._cores.every if peer.has_every_core else self._cores.proxy, peer.command)
        with (self._folder / f"{peer.name}.log").open("ab") as log:
            # In a session of its own: Postfix signals its whole process group when it ends.
            self._running[peer.name] = subprocess.Popen(
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _taken(self) -> Taken:
        """Ask the sink what it has taken so far."""
        self._sink.send_signal(signal.SIGUSR1)
        taken: Taken = json.loads(_line(self._sink))
        return taken

    def _load(self, work: Workload, address: Address, seconds: float, at_ready: Callable[[], object] = bool) -> Seen:
        where = {"--host": address.host, "--port": address.port, "--seconds": seconds, "--pauses": "yes"}
        words = (str(word) for option in (where | work.options()).items() for word in option)
        command = self._pinned(self._cores.load, (str(_PROGRAMS / "load"), *words))
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            line = _line(load)
            if line == "ready\n":
                at_ready()
                line = load.communicate("\n")[0]
        if not line:
            raise SystemExit(f"the load ended with status {load.returncode}")
        seen: Seen = json.loads(line)
        return seen


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline() if process.stdout else ""


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
