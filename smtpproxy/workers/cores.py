"""How many workers there are.

Source: sched_getaffinity(2), which knows of the processors that this process may use; the kernel's
Documentation/admin-guide/cgroup-v2.rst (cpu.max), by which a container or `CPUQuota=` has less time than they give.
"""

from __future__ import annotations

import os
from functools import cache
from math import ceil
from pathlib import Path
from typing import Final

from smtpproxy.config.gateway_file import MAX_WORKERS

_OWN: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")
_OF_VERSION_2: Final = "0::/"


def count_workers(wanted: int | None) -> int:
    """Return the number that is wanted, or one for each core that this process may use: as it was at the first call."""
    return wanted or _of_this_process()


@cache
def _of_this_process() -> int:
    """A further worker may not be able to share the others' ports, so that a reload keeps to the number."""
    return count_cores(len(os.sched_getaffinity(0)))


def count_cores(processors: int, own: Path = _OWN, groups: Path = _GROUPS) -> int:
    """Return how many processes can be at work all the time.

    Args:
        processors: that may be used.
        own: names the control group of this process.
        groups: where control groups are.
    """
    return min(processors, ceil(_quota(own, groups)), MAX_WORKERS)


def _quota(own: Path, groups: Path) -> float:
    """Return the processor time that the control groups of this process leave it, in processors."""
    try:
        names = [
            line.removeprefix(_OF_VERSION_2) for line in own.read_text().splitlines() if line.startswith(_OF_VERSION_2)
        ]
    except OSError:
        return MAX_WORKERS
    folders = [folder for name in names for folder in (groups / name, *(groups / name).parents)]
    return min((_quota_of(each / "cpu.max") for each in folders if each.is_relative_to(groups)), default=MAX_WORKERS)


def _quota_of(file: Path) -> float:
    try:
        most, period = file.read_text().split()
        return MAX_WORKERS if most == "max" else max(int(most), 1) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return MAX_WORKERS
