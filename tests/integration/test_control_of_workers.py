"""Several workers, asked and told as one gateway: one of them hangs, dies, or is the only one that knows."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.lab.client import connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab

CLIENTS = 12
ATTEMPTS = 16
"""Connections until each of two workers has had one, but for once in 30,000 times."""


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Gateway]:
    setup = Setup(workers=2, general={"block_time": "10m"}, action={"tls": {"action": "block", "profile": "Profile"}})
    made = lab.doomed_gateway(lab.recorder(), setup)
    wait_until(lambda: _is_healthy(made), "every worker answers")
    yield made
    made.close()


def _is_healthy(gateway: Gateway) -> bool:
    return gateway.tell("health").returncode == 0


def _workers(gateway: Gateway) -> list[dict[str, Any]]:
    workers: list[dict[str, Any]] = gateway.ask("status")["workers"]
    return workers


def test_sessions_of_all_workers_are_one_list(lab: Lab, gateway: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(connect(gateway, "clear", lab.trusting_proxy))
        status, found = gateway.ask("status"), gateway.ask("sessions")
        assert [each["since"] for each in found["sessions"]] == sorted(each["since"] for each in found["sessions"])
        assert len({each["session"] for each in found["sessions"]}) == CLIENTS
        assert status["counters"]["sessions_running"] == CLIENTS
        assert sum(each["sessions"] for each in status["workers"]) == CLIENTS
        assert gateway.ask("sessions", "--limit", "5")["left_out"] == CLIENTS - 5


def test_a_worker_that_hangs_is_told_of_and_not_waited_for(gateway: Gateway) -> None:
    hung = _workers(gateway)[0]["pid"]
    os.kill(hung, signal.SIGSTOP)
    try:
        told = {each["pid"]: each for each in _workers(gateway)}
        assert not told[hung]["answers"]
        assert "no answer within" in told[hung]["because"]
        assert gateway.ask("sessions") == {"sessions": [], "left_out": 0}
        health = gateway.tell("health")
        assert (health.returncode, health.stdout.startswith("a worker does not answer: worker ")) == (1, True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(hung, signal.SIGCONT)
    wait_until(lambda: _is_healthy(gateway), "every worker answers again")


def test_what_a_dead_worker_counted_still_counts(lab: Lab, gateway: Gateway) -> None:
    with connect(gateway, "starttls", lab.trusting_proxy) as client:
        assert send_stuffed(client, b"hello\r\n")[0] == 250
    wait_until(lambda: gateway.ask("status")["counters"]["transactions"]["accepted"] == 1, "it is counted")
    for worker in _workers(gateway):
        os.kill(worker["pid"], signal.SIGKILL)
    wait_until(lambda: _is_healthy(gateway), "both are replaced")
    assert gateway.ask("status")["counters"]["transactions"]["accepted"] == 1


def test_what_one_worker_blocks_is_blocked_by_all_and_by_their_replacements(lab: Lab, gateway: Gateway) -> None:
    with (
        socket.create_connection((HOST, gateway.smtps_port), 20) as client,
        pytest.raises(OSError, match=r"EOF|reset|closed"),
    ):
        lab.trusting_proxy.wrap_socket(client, server_hostname="mail.inside.test")
    wait_until(lambda: len(gateway.ask("blocked", "list")["blocked"]) == 1, "the supervisor knows")
    gateway.ask("status")
    assert {_greeted(gateway) for _ in range(ATTEMPTS)} == {False}
    for worker in _workers(gateway):
        os.kill(worker["pid"], signal.SIGKILL)
    wait_until(lambda: _is_healthy(gateway), "both are replaced")
    assert {_greeted(gateway) for _ in range(ATTEMPTS)} == {False}
    assert gateway.tell("blocked", "lift", HOST).returncode == 0
    assert {_greeted(gateway) for _ in range(ATTEMPTS)} == {True}


def _greeted(gateway: Gateway) -> bool:
    try:
        with socket.create_connection((HOST, gateway.smtp_port), 20) as client:
            return client.recv(3) == b"220"
    except ConnectionResetError:
        return False


def test_a_block_is_kept_over_a_restart(gateway: Gateway) -> None:
    assert gateway.tell("blocked", "add", "192.0.2.9", "--seconds", "3600").returncode == 0
    gateway.stop()
    gateway.start()
    wait_until(lambda: _is_healthy(gateway), "every worker answers")
    assert [each["address"] for each in gateway.ask("blocked", "list")["blocked"]] == ["192.0.2.9"]


def test_a_worker_that_is_replaced_while_draining_does_not_listen(gateway: Gateway) -> None:
    assert gateway.tell("drain").returncode == 0
    before = {each["pid"] for each in _workers(gateway)}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _are_others(gateway, before), "both are replaced")
    assert not listens(gateway.smtp_port)
    assert {each["state"] for each in _workers(gateway)} == {"draining"}
    assert gateway.tell("drain", "--cancel").returncode == 0
    assert {_greeted(gateway) for _ in range(ATTEMPTS)} == {True}


def _are_others(gateway: Gateway, before: set[int]) -> bool:
    workers = _workers(gateway)
    return all(each["answers"] for each in workers) and not before & {each["pid"] for each in workers}


def test_a_port_that_somebody_has_taken_meanwhile_keeps_it_draining(gateway: Gateway) -> None:
    assert gateway.tell("drain").returncode == 0
    wait_until(lambda: not listens(gateway.smtp_port), "nobody listens")
    with socket.create_server((HOST, gateway.smtp_port)):
        refused = gateway.tell("drain", "--cancel")
        assert refused.returncode == 69
        assert str(gateway.smtp_port) in refused.stderr
        assert gateway.ask("status")["state"] == "draining"
    assert gateway.tell("drain", "--cancel").returncode == 0
    assert {_greeted(gateway) for _ in range(ATTEMPTS)} == {True}
