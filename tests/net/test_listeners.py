"""Real sockets: how one set of addresses follows another."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from smtpproxy.net.listeners import Binding, Listeners
from smtpproxy.net.listening import ListenError
from smtpproxy.policy.model import PortKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred

    from smtpproxy.transport.stream import Stream

HOST, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - what is tested
SMTP, SMTPS = PortKind.SMTP, PortKind.SMTPS
IN_USE = "Address already in use"


class ListenersTests(TestCase):
    def setUp(self) -> None:
        self.clients: list[socket.socket] = []
        self.listeners = Listeners(reactor, self.accept)
        self.addCleanup(lambda: DeferredList(self.listeners.close()))

    def accept(self, kind: PortKind, stream: Stream) -> None:
        stream.send(kind.value.encode() + b"\n")
        stream.close()

    def listen(self, *binds: Binding) -> None:
        self.listeners.change(binds)

    def dial(self, port: int) -> socket.socket:
        """The kernel lets a client in before anybody accepts it."""
        client = socket.create_connection((HOST, port), 10)
        self.clients.append(client)
        self.addCleanup(client.close)
        return client

    @property
    def ports(self) -> list[Any]:
        return [door.port for door in self.listeners._doors.values()]

    def test_an_ipv6_address_is_told_in_brackets(self) -> None:
        with capturedLogs() as told:
            self.listen(Binding("::1", 0, SMTP))
        ((_, port),) = self.listeners.addresses.values()
        assert f"listening on [::1]:{port} (smtp)" in [formatEvent(event) for event in told]

    async def test_what_stays_is_never_let_go_of(self) -> None:
        first, second = _free_bindings(2)
        self.listen(first)
        (port,) = self.ports
        waiting = self.dial(first.port)
        self.listen(second, first)
        assert self.ports[1] is port
        assert await _hear(waiting) == b"smtp\n"
        assert await _hear(self.dial(second.port)) == b"smtp\n"

    async def test_what_goes_serves_who_is_in_and_is_closed(self) -> None:
        first, second = _free_bindings(2)
        self.listen(first, second)
        waiting = self.dial(first.port)
        self.listen(second)
        late = self.dial(first.port)  # the socket is closed at the reactor's next turn
        assert await _hear(waiting) == b"smtp\n"
        assert await _hear(late) == b"smtp\n"
        assert list(self.listeners.addresses) == [second]
        with pytest.raises(ConnectionRefusedError):
            self.dial(first.port)

    async def test_a_port_that_is_taken_changes_nothing(self) -> None:
        first, second, third = _free_bindings(3)
        self.listen(first)
        with socket.create_server((HOST, third.port)), pytest.raises(ListenError, match=IN_USE):
            self.listen(second, third)
        await _next_turn()
        assert list(self.listeners.addresses) == [first]
        assert await _hear(self.dial(first.port)) == b"smtp\n"
        with pytest.raises(ConnectionRefusedError):
            self.dial(second.port)

    async def test_a_port_whose_connections_begin_in_another_way_now_is_kept(self) -> None:
        (smtp,) = _free_bindings(1)
        smtps = Binding(HOST, smtp.port, SMTPS)
        self.listen(smtp)
        (port,) = self.ports
        waiting = self.dial(smtp.port)
        self.listen(smtps)
        assert self.ports == [port]
        assert list(self.listeners.addresses) == [smtps]
        assert await _hear(waiting) == b"smtps\n"

    async def test_a_port_that_keeps_its_number_on_more_or_fewer_addresses(self) -> None:
        (narrow,) = _free_bindings(1)
        wide = Binding(EVERYWHERE, narrow.port, SMTP)
        self.listen(narrow)
        for following in (wide, narrow, wide):
            waiting = self.dial(narrow.port)
            self.listen(following)
            assert await _hear(waiting) == b"smtp\n"
            assert await _hear(self.dial(narrow.port)) == b"smtp\n"
            assert list(self.listeners.addresses) == [following]

    async def test_the_sockets_of_another_are_served_until_it_does_itself(self) -> None:
        (bind,) = _free_bindings(1)
        self.listen(bind)
        other = _listening()
        self.addCleanup(other.close)
        self.listeners.stand_in(2, [((HOST, bind.port), other.dup())])
        port = other.getsockname()[1]
        assert await _hear(self.dial(port)) == b"smtp\n"
        assert list(self.listeners.addresses) == [bind]
        self.listeners.stand_down(2)
        await _next_turn()
        waiting = self.dial(port)
        other.accept()[0].close()
        assert await _hear(waiting) == b""

    async def test_the_last_copy_of_anothers_socket_is_emptied_when_its_address_goes(self) -> None:
        first, second = _free_bindings(2)
        self.listen(first, second)
        others = {first: _listening(), second: _listening()}
        ports = [each.getsockname()[1] for each in others.values()]
        self.listeners.stand_in(2, [((HOST, bind.port), each) for bind, each in others.items()])
        waiting = self.dial(ports[0])
        self.listen(second)
        assert await _hear(waiting) == b"smtp\n"
        with pytest.raises(ConnectionRefusedError):
            self.dial(ports[0])
        assert await _hear(self.dial(ports[1])) == b"smtp\n"
        await DeferredList(self.listeners.close_when_empty())
        with pytest.raises(ConnectionRefusedError):
            self.dial(ports[1])

    async def test_whoever_stops_leaves_what_waits_at_anothers_socket_to_the_next(self) -> None:
        (bind,) = _free_bindings(1)
        self.listen(bind)
        other = _listening()
        self.addCleanup(other.close)
        self.listeners.stand_in(2, [((HOST, bind.port), other.dup())])
        waiting = self.dial(other.getsockname()[1])
        await DeferredList(self.listeners.close())
        other.accept()[0].close()
        assert await _hear(waiting) == b""

    @pytest.mark.skipif(os.geteuid() != 0, reason="it takes CAP_NET_RAW")
    def test_anothers_socket_takes_connections_to_other_addresses_where_ours_does(self) -> None:
        (bind,) = _free_bindings(1)
        self.listen(replace(bind, transparent=True))
        other = _listening()
        self.addCleanup(other.close)
        self.listeners.stand_in(2, [((HOST, bind.port), other.dup())])
        assert other.getsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT) == 1

    async def test_sockets_of_another_at_an_address_of_nobody_are_closed(self) -> None:
        (bind,) = _free_bindings(1)
        self.listen(bind)
        other = _listening()
        self.listeners.stand_in(2, [((HOST, bind.port + 1), other)])
        assert other.fileno() == -1

    async def test_nobody_else_is_let_in_beside_us(self) -> None:
        (narrow,) = _free_bindings(1)
        self.listen(narrow)
        self.listen(Binding(EVERYWHERE, narrow.port, SMTP))
        await _next_turn()
        with pytest.raises(OSError, match=IN_USE):
            socket.create_server((HOST, narrow.port))

    def test_addresses_that_overlap_are_refused_as_ever(self) -> None:
        (narrow,) = _free_bindings(1)
        with pytest.raises(ListenError, match=IN_USE):
            self.listen(narrow, Binding(EVERYWHERE, narrow.port, SMTP))

    def test_an_ipv6_address_that_is_not_ours_is_told(self) -> None:
        with pytest.raises(ListenError, match=r"\[2001:db8::1\]:0: cannot listen: .*without IPv6 here"):
            self.listen(Binding("2001:db8::1", 0, SMTP))


def _free_bindings(count: int) -> list[Binding]:
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return [Binding(HOST, port, SMTP) for port in ports]


def _listening() -> socket.socket:
    listening = socket.create_server((HOST, 0))
    listening.setblocking(False)
    return listening


def _hear(client: socket.socket) -> Deferred[bytes]:
    return deferToThread(_read_all, client)


def _read_all(client: socket.socket) -> bytes:
    return b"".join(_pieces(client))


def _pieces(client: socket.socket) -> Iterable[bytes]:
    while octets := client.recv(1024):
        yield octets


def _next_turn() -> Deferred[None]:
    return deferLater(reactor, 0, lambda: None)
