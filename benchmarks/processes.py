"""What a tree of processes has used, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class _Process(NamedTuple):
    parent: int
    ticks: int


def tree_cpu_s(root: int) -> float:
    """Return the user and system time so far of a process and its descendants, in seconds.

    Children that ended count once their parent has waited for them.
    """
    table = _table()
    return sum(table[pid].ticks for pid in _tree(table, root)) / _TICKS_PER_S


def tree_memory_kib(root: int) -> int:
    """Return the memory of a process and its living descendants, in KiB; what they share is counted once (PSS)."""
    return sum(_proportional_kib(pid) for pid in _tree(_table(), root))


def _tree(table: dict[int, _Process], root: int) -> set[int]:
    found, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        if pid in table and pid not in found:
            found.add(pid)
            waiting += [child for child, process in table.items() if process.parent == pid]
    return found


def _table() -> dict[int, _Process]:
    table = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue  # gone meanwhile
            fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
            own_and_ended_children = sum(map(int, fields[11:15]))
            table[int(folder.name)] = _Process(int(fields[1]), own_and_ended_children)
    return table


def _proportional_kib(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
