from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.processes import tree_cpu_s, tree_memory_kib

BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"
WAITING = "print('ready', flush=True); input()"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])\n{WAITING}"
HOLDER = f"held = bytearray(50_000_000)\n{WAITING}"


def _started(source: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_children_that_ended_count() -> None:
    process = _started(PARENT)
    used_s = tree_cpu_s(process.pid)
    process.communicate("\n")
    assert used_s > 0.25  # the kernel counts in ticks


def test_children_that_live_count() -> None:
    process = _started(HOLDER)
    mine = tree_memory_kib(os.getpid())
    assert tree_memory_kib(process.pid) > 48_000
    assert mine > tree_memory_kib(process.pid)
    process.communicate("\n")


def test_nobody_has_used_nothing() -> None:
    process = _started(WAITING)
    process.communicate("\n")
    assert (tree_cpu_s(process.pid), tree_memory_kib(process.pid)) == (0, 0)
