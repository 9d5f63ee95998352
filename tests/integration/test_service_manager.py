"""Under a service manager: what it is told, and that nobody notices a restart."""

from __future__ import annotations

import smtplib
import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import begin_content, send_stuffed
from tests.integration.lab.gateway import Gateway
from tests.integration.lab.newcomers import Newcomers
from tests.integration.lab.ports import HOST, free_ports, listens, wait_until
from tests.integration.lab.service_manager import WATCHDOG_S, ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

SLACK_S = 3.0


@pytest.fixture
def gateway(lab: Lab, recorder: RecordingUpstream, manager: ServiceManager) -> Iterator[Gateway]:
    made = lab.doomed_gateway(recorder, starter=manager)
    yield made
    assert "Traceback" not in made.log
    made.close()


def _client(port: int) -> smtplib.SMTP:
    return smtplib.SMTP(HOST, port, "client.test", timeout=30)


def _send(port: int, content: bytes) -> int:
    with _client(port) as client:
        client.ehlo()
        return send_stuffed(client, content)[0]


def test_it_is_ready_when_every_address_is_listened_on(gateway: Gateway, manager: ServiceManager) -> None:
    # What came with READY was sent by then; the sockets to be kept are told of first.
    names = [next(iter(message)) for message in manager.messages]
    assert names[:3] == ["FDSTORE", "FDSTORE", "READY"]
    assert listens(gateway.smtp_port)
    assert listens(gateway.smtps_port)
    assert set(manager.store) == {f"kept_{HOST}_{port}_0" for port in (gateway.smtp_port, gateway.smtps_port)}


def test_the_status_follows_the_sessions_and_the_watchdog_is_kept_quiet(
    gateway: Gateway, manager: ServiceManager
) -> None:
    assert manager.heard("STATUS")[0] == "serving: 0 sessions, generation 1"
    with _client(gateway.smtp_port):
        manager.await_word("STATUS", "serving: 1 sessions, generation 1")
    manager.await_word("STATUS", "serving: 0 sessions, generation 1", 2)
    manager.await_word("WATCHDOG", count=3)
    gateway.pause()
    heard = len(manager.heard("WATCHDOG"))
    threading.Event().wait(3 * WATCHDOG_S)  # silence is what is waited for
    assert len(manager.heard("WATCHDOG")) <= heard + 1
    gateway.go_on()


def test_a_reload_and_a_stop_are_announced(gateway: Gateway, manager: ServiceManager) -> None:
    gateway.reload()
    manager.await_word("READY", count=2)
    gateway.edit(lambda main: main.update(nonsense=True))
    gateway.reload()
    manager.await_word("STATUS", "serving: 0 sessions, generation 2; the last reload was refused")
    assert [next(iter(each)) for each in manager.messages if {"READY", "RELOADING"} & set(each)] == [
        "READY",
        *("RELOADING", "READY") * 2,
    ]
    gateway.terminate()
    manager.await_word("STOPPING")
    assert int(manager.heard("EXTEND_TIMEOUT_USEC")[0]) > 10_000_000  # more than the drain_timeout


def test_what_is_kept_follows_a_reload(gateway: Gateway, manager: ServiceManager) -> None:
    (added,) = free_ports(1)
    before = gateway.smtp_port
    gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[added]))
    assert "reloaded" in gateway.reload()
    manager.await_word("FDNAME", f"kept_{HOST}_{before}_0", 2)
    manager.await_word("FDNAME", f"kept_{HOST}_{added}_0")
    assert set(manager.store) == {f"kept_{HOST}_{port}_0" for port in (added, gateway.smtps_port)}
    wait_until(lambda: not listens(before), "nobody listens there any more")


def test_a_restart_refuses_and_stalls_nobody(gateway: Gateway, recorder: RecordingUpstream) -> None:
    took_s = 0.0

    def restart() -> None:
        nonlocal took_s
        begun = time.monotonic()
        gateway.stop()
        gateway.start()
        took_s = time.monotonic() - begun

    newcomers = Newcomers(gateway.smtp_port)
    newcomers.over(restart)
    assert newcomers.failures == []
    assert newcomers.slowest_s < took_s + SLACK_S
    assert sorted(recorder.messages) == sorted(newcomers.sent)
    assert gateway.log.count("listening again on") == 2


def test_connections_wait_while_a_crash_is_mended(gateway: Gateway, recorder: RecordingUpstream) -> None:
    assert _send(gateway.smtp_port, b"before\r\n") == 250
    gateway.kill()
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection((HOST, gateway.smtp_port), 30)) for _ in range(20)]
        gateway.start()
        assert {client.recv(4) for client in waiting} == {b"220 "}
    assert _send(gateway.smtp_port, b"after\r\n") == 250
    assert recorder.messages == [b"before\r\n", b"after\r\n"]


def test_a_message_under_way_ends_before_the_restart_and_a_waiting_client_after_it(
    gateway: Gateway, manager: ServiceManager, recorder: RecordingUpstream
) -> None:
    client = _client(gateway.smtp_port)
    client.ehlo()
    begin_content(client)
    gateway.terminate()
    manager.await_word("STATUS", "stopping: 1 sessions, generation 1")
    with socket.create_connection((HOST, gateway.smtp_port), 30) as waiting:
        client.send(b"to its end\r\n.\r\n")
        assert client.getreply()[0] == 250
        assert client.getreply()[0] == 421
        client.close()
        gateway.await_end()
        gateway.start()
        assert waiting.recv(4) == b"220 "
    assert recorder.messages == [b"to its end\r\n"]


@pytest.mark.parametrize("wide", [True, False], ids=["wider", "narrower"])
def test_the_addresses_of_the_configuration_may_change_over_a_restart(
    gateway: Gateway,
    manager: ServiceManager,
    wide: bool,  # noqa: FBT001 - a case
) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - what is tested
    if not wide:
        gateway.edit(lambda main: main["interception"].update(listen=[everywhere]))
        gateway.reload()
    gateway.edit(lambda main: main["interception"].update(listen=[everywhere if wide else HOST]))
    gateway.stop()
    with socket.create_connection((HOST, gateway.smtp_port), 30) as waiting:
        gateway.start()
        assert waiting.recv(4) == b"220 "
    assert _send(gateway.smtp_port, b"hello\r\n") == 250
    host = everywhere if wide else HOST
    ports = gateway.smtp_port, gateway.smtps_port
    wait_until(lambda: set(manager.store) == {f"kept_{host}_{port}_0" for port in ports}, "the others are given up")


def test_a_port_that_is_no_longer_configured_is_given_up_at_the_start(gateway: Gateway) -> None:
    (added,) = free_ports(1)
    before = gateway.smtp_port
    gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[added]))
    gateway.stop()
    gateway.start()
    assert f"kept_{HOST}_{before}_0: nothing is served at {HOST}:{before} any more" in gateway.log
    wait_until(lambda: not listens(before), "nobody listens there any more")
    assert _send(added, b"hello\r\n") == 250
