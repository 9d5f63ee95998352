"""What a running gateway tells Prometheus."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST, wait_until
from tests.integration.lab.recorder import Script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.lab.laboratory import Lab


class _Since:
    """What the metrics have grown by."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before = gateway.metrics

    def __getitem__(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric that changed, by their labels'."""
        now = self._gateway.metrics
        grown = {key[1:]: now[key] - self._before.get(key, 0) for key in now if key[0] == f"smtpproxy_{name}"}
        return {labels: count for labels, count in grown.items() if count}


def _wait_for_the_end(gateway: Gateway) -> None:
    wait_until(lambda: gateway.metrics["smtpproxy_sessions_running",] == 0, "every session has ended")


def test_sessions_mail_and_handshakes_are_counted(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(metrics=True))
    since = _Since(gateway)
    for mode in ("starttls", "smtps", "clear"):
        with connect(gateway, mode, lab.trusting_proxy) as client:
            assert send_stuffed(client, b"fifteen octets\r\n")[0] == 250
            assert since["sessions_running"] == {(): 1}
    _wait_for_the_end(gateway)
    assert since["sessions_begun_total"] == {(): 3}
    assert since["sessions_ended_total"] == {("no",): 3}
    assert since["transactions_total"] == since["recipients_total"] == {("accepted",): 3}
    assert since["content_bytes_total"] == {(): 3 * len(b"fifteen octets\r\n")}
    handshakes = since["tls_handshakes_total"]
    assert handshakes["client", "full"] == 2
    # With STARTTLS and in clear the same port is dialled; implicit TLS has another.
    assert (handshakes["upstream", "full"], handshakes["upstream", "resumed"]) == (2, 1)


def test_what_goes_wrong_is_counted(lab: Lab) -> None:
    recorder = lab.recorder(Script(handshake=False, end_of_data=b"452 4.3.1 Disk full\r\n"))
    gateway = lab.gateway(recorder, Setup(metrics=True))
    since = _Since(gateway)
    with connect(gateway, "clear", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"hello\r\n")[0] == 452
    with socket.create_connection((HOST, gateway.smtp_port), timeout=20) as early, contextlib.suppress(OSError):
        early.sendall(b"EHLO too.early.test\r\n")
        while early.recv(4096):
            pass
    _wait_for_the_end(gateway)
    assert since["sessions_ended_total"] == {("yes",): 1, ("no",): 1}
    assert since["transactions_total"] == {("deferred",): 1}
    assert since["tls_handshakes_total"]["upstream", "failed"] >= 1
    assert since["incidents_total"] == {(): 1}
    assert since["crashes_total"] == {}


def test_connections_that_become_no_session_are_counted(lab: Lab) -> None:
    gateway = lab.gateway(None, Setup(source=("192.0.2.0/24",), metrics=True))
    since = _Since(gateway)
    reset = contextlib.suppress(ConnectionResetError)  # as soon as it is accepted
    with reset, socket.create_connection((HOST, gateway.smtp_port), timeout=20) as stranger:
        assert stranger.recv(1) == b""
    assert since["connections_refused_total"] == {("no-policy",): 1}
    assert since["sessions_begun_total"] == {}


def test_every_cache_tells_how_full_it_is(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(metrics=True))
    since = _Since(gateway)
    for _ in range(2):
        with connect(gateway, "smtps", lab.trusting_proxy) as client:
            client.noop()
    _wait_for_the_end(gateway)
    now = gateway.metrics
    caches = {key[1] for key in now if key[0] == "smtpproxy_cache_limit"}
    used = {"leaves", "server-contexts", "client-contexts", "upstream-tls-sessions", "peer-certificates"}
    # Nothing has broken, nothing was looked up, and the opinion may be on its way.
    of_peers = {"dns-answers", "domains", "server-names", "sts-policies", "sts-fetches"}
    assert caches == used | of_peers | {"broken-tls", "second-opinions", "revocations"}
    for cache in used:
        assert 0 < now["smtpproxy_cache_entries", cache] <= now["smtpproxy_cache_limit", cache]
    hit = {cache for (cache,) in since["cache_hits_total"]}
    assert used - {"peer-certificates"} <= hit  # a resumed handshake shows none


def test_a_port_that_is_taken_is_one_line_and_an_exit_status(lab: Lab, tmp_path: Path) -> None:
    gateway = lab.gateway(lab.recorder(), Setup(metrics=True))
    ended = gateway.run_another(tmp_path / "another.pid")
    line = f"cannot start: Address already in use: {HOST} port {gateway.metrics_port}, for metrics\n"
    assert (ended.returncode, ended.stderr) == (69, line)
    assert "Traceback" not in ended.stdout
