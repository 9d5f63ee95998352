from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.admin.metrics_server import CONNECTIONS, MetricsServer
from tests.admin.test_metrics import Figures

HOST = "127.0.0.1"
BODY_OCTETS = 64 * 1024 * 1024


def ask(port: int, request: bytes) -> bytes:
    """Return everything that is answered until the server closes."""
    with socket.create_connection((HOST, port), 10) as connection:
        connection.sendall(request)
        answer = b""
        while octets := connection.recv(65536):
            answer += octets
    return answer


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n".encode()


class MetricsServerTests(TestCase):
    def setUp(self) -> None:
        self.statuses: list[Deferred[dict[str, Any]]] = []
        self.server = MetricsServer(reactor, HOST, 0, Figures(), self.statuses.pop)
        self.server.startService()
        self.addCleanup(self.stop)
        assert self.server.address is not None
        self.port = self.server.address[1]

    def stop(self) -> Deferred[None] | None:
        return self.server.stopService() if self.server.running else None

    def ask(self, request: bytes) -> Deferred[bytes]:
        return deferToThread(ask, self.port, request)

    async def test_a_get_is_answered_with_every_metric(self) -> None:
        head, _, body = (await self.ask(get("/metrics"))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"text/plain; version=" in head
        families = {family.name for family in text_string_to_metric_families(body.decode())}
        assert {"smtpproxy_sessions_running", "smtpproxy_cache_hits", "process_open_fds"} <= families

    async def test_nothing_else_is_answered(self) -> None:
        for request, status in (
            (get("/"), b"404"),
            (get("/metrics/more"), b"404"),
            (get("/metrics", "POST"), b"405"),
            (get("/metrics", "DELETE"), b"405"),
            (get("http://elsewhere.test/metrics"), b"404"),
        ):
            assert (await self.ask(request)).startswith(b"HTTP/1.1 " + status), request

    async def test_health_is_that_somebody_answers(self) -> None:
        assert (await self.ask(get("/healthz"))).endswith(b"\r\n\r\nok\n")

    async def test_a_gateway_is_ready_that_listens_and_whose_workers_answer(self) -> None:
        answers, silent = [{"answers": True}], [{"answers": False, "because": "it is starting"}]
        for state, listening, workers, head, body in (
            ("running", ["here"], answers, b"200 OK", b"ok\n"),
            ("draining", [], answers, b"503 Service Unavailable", b"the gateway is draining\n"),
            ("running", [], answers, b"503 Service Unavailable", b"the gateway listens nowhere\n"),
            ("running", ["here"], silent, b"503 Service Unavailable", b"a worker does not answer: it is starting\n"),
        ):
            self.statuses.append(succeed({"state": state, "listening": listening, "workers": workers}))
            answer = await self.ask(get("/readyz"))
            assert answer.startswith(b"HTTP/1.1 " + head)
            assert answer.endswith(b"\r\n\r\n" + body)

    async def test_a_status_that_fails_is_an_answer_too(self) -> None:
        self.statuses.append(fail(ValueError("broken")))
        assert (await self.ask(get("/readyz"))).startswith(b"HTTP/1.1 500 ")
        assert len(self.flushLoggedErrors(ValueError)) == 1  # type: ignore[no-untyped-call]

    async def test_who_is_gone_before_the_answer_hurts_nobody(self) -> None:
        late: Deferred[dict[str, Any]] = Deferred()
        self.statuses.append(late)
        with await deferToThread(_send, self.port, get("/readyz")):
            while self.statuses:
                await deferToThread(ask, self.port, get("/healthz"))
        while self.server.connections:
            await deferToThread(int)
        late.callback({"state": "running", "listening": ["here"], "workers": []})

    async def test_a_body_is_thrown_away_as_it_comes(self) -> None:
        head = get("/metrics", "POST")[:-2] + b"Content-Length: %d\r\n\r\n" % BODY_OCTETS
        before, files = _resident_octets(), _temporary_files()
        with await deferToThread(_send, self.port, head + bytes(BODY_OCTETS - 1)) as connection:
            assert _resident_octets() - before < BODY_OCTETS // 2
            assert _temporary_files() == files
            await deferToThread(connection.sendall, b"x")
            assert (await deferToThread(connection.recv, 65536)).startswith(b"HTTP/1.1 405")

    async def test_a_head_is_answered_without_the_body(self) -> None:
        head, _, body = (await self.ask(get("/metrics", "HEAD"))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body == b""

    async def test_one_connection_serves_again_and_again(self) -> None:
        twice = get("/metrics").replace(b"Connection: close\r\n", b"") + get("/metrics?name[]=smtpproxy_crashes_total")
        assert (await self.ask(twice)).count(b"HTTP/1.1 200 OK\r\n") == 2

    async def test_a_header_without_end_is_cut_off(self) -> None:
        endless = b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 20_000
        answer = await deferToThread(_ask_until_reset, self.port, endless)
        assert answer in {b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"}

    async def test_no_more_connections_are_open_than_the_limit(self) -> None:
        held = await deferToThread(_hold, self.port, CONNECTIONS)
        answer = await deferToThread(_ask_until_reset, self.port, get("/metrics"))
        held.pop().close()
        while not (again := await deferToThread(_ask_until_reset, self.port, get("/metrics"))):
            pass
        for connection in held:
            connection.close()
        assert answer == b""
        assert again.startswith(b"HTTP/1.1 200")

    async def test_a_stop_closes_what_is_open(self) -> None:
        (held,) = await deferToThread(_hold, self.port, 1)
        with held:
            await self.server.stopService()
            assert await deferToThread(_end_of, held) == b""
        with pytest.raises(ConnectionRefusedError):
            await self.ask(get("/metrics"))

    def test_a_port_that_is_taken_is_told(self) -> None:
        other = MetricsServer(reactor, HOST, self.port, Figures(), Deferred)
        with pytest.raises(OSError, match="metrics") as caught:
            other.startService()
        assert caught.value.errno == errno.EADDRINUSE
        assert caught.value.strerror == f"Address already in use: {HOST} port {self.port}, for metrics"


def _hold(port: int, count: int) -> list[socket.socket]:
    """Open connections that have asked for something, so that they are taken, and stay."""
    held = [socket.create_connection((HOST, port), 10) for _ in range(count)]
    for connection in held:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
    return held


def _end_of(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1)
    except ConnectionResetError:
        return b""


def _ask_until_reset(port: int, request: bytes) -> bytes:
    try:
        return ask(port, request)
    except (BrokenPipeError, ConnectionResetError):
        return b""


def _send(port: int, octets: bytes) -> socket.socket:
    connection = socket.create_connection((HOST, port), 10)
    connection.sendall(octets)
    return connection


def _temporary_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.append(str(entry.readlink()))
    return [name for name in found if name.endswith("(deleted)")]


def _resident_octets() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
