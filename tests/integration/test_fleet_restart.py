"""Several workers under a service manager: what it is told, and that nobody notices a restart."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.newcomers import Newcomers
from tests.integration.lab.ports import HOST, free_ports, listens, wait_until
from tests.integration.lab.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream


@pytest.fixture
def gateway(lab: Lab, recorder: RecordingUpstream, manager: ServiceManager) -> Iterator[Gateway]:
    made = lab.doomed_gateway(recorder, Setup(workers=2), starter=manager)
    yield made
    assert "Traceback" not in made.log
    made.close()


def names(gateway: Gateway, *slots: int) -> set[str]:
    return {f"kept_{HOST}_{port}_{slot}" for port in (gateway.smtp_port, gateway.smtps_port) for slot in slots}


def test_it_is_ready_when_every_worker_serves(gateway: Gateway, manager: ServiceManager) -> None:
    assert manager.heard("STATUS")[0] == "serving: 2 workers, 0 sessions, generation 1"
    assert set(manager.store) == names(gateway, 1, 2)
    manager.await_word("WATCHDOG", count=2)
    with socket.create_connection((HOST, gateway.smtp_port), 30):
        manager.await_word("STATUS", "serving: 2 workers, 1 sessions, generation 1")


def test_a_reload_is_announced_and_what_is_kept_follows_it(gateway: Gateway, manager: ServiceManager) -> None:
    (added,) = free_ports(1)
    before = gateway.smtp_port
    gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[added]))
    gateway.reload()
    manager.await_word("READY", count=2)
    wanted = {f"kept_{HOST}_{port}_{slot}" for port in (added, gateway.smtps_port) for slot in (1, 2)}
    wait_until(lambda: set(manager.store) == wanted, "the sockets of the new port are kept, and no others")
    wait_until(lambda: not listens(before), "nobody listens there any more")


def test_a_restart_refuses_and_stalls_nobody(gateway: Gateway, recorder: RecordingUpstream) -> None:
    def restart() -> None:
        gateway.stop()
        gateway.start()

    newcomers = Newcomers(gateway.smtp_port)
    newcomers.over(restart)
    assert newcomers.failures == []
    assert sorted(recorder.messages) == sorted(newcomers.sent)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_connections_wait_while_a_crash_is_mended(gateway: Gateway, manager: ServiceManager, workers: int) -> None:
    gateway.edit(lambda main: main["gateway"].update(workers=workers))
    before = gateway.children
    gateway.kill()
    wait_until(lambda: not any(map(_runs, before)), "its workers have ended, who would still accept and say 421")
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection((HOST, gateway.smtp_port), 30)) for _ in range(40)]
        gateway.start()
        assert {client.recv(4) for client in waiting} == {b"220 "}
    wait_until(lambda: len(manager.store) == 2 * workers, "what no slot serves is not kept")


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
