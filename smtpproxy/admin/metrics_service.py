"""Metrics at the address that the newest configuration names."""

from __future__ import annotations

from collections.abc import Callable

from smtpproxy.admin.metrics_server import MetricsServer
from smtpproxy.admin.moving import Move, Moving
from smtpproxy.endpoint import Endpoint


class Metrics(Moving[Endpoint]):
    """Keeps the server that answers; `MetricsMove` exchanges it.

    Args:
        make: makes a server for an address.
    """

    def __init__(self, make: Callable[[Endpoint], MetricsServer]) -> None:
        super().__init__(make, "metrics")


class MetricsMove(Move[Endpoint]):
    """A configuration's wish for metrics."""
