from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from smtpproxy.net.announcing import GRACE_S, Announcing
from smtpproxy.net.notify import RETRY_S, WAITING, Manager, Notifier, find_manager

if TYPE_CHECKING:
    from collections.abc import Iterator


class Office:
    """A service manager's socket, and a notifier that writes to it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)
        self.clock = Clock()
        self.notifier = Notifier(self.clock, address)

    def read(self) -> list[str]:
        return list(self._messages())

    def _messages(self) -> Iterator[str]:
        while True:
            try:
                yield self.socket.recv(4096).decode()
            except BlockingIOError:
                return

    def close(self) -> None:
        self.notifier.close()
        self.socket.close()

    def fill(self) -> int:
        """Have no room any more; return how many messages there was room for."""
        count = 0
        while not self.notifier._waiting:
            count += 1
            self.notifier.remove(f"n{count}")
        return count - 1


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(str(tmp_path / "notify"))
    yield made
    made.close()


def test_what_is_told_arrives_in_one_datagram_each(office: Office) -> None:
    before = time.monotonic_ns() // 1000
    office.notifier.reloading()
    office.notifier.ready("serving: 3 sessions\nnothing else")
    office.notifier.status("busy")
    office.notifier.alive()
    office.notifier.stopping("stopping", 40.5)
    office.notifier.remove("a-name")
    reloading, *others = office.read()
    assert others == [
        "READY=1\nSTATUS=serving: 3 sessions nothing else",
        "STATUS=busy",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=40500000",
        "FDSTOREREMOVE=1\nFDNAME=a-name",
    ]
    head, _, microseconds = reloading.partition("\nMONOTONIC_USEC=")
    assert head == "RELOADING=1"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_a_socket_is_stored_and_listens_on_when_ours_is_closed(office: Office) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        office.notifier.store("smtp", listener)
    message, (number,), _, _ = socket.recv_fds(office.socket, 4096, 4)
    assert message == b"FDSTORE=1\nFDNAME=smtp"
    with socket.socket(fileno=number) as kept:
        assert kept.getsockname() == address
        socket.create_connection(address).close()


def test_an_abstract_address_is_understood() -> None:
    office = Office(f"@smtpproxy-test-{os.getpid()}")
    office.notifier.alive()
    assert office.read() == ["WATCHDOG=1"]
    office.close()


def test_without_a_manager_nothing_is_done(tmp_path: Path) -> None:
    notifier = Notifier(Clock(), None)
    assert not notifier.is_heard
    notifier.ready("serving")
    with socket.socket() as any_socket:
        notifier.store("a", any_socket)
    assert list(tmp_path.iterdir()) == []


def test_what_there_is_no_room_for_is_sent_later_in_its_order(office: Office) -> None:
    count = office.fill()
    office.notifier.ready("serving")
    office.notifier.status("may be left out")
    office.notifier.alive()
    names = [f"FDSTOREREMOVE=1\nFDNAME=n{number}" for number in range(1, count + 2)]
    assert office.read() == names[:-1]
    office.clock.advance(RETRY_S)
    assert office.read() == [names[-1], "READY=1\nSTATUS=serving"]
    assert office.clock.getDelayedCalls() == []
    office.notifier.alive()
    assert office.read() == ["WATCHDOG=1"]


def test_a_socket_that_is_closed_while_its_message_waits_is_passed_over(office: Office) -> None:
    office.fill()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        office.notifier.store("gone", listener)
    office.notifier.ready("serving")
    office.read()
    office.clock.advance(RETRY_S)
    assert office.read()[1:] == ["READY=1\nSTATUS=serving"]


def test_a_manager_that_reads_nothing_does_not_fill_our_memory(office: Office) -> None:
    office.fill()
    with capturedLogs() as lines:
        for _ in range(WAITING + 5):
            office.notifier.ready("serving")
    assert len(office.notifier._waiting) == WAITING
    assert len(lines) == 1


def test_a_manager_that_is_gone_is_told_of_once(office: Office, tmp_path: Path) -> None:
    office.socket.close()
    (tmp_path / "notify").unlink()
    with capturedLogs() as lines:
        for _ in range(3):
            office.notifier.status("serving")
    (line,) = (str(event["log_format"]).format(**event) for event in lines)
    assert line == f"the service manager at {tmp_path}/notify is not told: No such file or directory"


def test_the_variables_are_taken_out() -> None:
    environ = {"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    assert find_manager(environ) == Manager("@a", 30)
    assert environ == {"HOME": "/"}
    assert find_manager(environ) == Manager(None, None)


@pytest.mark.parametrize(("microseconds", "pid"), [("x", ""), ("0", ""), ("", ""), ("1000", "1")])
def test_a_watchdog_that_is_none_or_not_ours_is_not_served(microseconds: str, pid: str) -> None:
    assert find_manager({"WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pid}).watchdog_s is None


class Gateway:
    """What is announced."""

    def __init__(self, office: Office, watchdog_s: float | None = None) -> None:
        self.sessions = 0
        self.reload: Deferred[list[str]] = Deferred()
        self.announcing = Announcing(
            office.clock, office.notifier, lambda: f"{self.sessions} sessions", lambda: 30, watchdog_s=watchdog_s
        )
        self.announcing.startService()  # type: ignore[no-untyped-call]
        self.request = self.announcing.reloads(lambda: self.reload)

    def end_reload(self, *mistakes: str) -> None:
        ended, self.reload = self.reload, Deferred()
        ended.callback(list(mistakes))


def test_the_status_is_told_when_it_changes_and_not_more_often_than_each_second(office: Office) -> None:
    gateway = Gateway(office)
    office.clock.advance(5)
    assert office.read() == []
    gateway.announcing.serves()
    assert office.read() == ["READY=1\nSTATUS=serving: 0 sessions"]
    for gateway.sessions in (1, 2, 3):
        office.clock.advance(0.25)
    assert office.read() == []
    office.clock.advance(0.25)
    assert office.read() == ["STATUS=serving: 3 sessions"]
    office.clock.advance(5)
    assert office.read() == []


def test_a_reload_is_announced_with_its_end_and_a_refused_one_is_not_forgotten(office: Office) -> None:
    gateway = Gateway(office)
    gateway.announcing.serves()
    gateway.request()
    assert office.read()[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    gateway.end_reload("a mistake")
    refused = "STATUS=serving: 0 sessions; the last reload was refused"
    assert office.read() == [f"READY=1\n{refused}"]
    gateway.request()
    gateway.end_reload()
    assert office.read()[1] == "READY=1\nSTATUS=serving: 0 sessions"


def test_a_reload_that_ends_before_anything_is_served_makes_it_not_ready(office: Office) -> None:
    gateway = Gateway(office)
    gateway.request()
    gateway.end_reload("the gateway is still starting")
    assert office.read() == []
    gateway.announcing.serves()
    assert office.read() == ["READY=1\nSTATUS=serving: 0 sessions; the last reload was refused"]


def test_reloads_that_overlap_are_over_when_the_last_is(office: Office) -> None:
    gateway = Gateway(office)
    gateway.announcing.serves()
    office.read()
    first, second = gateway.request(), gateway.request()
    assert first is second
    assert [message.partition("\n")[0] for message in office.read()] == ["RELOADING=1", "RELOADING=1"]
    gateway.end_reload()
    assert office.read() == ["READY=1\nSTATUS=serving: 0 sessions"]


def test_the_watchdog_hears_of_every_half_of_its_time_until_the_process_ends(office: Office) -> None:
    gateway = Gateway(office, watchdog_s=10)
    gateway.announcing.serves()
    office.read()
    office.clock.advance(5)
    assert office.read() == ["WATCHDOG=1"]
    gateway.announcing.stopService()
    assert office.read() == [f"STOPPING=1\nSTATUS=stopping: 0 sessions\nEXTEND_TIMEOUT_USEC={30 + GRACE_S:.0f}000000"]
    gateway.sessions = 7
    office.clock.advance(5)
    assert sorted(office.read()) == ["STATUS=stopping: 7 sessions", "WATCHDOG=1"]


def test_a_reload_that_ends_while_the_gateway_stops_makes_it_not_ready(office: Office) -> None:
    gateway = Gateway(office)
    gateway.announcing.serves()
    gateway.request()
    gateway.announcing.stopService()
    office.read()
    gateway.end_reload("the gateway is stopping")
    assert office.read() == []
