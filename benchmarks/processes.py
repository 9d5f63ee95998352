"""What a tree of processes has used, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree_cpu_s(root: int) -> float:
    """Return the user and system time so far of a process and its living descendants, in seconds."""
    table = _table()
    found, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        if pid in table:
            found += table[pid][1]
            waiting += [child for child, (parent, _) in table.items() if parent == pid]
    return found / _TICKS_PER_S


def _table() -> dict[int, tuple[int, int]]:
    """Return parent and ticks of every process."""
    table = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue  # gone meanwhile
            fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
            table[int(folder.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    return table
