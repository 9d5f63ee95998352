from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from smtpproxy.net.listeners import Binding
from smtpproxy.net.listening import ListenError
from smtpproxy.policy.model import PortKind
from smtpproxy.transport.tcp import open_shared
from smtpproxy.workers.slots import LONGEST_PAUSE_S, STEADY_S, NoRoom, Opened, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"


def opener(bind: Binding, alone: bool) -> socket.socket:  # noqa: FBT001 - as `Open` has it
    try:
        return open_shared(bind.interface, bind.port, alone=alone)
    except OSError as error:
        raise ListenError(bind.interface, bind.port, error) from error


@pytest.fixture
def bind() -> Binding:
    with socket.create_server((HOST, 0)) as probe:
        return Binding(HOST, probe.getsockname()[1], PortKind.SMTP)


@pytest.fixture
def slots() -> Iterator[list[Slot]]:
    slots = [Slot(1), Slot(2)]
    yield slots
    for slot in slots:
        _close(slot)


def _close(slot: Slot) -> None:
    for each in slot.keep(()):
        each.close()


def test_every_slot_has_a_socket_of_its_own(bind: Binding, slots: list[Slot]) -> None:
    opened = Opened(slots, [bind], opener)
    assert [opened.places(slot) for slot in slots] == [[(HOST, bind.port)]] * 2
    opened.hand_over()
    first, second = (slot.sockets[HOST, bind.port] for slot in slots)
    assert first.getsockname() == second.getsockname() == (HOST, bind.port)
    assert Opened(slots, [bind], opener).places(slots[0]) == []


def test_connections_are_spread_and_wait_at_their_slot(bind: Binding, slots: list[Slot]) -> None:
    Opened(slots, [bind], opener).hand_over()
    clients = [socket.create_connection((HOST, bind.port), 10) for _ in range(60)]
    counts = [_accept_all(slot.sockets[HOST, bind.port]) for slot in slots]
    assert sum(counts) == len(clients)
    assert min(counts) > 10
    for client in clients:
        client.close()


def _accept_all(listening: socket.socket) -> int:
    count = 0
    while True:
        try:
            accepted, _ = listening.accept()
        except BlockingIOError:
            return count
        accepted.close()
        count += 1


def test_nobody_is_joined_who_is_there_already(bind: Binding, slots: list[Slot]) -> None:
    other = Slot(9)
    Opened([other], [bind], opener).hand_over()
    with pytest.raises(ListenError, match="Address already in use"):
        Opened(slots, [bind], opener)
    _close(other)


def test_all_or_nothing_is_opened(bind: Binding, slots: list[Slot]) -> None:
    with closing(socket.create_server((HOST, 0))) as other:
        taken = Binding(HOST, other.getsockname()[1], PortKind.SMTP)
        with pytest.raises(ListenError):
            Opened(slots, [bind, taken], opener)
    with closing(opener(bind, alone=True)):
        pass  # the port is free again
    assert slots[0].sockets == {}


def test_a_further_slot_without_room_says_what_to_do(bind: Binding, slots: list[Slot]) -> None:
    Opened(slots, [bind], opener).hand_over()

    def refuse(_bind: Binding, _alone: bool) -> socket.socket:  # noqa: FBT001
        raise ListenError(HOST, bind.port, OSError(98, "Address already in use"))

    with pytest.raises(NoRoom, match=r"Address already in use; restart to change gateway\.workers"):
        Opened([*slots, Slot(3)], [bind], refuse)


def test_the_pause_grows_with_deaths_that_follow_each_other() -> None:
    slot = Slot(1)
    assert [slot.pause_s(1.0) for _ in range(5)] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert [slot.pause_s(1.0) for _ in range(9)][-1] == LONGEST_PAUSE_S
    assert slot.pause_s(STEADY_S) == 0.0
    assert slot.pause_s(1.0) == 0.5
