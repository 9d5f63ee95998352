"""How many workers there are.

Source: sched_getaffinity(2), which knows of the processors that this process may use.
"""

from __future__ import annotations

import os


def count_workers(wanted: int | None) -> int:
    """Return the number that is wanted, or one for each processor."""
    return wanted or len(os.sched_getaffinity(0))
