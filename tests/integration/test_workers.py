"""Several workers under one supervisor, as a user runs them: killed, stopped, reloaded, counted."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import smtplib
import socket
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.integration.lab.client import begin_content, connect, send_stuffed
from tests.integration.lab.gateway import Gateway, Setup
from tests.integration.lab.ports import HOST, free_ports, listens, wait_until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.integration.lab.laboratory import Lab
    from tests.integration.lab.recorder import RecordingUpstream

TWO = Setup(workers=2)
CLIENTS = 60
LEAST_SHARE = 0.25
"""Of two workers; so little for one of sixty connections comes once in 20,000 times."""

WITH_SIGNER = 3
"""Processes of a gateway with two workers, beside the supervisor."""

PORTS = 2
LOOPS = 8
TIMEOUT_S = 30
QUIET_S = 1.0
"""Longer than a worker that runs lets a client wait."""


@pytest.fixture
def gateway(lab: Lab, recorder: RecordingUpstream, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    gateway = lab.doomed_gateway(recorder, getattr(request, "param", TWO))
    try:
        wait_until(lambda: serving(gateway) == {1, 2}, "both workers serve")
        yield gateway
    finally:
        if gateway.alive:
            gateway.close()


def workers(gateway: Gateway) -> dict[int, int]:
    """The process of each worker, the newest that the log names."""
    found = re.findall(r"worker (\d+) is process (\d+)\n", gateway.log)
    return {int(number): int(pid) for number, pid in found}


def serving(gateway: Gateway) -> set[int]:
    return {int(number) for number in re.findall(r", worker (\d+)\] listening again on ", gateway.log)}


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def dial(stack: ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection((HOST, port), TIMEOUT_S))


def is_greeted(client: socket.socket) -> bool:
    return client.recv(4096).startswith(b"220 ")


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_every_worker_has_a_fair_share(gateway: Gateway) -> None:
    at_rest = {pid: sockets_of(pid) for pid in workers(gateway).values()}
    with ExitStack() as stack:
        clients = [dial(stack, gateway.smtp_port) for _ in range(CLIENTS)]
        assert all(map(is_greeted, clients))
        shares = {pid: (sockets_of(pid) - rest) // 2 for pid, rest in at_rest.items()}
    assert sum(shares.values()) == CLIENTS
    assert min(shares.values()) > LEAST_SHARE * CLIENTS, shares


def test_the_supervisor_handles_no_mail(gateway: Gateway) -> None:
    before = sockets_of(gateway.pid)
    with ExitStack() as stack:
        assert all(is_greeted(dial(stack, gateway.smtp_port)) for _ in range(10))
        assert sockets_of(gateway.pid) == before


def test_a_killed_worker_takes_its_own_sessions_alone(gateway: Gateway, recorder: RecordingUpstream) -> None:
    context = Context()
    clients = [connect(gateway, "clear", context.plain) for _ in range(20)]
    for client in clients:
        begin_content(client)
    before = workers(gateway)
    os.kill(before[1], signal.SIGKILL)
    outcomes = Counter(end_content(client) for client in clients)
    assert set(outcomes) == {"250", "lost"}, outcomes
    assert len(recorder.messages) == outcomes["250"]
    wait_until(lambda: workers(gateway)[1] != before[1], "it is replaced")
    assert workers(gateway)[2] == before[2]
    with connect(gateway, "clear", context.plain) as client:
        assert send_stuffed(client, b"hello\r\n")[0] == 250


def end_content(client: smtplib.SMTP) -> str:
    try:
        client.send(b"hello\r\n.\r\n")
        reply = str(client.getreply()[0])
        client.quit()
    except (OSError, smtplib.SMTPServerDisconnected):
        return "lost"
    return reply


class Context:
    """What a client needs that speaks no TLS."""

    plain: ssl.SSLContext = None  # type: ignore[assignment]


def test_connections_that_wait_at_a_dead_worker_are_served_by_the_next(gateway: Gateway) -> None:
    victim = workers(gateway)[1]
    os.kill(victim, signal.SIGSTOP)
    with ExitStack() as stack:
        clients = [dial(stack, gateway.smtp_port) for _ in range(CLIENTS)]
        waiting = set(clients)
        while greeted := set(select.select(list(waiting), [], [], QUIET_S)[0]):
            assert all(map(is_greeted, greeted))
            waiting -= greeted
        assert len(waiting) > LEAST_SHARE * CLIENTS
        os.kill(victim, signal.SIGKILL)
        assert all(map(is_greeted, waiting))


def test_a_worker_that_hangs_is_killed_and_replaced(gateway: Gateway) -> None:
    victim = workers(gateway)[2]
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: workers(gateway)[2] != victim, "it is replaced")
    assert "worker 2 does not answer, so it is killed" in gateway.log
    assert "worker 2 has died: signal 9; it is replaced" in gateway.log


def test_workers_end_when_the_supervisor_is_gone(gateway: Gateway) -> None:
    pids = workers(gateway).values()
    with ExitStack() as stack:
        clients = [dial(stack, gateway.smtp_port) for _ in range(10)]
        assert all(map(is_greeted, clients))
        gateway.kill()
        assert all(client.recv(4096).startswith(b"421 ") for client in clients)
    wait_until(lambda: all(map(is_gone, pids)), "both have ended")
    assert not listens(gateway.smtp_port)


def test_workers_that_die_again_and_again_are_not_started_without_pause(gateway: Gateway) -> None:
    def kill() -> None:
        before = workers(gateway)[1]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: workers(gateway)[1] != before, "it is replaced")

    for _ in range(4):
        kill()
    pauses = re.findall(r"worker 1 is started again in ([\d.]+) s", gateway.log)
    assert pauses == ["0.5", "1", "2"]


def test_nobody_waits_for_a_worker_that_dies_at_every_start(gateway: Gateway) -> None:
    dead = kill_until_paused(gateway, "4")
    with ExitStack() as stack:
        clients = [dial(stack, gateway.smtp_port) for _ in range(CLIENTS)]
        assert all(map(is_greeted, clients))
        assert workers(gateway)[1] == dead
    wait_until(lambda: workers(gateway)[1] != dead, "it is replaced")
    again = workers(gateway)[1]
    wait_until(lambda: gateway.log.count(", worker 1] listening again on ") == 2 * PORTS, "it serves")
    at_rest = sockets_of(again)
    with ExitStack() as stack:
        assert all(is_greeted(dial(stack, gateway.smtp_port)) for _ in range(CLIENTS))
        assert (sockets_of(again) - at_rest) // 2 > LEAST_SHARE * CLIENTS


def test_a_reload_meanwhile_has_the_stand_in_serve_what_is_new(gateway: Gateway) -> None:
    (added,) = free_ports(1)
    dead = kill_until_paused(gateway, "8")
    gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[added]))
    assert "generation 2, 2 workers" in gateway.reload()
    with ExitStack() as stack:
        assert all(is_greeted(dial(stack, added)) for _ in range(CLIENTS))
    assert workers(gateway)[1] == dead


def kill_until_paused(gateway: Gateway, seconds: str) -> int:
    """Have worker 1 die at each start, until the next one is so many seconds away; return the last to die."""
    while f"worker 1 is started again in {seconds} s; worker 2 takes its connections" not in gateway.log:
        victim = workers(gateway)[1]
        if not is_gone(victim):
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: is_followed(gateway, victim, seconds), "it is replaced")  # type: ignore[misc]
    return workers(gateway)[1]


def is_followed(gateway: Gateway, victim: int, seconds: str) -> bool:
    return workers(gateway)[1] != victim or f"worker 1 is started again in {seconds} s" in gateway.log


def test_a_reload_has_every_worker_follow(gateway: Gateway) -> None:
    gateway.edit(lambda main: main["policies"][0].update(name="Renamed policy"))
    log = gateway.reload()
    assert log.endswith("reloaded: 1 policies, generation 2, 2 workers\n")
    send_many(gateway, 20)
    assert {each["policy"] for each in gateway.records} == {"Renamed policy"}


def send_many(gateway: Gateway, count: int) -> None:
    for _ in range(count):
        with connect(gateway, "clear", Context.plain) as client:
            assert send_stuffed(client, b"hello\r\n")[0] == 250
    wait_until(lambda: sum(each["record"] == "session" for each in gateway.records) >= count, "all on record")


def test_a_broken_reload_changes_nobody_and_is_told_once(gateway: Gateway) -> None:
    gateway.edit(lambda main: main.update(nonsense=True))
    gateway.edit(lambda main: main["policies"][0].update(name="Renamed policy"))
    log = gateway.reload()
    assert log.count("nonsense: unknown key") == 1
    assert log.endswith("reload refused, generation 1 goes on\n")
    send_many(gateway, 20)
    assert {each["policy"] for each in gateway.records} == {"Test policy"}


@pytest.mark.parametrize("gateway", [replace(TWO, main={"records": {"file": None}})], indirect=True)
def test_a_worker_without_descriptors_refuses_the_reload_and_goes_on(gateway: Gateway) -> None:
    before = workers(gateway)
    limits = {pid: take_descriptors(pid) for pid in before.values()}
    assert "a worker has no descriptors left" in gateway.reload()
    for pid, each in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, each)
    assert "reloaded: 1 policies, generation 2, 2 workers" in gateway.reload()
    assert workers(gateway) == before


def take_descriptors(pid: int) -> tuple[int, int]:
    """Let a process have no further descriptor; return the limits before."""
    taken = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    lowest = next(number for number in count() if number not in taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, limits[1]))
    return limits


def test_a_worker_that_begins_anew_has_what_was_decided_and_not_what_the_files_say(gateway: Gateway) -> None:
    gateway.edit(lambda main: main.update(nonsense=True))
    before = workers(gateway)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    send_many(gateway, 10)
    assert {each["policy"] for each in gateway.records} == {"Test policy"}
    assert not set(before.values()) & set(workers(gateway).values())


def test_a_port_comes_and_another_goes(gateway: Gateway) -> None:
    (added,) = free_ports(1)
    old = gateway.smtp_port
    gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[added]))
    with ExitStack() as stack:
        before = [dial(stack, old) for _ in range(10)]
        assert all(map(is_greeted, before))
        assert "generation 2, 2 workers" in gateway.reload()
        assert all(is_greeted(dial(stack, added)) for _ in range(20))
        wait_until(lambda: not listens(old), "the old port is closed")
        for client in before:
            client.sendall(b"NOOP\r\n")
            assert client.recv(4096).startswith(b"250 ")


def test_a_port_that_is_taken_refuses_the_reload(gateway: Gateway) -> None:
    (free,) = free_ports(1)
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        gateway.edit(lambda main: main["interception"]["ports"].update(smtp=[free, taken]))
        log = gateway.reload()
    assert log.count(f"{HOST}:{taken}: cannot listen: Address already in use") == 1
    wait_until(lambda: not listens(free), "what was bound is closed again")
    send_many(gateway, 4)


def test_a_second_gateway_does_not_slip_in_beside(gateway: Gateway, tmp_path: Path) -> None:
    gateway.edit(lambda main: main["admin"].update(control=None))
    ended = gateway.run_another(tmp_path / "pid")
    assert ended.returncode == 69
    assert f"{HOST}:{gateway.smtp_port}: cannot listen: Address already in use" in ended.stderr


def test_workers_come_and_go_by_a_reload_under_load(gateway: Gateway, recorder: RecordingUpstream) -> None:
    with Load(gateway) as load:
        for count in (3, 1, 2):
            gateway.edit(lambda main, count=count: main["gateway"].update(workers=count))  # type: ignore[misc]
            assert f", {count} workers\n" in gateway.reload()
            load.go_on()
    assert load.failures == []
    assert len(recorder.messages) == load.sent
    wait_until(lambda: len(gateway.children) == WITH_SIGNER, "the others have ended")


def test_kill_after_kill_loses_the_killed_workers_own_sessions_alone(gateway: Gateway) -> None:
    with Load(gateway) as load:
        for _ in range(3):
            killed = workers(gateway)[1]
            os.kill(killed, signal.SIGKILL)
            load.go_on()
            assert "reloaded: " in gateway.reload()
            load.go_on()
            wait_until(lambda killed=killed: workers(gateway)[1] != killed, "it is replaced")  # type: ignore[misc]
    assert len(load.failures) <= 3 * LOOPS
    assert all(isinstance(each, smtplib.SMTPServerDisconnected | ConnectionError) for each in load.failures)
    assert load.sent > LOOPS


class Load:
    """Clients that send one message after another, until it is left."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._over = threading.Event()
        self._sent = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send_on) for _ in range(LOOPS)]
        self.sent = 0
        self.failures: list[Exception] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Return when every loop may have sent two messages more."""
        for _ in range(2 * LOOPS):
            assert self._sent.acquire(timeout=TIMEOUT_S)

    def _send_on(self) -> None:
        while not self._over.is_set():
            try:
                with connect(self._gateway, "clear", Context.plain) as client:
                    assert send_stuffed(client, b"hello\r\n")[0] == 250
            except Exception as error:  # noqa: BLE001 - whatever it is, a session was lost
                self.failures.append(error)
            else:
                with self._lock:
                    self.sent += 1
                self._sent.release()


@pytest.mark.parametrize("gateway", [Setup(workers=2, metrics=True)], indirect=True)
def test_counters_are_one_and_never_go_back(gateway: Gateway) -> None:
    send_many(gateway, 20)
    accepted = ("smtpproxy_transactions_total", "accepted")
    wait_until(lambda: gateway.metrics[accepted] == 20, "all are counted")
    before = workers(gateway)[1]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: workers(gateway)[1] != before, "it is replaced")
    assert gateway.metrics[accepted] == 20
    send_many(gateway, 5)
    wait_until(lambda: gateway.metrics[accepted] == 25, "it goes on counting")
    wait_until(lambda: gateway.metrics["smtpproxy_sessions_running",] == 0, "nobody is left")


@pytest.mark.parametrize("gateway", [Setup(workers=2, metrics=True)], indirect=True)
def test_no_counter_goes_back_over_a_reload(gateway: Gateway) -> None:
    accepted, hits = ("smtpproxy_transactions_total", "accepted"), ("smtpproxy_cache_hits_total", "client-contexts")
    send_many(gateway, 20)
    wait_until(lambda: gateway.metrics[accepted] == 20, "all are counted")
    before = gateway.metrics
    assert before[hits] > 0
    assert " reloaded: " in gateway.reload()
    send_many(gateway, 1)
    wait_until(lambda: gateway.metrics[accepted] == 21, "the counting goes on")
    after = gateway.metrics
    counters = [key for key in before if re.fullmatch(r"smtpproxy_.*_total", key[0])]
    assert not [key for key in counters if after[key] < before[key]]


def test_no_record_is_torn(gateway: Gateway) -> None:
    with Load(gateway) as load:
        for _ in range(4):
            load.go_on()
    wait_until(lambda: sum(each["record"] == "session" for each in gateway.records) >= load.sent, "all on record")
    lines = (gateway.home / "var" / "records.jsonl").read_bytes().splitlines()
    assert Counter(json.loads(line)["record"] for line in lines) == {"transaction": load.sent, "session": load.sent}
    assert not [
        line for line in gateway.log.splitlines() if not re.match(r"\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d{4} \[", line)
    ]


def test_a_stop_lets_messages_end_in_every_worker(gateway: Gateway, recorder: RecordingUpstream) -> None:
    clients = [connect(gateway, "clear", Context.plain) for _ in range(20)]
    for client in clients:
        begin_content(client)
    gateway.terminate()
    wait_until(lambda: not listens(gateway.smtp_port), "the ports are closed")
    assert {end_content(client) for client in clients} == {"250"}
    assert len(recorder.messages) == 20
    gateway.close()


def test_a_second_signal_hurries_every_worker(lab: Lab, recorder: RecordingUpstream) -> None:
    gateway = lab.doomed_gateway(recorder, Setup(workers=2, drain_timeout="10m"))
    clients = [connect(gateway, "clear", Context.plain) for _ in range(10)]
    for client in clients:
        begin_content(client)
    gateway.terminate()
    wait_until(lambda: not listens(gateway.smtp_port), "the ports are closed")
    gateway.terminate()
    gateway.close()
    for client in clients:
        client.close()
