"""Whether a gateway takes mail, by its status: one answer for the command, for containers and for balancers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

RUNNING: Final = "running"
"""The state of a gateway that neither drains nor stops."""


def obstacles(status: dict[str, Any]) -> Iterator[str]:
    """Yield why a gateway takes no mail, or less than it should."""
    if status["state"] != RUNNING:
        yield f"the gateway is {status['state']}"
    elif not status["listening"]:
        yield "the gateway listens nowhere"
    for worker in status["workers"]:
        if not worker["answers"]:
            yield f"a worker does not answer: {worker['because']}"
