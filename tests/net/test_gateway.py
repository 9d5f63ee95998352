from __future__ import annotations

import smtplib
import socket
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from smtpproxy.audit import Crash, Incident, SessionRecord, Status, TransactionRecord
from smtpproxy.config.values import Interception
from smtpproxy.endpoint import Endpoint
from smtpproxy.net.listeners import Binding, bindings
from smtpproxy.net.refusals import REFUSALS
from smtpproxy.policy.model import General, InterceptionMode, OnStop, Policy, PortKind, TlsSupport, UpstreamHost
from tests.net.gateways import GatewayCase, begin_content, policy


def kinds_bound(*policies: Policy) -> set[tuple[str, int, PortKind]]:
    ports = {PortKind.SMTP: (25, 587), PortKind.SMTPS: (465,)}
    interception = Interception(("127.0.0.1",), ports, InterceptionMode.EXPLICIT, (), OnStop.BLOCK)
    return {(each.interface, each.port, each.kind) for each in bindings(policies, interception)}


def test_ports_are_bound_for_what_some_enabled_policy_takes() -> None:
    smtp = {("127.0.0.1", 25, PortKind.SMTP), ("127.0.0.1", 587, PortKind.SMTP)}
    smtps = {("127.0.0.1", 465, PortKind.SMTPS)}
    assert kinds_bound(policy(TlsSupport.DISABLED)) == smtp
    assert kinds_bound(policy(TlsSupport.REQUIRED)) == smtps
    assert kinds_bound(policy(TlsSupport.ENABLED)) == smtp | smtps
    assert kinds_bound(policy(TlsSupport.DISABLED), policy(TlsSupport.REQUIRED)) == smtp | smtps
    assert kinds_bound(policy(TlsSupport.REQUIRED, enabled=False), policy(TlsSupport.DISABLED)) == smtp
    assert kinds_bound(policy(enabled=False)) == set()


LOOP = b"421 4.4.6 Routing loop detected, closing connection\r\n"


class GatewayTests(GatewayCase):
    async def test_a_session_that_breaks_tells_its_client_and_touches_no_other(self) -> None:
        port = self.start()
        replies = await deferToThread(_break_one_beside_another, port)
        assert replies == [(421, b"4.3.0 Internal error, closing connection"), {}]
        (crash,) = [each for each in self.records if isinstance(each, Crash)]
        assert (crash.error, len(crash.reference)) == ("KeyError", 12)
        assert [each.ended for each in self.records if isinstance(each, SessionRecord)] == ["quit"]
        assert len(list((self.home / "maildir" / "new").iterdir())) == 1
        assert len(self.flushLoggedErrors(KeyError)) == 1  # type: ignore[no-untyped-call]

    async def test_a_source_with_too_many_sessions_is_told_and_makes_room_by_leaving(self) -> None:
        port = self.start(General(max_sessions_per_source=1))
        first, second, third = await deferToThread(_one_too_many, port)
        assert first.startswith(b"220 ")
        assert second == b"421 4.7.0 Too many connections, try again later\r\n"
        assert third.startswith(b"220 ")

    async def test_where_the_client_dialled_is_never_the_gateway_itself(self) -> None:
        port = self.start(upstream=None)
        assert await deferToThread(_first_words, port) == LOOP
        assert await deferToThread(_first_words, port) == LOOP
        (alarm,) = self.records
        assert isinstance(alarm, Incident)
        assert (alarm.token, alarm.origin.destination) == ("loop", f"127.0.0.1:{port}")
        assert self.gateway.turned_away["loop"] == 2
        assert self.gateway.sessions_begun == 0

    async def test_a_connection_of_its_own_that_comes_back_is_turned_away(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        bind, itself = Binding("127.0.0.1", port, PortKind.SMTP), UpstreamHost("127.0.0.1", port)
        self.serve(self.generation(binds=[bind], upstream=itself))
        assert await deferToThread(_first_words, port) == LOOP
        assert [each.token for each in self.records if isinstance(each, Incident)] == ["loop"]
        assert (self.gateway.sessions_begun, self.gateway.turned_away["loop"]) == (1, 1)

    async def test_while_another_process_dials_there_a_connection_waits_a_moment_and_is_served(self) -> None:
        port = self.start()
        with self.gateway.newest.equipment.loops.beginning(Endpoint("127.0.0.1", port)):
            assert (await deferToThread(_first_words, port)).startswith(b"220 ")

    async def test_a_connection_of_the_gateway_that_is_noted_a_moment_late(self) -> None:
        port = self.start()
        server, loops = Endpoint("127.0.0.1", port), self.gateway.newest.equipment.loops
        with loops.beginning(server), socket.create_connection(("127.0.0.1", port)) as dialled:
            while not reactor.getDelayedCalls():
                await deferLater(reactor, 0)
            loops.begin((Endpoint(*dialled.getsockname()), server))
            assert await deferToThread(dialled.recv, 200) == LOOP
        assert self.gateway.sessions_begun == 0

    async def test_a_session_that_outlasts_the_draining_is_ended_and_on_record(self) -> None:
        port = self.start()
        client = await deferToThread(begin_content, port)
        self.gateway.newest.drain_timeout_s = 0.1
        await self.gateway.stopService()
        assert await deferToThread(client.recv, 1024) == b""
        client.close()
        transaction, session = [each for each in self.records if isinstance(each, TransactionRecord | SessionRecord)]
        assert isinstance(transaction, TransactionRecord)
        assert [each.status for each in transaction.recipients] == [Status.ABANDONED]
        assert isinstance(session, SessionRecord)
        assert session.ended == "drain-deadline"
        assert not list(self.home.glob("maildir/new/*"))

    async def test_a_blocked_source_is_turned_away_until_it_is_lifted(self) -> None:
        port = self.start()
        self.blocklist.block("127.0.0.1", 60, "tls-action")
        for _ in range(3):
            assert await deferToThread(_first_octets, port) == b""
        assert (self.gateway.turned_away["blocked"], self.gateway.sessions_begun, self.records) == (3, 0, [])
        self.blocklist.lift("127.0.0.1")
        assert (await deferToThread(_first_octets, port)).startswith(b"220 ")

    async def test_a_flood_of_one_source_holds_no_more_descriptors_than_there_are_refusals(self) -> None:
        port = self.start(General(max_sessions_per_source=1))
        before = _descriptors()
        held, answers = await deferToThread(_flood, port, 3 * REFUSALS)
        open_here = _descriptors() - before - len(held)
        for each in held:
            each.close()
        assert open_here <= REFUSALS + 10
        assert answers.count(b"421") <= REFUSALS
        assert answers.count(b"") >= REFUSALS


def _first_words(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        return client.recv(1024)


def _first_octets(port: int) -> bytes:
    """Return nothing for a reset, which may come before the connection is seen to stand."""
    try:
        return _first_words(port)
    except ConnectionResetError:
        return b""


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _flood(port: int, count: int) -> tuple[list[socket.socket], list[bytes]]:
    """Dial ``count`` times and keep every connection open; return the first octets that each one got."""
    held = [socket.create_connection(("127.0.0.1", port), 10)]
    assert held[0].recv(3) == b"220"
    answers = []
    for _ in range(count):
        try:
            held.append(socket.create_connection(("127.0.0.1", port), 10))
            answers.append(held[-1].recv(3))
        except ConnectionResetError:
            answers.append(b"")
    return held, answers


def _break_one_beside_another(port: int) -> list[object]:
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=10) as beside:
        beside.ehlo()
        broken = smtplib.SMTP("127.0.0.1", port, "client.test", timeout=10)
        broken.ehlo()
        reply = broken.docmd("MAIL", "FROM:<a@client.test> SIZE=99999999999")
        broken.close()
        return [reply, beside.sendmail("a@client.test", ["b@server.test"], b"hello\r\n")]


def _one_too_many(port: int) -> list[bytes]:
    with socket.create_connection(("127.0.0.1", port), 10) as first:
        greetings = [first.recv(1024)]
        with socket.create_connection(("127.0.0.1", port), 10) as second:
            greetings.append(second.recv(1024))
        first.sendall(b"QUIT\r\n")
        while first.recv(1024):
            pass
    with socket.create_connection(("127.0.0.1", port), 10) as third:
        return [*greetings, third.recv(1024)]
