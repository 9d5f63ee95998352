"""What a peer is, and where everybody listens."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import NamedTuple

HOST = "127.0.0.1"
CLEAR_HOST = "127.0.0.2"  # where the project has a policy whose upstream offers no STARTTLS
SINK_CLEAR, SINK_STARTTLS, SINK_IMPLICIT, SINK_POLITE = 2525, 2526, 2465, 2475


class Address(NamedTuple):
    """Where a client dials."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that takes part.

    Args:
        name: in the table.
        title: what it is and how it is set up, in a few words.
        command: starts it in the foreground; empty for the sink itself.
        addresses: where it serves each mode.
        version: as it tells it.
        most_sessions: that it holds at a time.
        has_every_core: also the one that the load has.
    """

    name: str
    title: str
    command: tuple[str, ...]
    addresses: dict[str, Address]
    version: str = ""
    most_sessions: int = 5000
    has_every_core: bool = False


def first_line(*command: str) -> str:
    """Return the first line that a program prints, for its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter((done.stdout + done.stderr).strip().splitlines()), "")
