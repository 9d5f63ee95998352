from __future__ import annotations

import socket

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.admin.metrics_server import MetricsServer
from smtpproxy.admin.metrics_service import Metrics, MetricsMove
from smtpproxy.endpoint import Endpoint
from tests.admin.test_metrics import Figures
from tests.admin.test_metrics_server import HOST, ask, get


class MetricsServiceTests(TestCase):
    """What generations ask for, one behind the other."""

    def setUp(self) -> None:
        self.made: list[Endpoint] = []
        self.metrics = Metrics(self.make)
        self.addCleanup(self.metrics.stopService)

    def make(self, endpoint: Endpoint) -> MetricsServer:
        self.made.append(endpoint)
        return MetricsServer(reactor, endpoint.host, endpoint.port, Figures(), Deferred)

    def move(self, endpoint: Endpoint | None) -> MetricsMove:
        move = MetricsMove(self.metrics, endpoint)
        move.privilegedStartService()
        move.startService()
        return move

    def answer(self, endpoint: Endpoint) -> Deferred[bytes]:
        return deferToThread(ask, endpoint.port, get("/metrics"))

    async def test_an_address_that_stays_is_not_bound_again(self) -> None:
        (endpoint,) = _free(1)
        first = self.move(endpoint)
        self.move(endpoint)
        assert self.made == [endpoint]
        first.stopService()
        assert b"200 OK" in await self.answer(endpoint)

    async def test_the_newest_wish_counts_at_once(self) -> None:
        first, second = _free(2)
        self.move(first)
        self.move(second)
        assert b"200 OK" in await self.answer(second)
        with pytest.raises(ConnectionError):
            await self.answer(first)
        self.move(None)
        with pytest.raises(ConnectionError):
            await self.answer(second)
        self.move(first)
        assert b"200 OK" in await self.answer(first)

    async def test_a_wish_that_does_not_come_true_leaves_nothing(self) -> None:
        first, second = _free(2)
        self.move(first)
        refused = MetricsMove(self.metrics, second)
        refused.privilegedStartService()
        stopped = refused.stopService()
        assert stopped is not None
        await stopped
        socket.create_server((HOST, second.port)).close()
        assert b"200 OK" in await self.answer(first)

    async def test_an_address_that_is_taken_is_told_and_nothing_changes(self) -> None:
        (first,) = _free(1)
        self.move(first)
        with socket.create_server((HOST, 0)) as taken:
            wish = MetricsMove(self.metrics, Endpoint(HOST, taken.getsockname()[1]))
            with pytest.raises(OSError, match="for metrics"):
                wish.privilegedStartService()
        assert wish.stopService() is None
        assert b"200 OK" in await self.answer(first)


def _free(count: int) -> list[Endpoint]:
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    endpoints = [Endpoint(HOST, probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return endpoints
