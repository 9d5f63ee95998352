"""Descriptors: how many a process may have, and how many its sessions need.

Source: getrlimit(2) RLIMIT_NOFILE.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PER_SESSION: Final = 3
"""A socket on either leg, and the spooled message."""

BESIDE: Final = 256
"""Listeners, records, lookups, the signing process, libraries that load parts of themselves."""


def needed(max_sessions: Iterable[int]) -> int:
    """Return how many descriptors a process needs.

    Args:
        max_sessions: the limit of each proxy action.
    """
    return PER_SESSION * sum(max_sessions) + BESIDE


def shortfall(wanted: int) -> str | None:
    """Return what to tell if not even the hard limit suffices, else ``None``."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return None
    return (
        f"max_sessions of all proxy actions needs {wanted} descriptors in one process, and the hard limit is {hard}: "
        f"connections will wait when they are used up; raise the limit (LimitNOFILE={wanted}) or lower max_sessions"
    )


def make_room(wanted: int) -> tuple[int, int] | None:
    """Raise the soft limit to the hard one, if it does not suffice; return both if that was done."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted and soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return soft, hard
    return None
