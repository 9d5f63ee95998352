"""What a peer and the sink did while a workload ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.processes import tree_cpu_s, tree_memory_kib
from benchmarks.runs import Taken

if TYPE_CHECKING:
    from collections.abc import Callable


class Meter:
    """Reads processor, memory and the sink's counters when the load is ready, and again at its end.

    Args:
        root: of the peer's processes; ``None`` if there is no peer.
        ask_sink: returns what the sink has taken so far.
        holds: whether memory is asked for: what the sessions need that are open when the load is ready.
    """

    def __init__(self, root: int | None, ask_sink: Callable[[], Taken], *, holds: bool) -> None:
        self._root, self._ask_sink, self._holds = root, ask_sink, holds
        self._idle_kib = tree_memory_kib(root) if root and holds else 0
        self.memory_kib = 0
        self.begin()

    def begin(self) -> None:
        """Note where everybody stands now."""
        if self._root and self._holds:
            self.memory_kib = tree_memory_kib(self._root) - self._idle_kib
        self._taken = self._ask_sink()
        self._cpu_s = self._cpu_so_far_s()

    def spent_s(self) -> float:
        """Return the CPU time since the beginning."""
        return self._cpu_so_far_s() - self._cpu_s

    def taken(self) -> Taken:
        """Return what the sink has taken since the beginning."""
        after, before = self._ask_sink(), self._taken
        return Taken(
            sessions=after["sessions"] - before["sessions"],
            handshakes=after["handshakes"] - before["handshakes"],
            resumed=after["resumed"] - before["resumed"],
            messages=after["messages"] - before["messages"],
            chunked=after["chunked"] - before["chunked"],
            grouped=after["grouped"] - before["grouped"],
            octets=after["octets"] - before["octets"],
        )

    def _cpu_so_far_s(self) -> float:
        return tree_cpu_s(self._root) if self._root else 0.0
