"""Metrics at the address that the newest configuration names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from smtpproxy.admin.metrics_server import MetricsServer
from smtpproxy.endpoint import Endpoint

_log = Logger(namespace="smtpproxy")


class Metrics(Service):
    """Keeps the server that answers; `MetricsMove` exchanges it.

    Args:
        make: makes a server for an address.
    """

    def __init__(self, make: Callable[[Endpoint], MetricsServer]) -> None:
        self._make = make
        self._endpoint: Endpoint | None = None
        self._server: MetricsServer | None = None

    def bind(self, endpoint: Endpoint | None) -> MetricsServer | None:
        """Return a server that has bound an address; none if none is wanted, or it is served already.

        Raises:
            OSError: the address cannot be had.
        """
        if endpoint is None or endpoint == self._endpoint:
            return None
        server = self._make(endpoint)
        server.privilegedStartService()
        return server

    def move(self, endpoint: Endpoint | None, server: MetricsServer | None) -> None:
        """Answer at an address from now on, and nowhere else."""
        if endpoint == self._endpoint:
            return
        before, self._endpoint, self._server = self._server, endpoint, server
        if server is not None:
            server.startService()
        if before is not None:
            before.stopService().addErrback(partial(_log.failure, "metrics did not end well"))

    def stopService(self) -> Deferred[None] | None:  # noqa: N802 - Twisted's name
        """Answer nowhere."""
        super().stopService()  # type: ignore[no-untyped-call]
        return None if self._server is None else self._server.stopService()


class MetricsMove(Service):
    """A configuration's wish for metrics: bound with its other ports, and served from its switch on.

    Args:
        metrics: whose address it is.
        endpoint: the address, ``None`` for no metrics.
    """

    def __init__(self, metrics: Metrics, endpoint: Endpoint | None) -> None:
        self._metrics = metrics
        self._endpoint = endpoint
        self._bound: MetricsServer | None = None

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind the address.

        Raises:
            OSError: it cannot be had.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bound = self._metrics.bind(self._endpoint)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Move there; it is not this wish's to end any more."""
        super().startService()  # type: ignore[no-untyped-call]
        bound, self._bound = self._bound, None
        self._metrics.move(self._endpoint, bound)

    def stopService(self) -> Deferred[None] | None:  # noqa: N802 - Twisted's name
        """Let go of an address that was never served."""
        super().stopService()  # type: ignore[no-untyped-call]
        bound, self._bound = self._bound, None
        return None if bound is None else bound.stopService()
