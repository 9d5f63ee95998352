from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections import Counter
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from smtpproxy.audit import Incident, SessionRecord, TransactionRecord
from smtpproxy.endpoint import Endpoint
from smtpproxy.net import balancers
from smtpproxy.net.balancers import Balancers
from smtpproxy.net.generation import Generation
from smtpproxy.net.listeners import Binding
from smtpproxy.policy.model import InterceptionMode, PortKind, UpstreamHost
from smtpproxy.proxy_header.header import Local, Proxied, Tlv, Unknown
from smtpproxy.proxy_header.version_1 import to_line
from smtpproxy.proxy_header.version_2 import to_binary
from smtpproxy.transport.tcp import listen
from tests.net.gateways import SMTP, GatewayCase, policy
from tests.transport.streams import reactor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.net.arrival import Arrival
    from smtpproxy.transport.stream import Stream

SMTPS = Binding("127.0.0.1", 0, PortKind.SMTPS)
NAMED = Proxied(Endpoint("192.0.2.9", 40000), Endpoint("198.51.100.1", 25), (Tlv(0xE0, b"kept"),))
NAMED_IPV6 = Proxied(Endpoint("2001:db8::9", 40000), Endpoint("2001:db8:1::1", 25))
BALANCER = ip_network("127.0.0.1/32")


class ThroughBalancer(GatewayCase):
    """A gateway that takes connections of a balancer on 127.0.0.1 only."""

    def generation(self, *arguments: object, **settings: object) -> Generation:
        made = super().generation(*arguments, **settings)  # type: ignore[arg-type]
        anywhere = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"), BALANCER)
        host = UpstreamHost("127.0.0.1", self.upstream.smtp_port, self.upstream.smtps_port)
        taken = replace(
            policy(), source=anywhere, destination=(ip_network("0.0.0.0/0"), ip_network("::/0")), upstream=host
        )
        return Generation(
            [taken],
            [SMTP, SMTPS],
            made.equipment,
            mode=InterceptionMode.PROXY_PROTOCOL,
            trusted_balancers=[BALANCER],
            gateway_name="gw.test",
            drain_timeout_s=10,
        )

    def sessions(self) -> list[tuple[str, str, str]]:
        """Who was connected to what, and how it ended, of each session on record."""
        ended = [each for each in self.records if isinstance(each, SessionRecord)]
        assert all((each.origin.balancer or "").startswith("127.0.0.1:") for each in ended)
        return [(each.origin.client, each.origin.destination, each.ended) for each in ended]


class BalancerTests(ThroughBalancer):
    async def test_the_client_of_the_header_is_who_dialled_what_stands_there(self) -> None:
        port = self.start()
        replies = [await deferToThread(greeting_and_bye, port, header) for header in (to_binary(NAMED), to_line(NAMED))]
        replies.append(await deferToThread(greeting_and_bye, port, to_binary(NAMED_IPV6, checksum=True)))
        assert [reply[:4] for reply in replies] == [b"220 "] * 3
        ipv4 = ("192.0.2.9:40000", "198.51.100.1:25", "quit")
        assert self.sessions() == [ipv4, ipv4, ("[2001:db8::9]:40000", "[2001:db8:1::1]:25", "quit")]

    async def test_a_header_may_be_cut_anywhere(self) -> None:
        port = self.start()
        for header in (to_binary(NAMED), to_line(NAMED)):
            for place in range(1, len(header)):
                reply = await deferToThread(greeting_and_bye, port, header[:place], header[place:])
                assert reply.startswith(b"220 "), place
            await deferToThread(greeting_and_bye, port, *[header[at : at + 1] for at in range(len(header))])
            assert self.sessions() == [("192.0.2.9:40000", "198.51.100.1:25", "quit")] * len(header)
            self.records.clear()

    async def test_a_client_hello_in_the_same_segment_is_not_lost(self) -> None:
        self.start()
        port = self.gateway.addresses[SMTPS][1]
        for header in (to_binary(NAMED), to_line(NAMED), to_line(Unknown()), to_binary(Local())):
            assert (await deferToThread(greeting_inside_tls, port, header)).startswith(b"220 ")

    async def test_what_a_client_says_behind_the_header_is_its_own(self) -> None:
        port = self.start()
        for behind in (b"EHLO c.test\r\n", to_binary(NAMED), to_line(NAMED)):
            for header in (to_binary(NAMED), to_line(NAMED)):
                reply = await deferToThread(everything, port, header + behind)
                assert reply == b"554 5.5.1 Command sent before the greeting\r\n"
        incidents = [each for each in self.records if isinstance(each, Incident)]
        assert {(each.token, each.origin.client) for each in incidents} == {("early-talk", "192.0.2.9:40000")}
        assert len(incidents) == 6

    async def test_a_message_goes_through(self) -> None:
        port = self.start()
        await deferToThread(send_message, port, to_binary(NAMED))
        (transaction,) = [each for each in self.records if isinstance(each, TransactionRecord)]
        assert (transaction.origin.client, transaction.reply and transaction.reply.code) == ("192.0.2.9:40000", 250)

    async def test_nobody_else_may_send_one(self) -> None:
        port = self.start()
        with warnings_given() as given:
            reply = await deferToThread(everything, port, to_binary(NAMED), source="127.0.0.2")
        assert (reply, given, self.records) == (b"", ["untrusted-balancer: 127.0.0.2"], [])
        assert self.gateway.turned_away["untrusted-balancer"] == 1

    async def test_without_a_header_nothing_is_heard_or_said(self) -> None:
        port = self.start()
        with warnings_given() as given:
            for octets in (b"EHLO c.test\r\n", b"\x16\x03\x01\x02\x00", to_line(NAMED)[:-1] + b"x", b"PROXY TCP4"):
                assert await deferToThread(everything, port, octets) == b""
        assert given == [
            "bad-proxy-header: 127.0.0.1 (proxy-header-missing)",
            "bad-proxy-header: 127.0.0.1 (proxy-header-missing)",
            "bad-proxy-header: 127.0.0.1 (proxy-header-syntax)",
            "bad-proxy-header: 127.0.0.1 (cut off, clean)",
        ]
        assert (self.records, self.gateway.turned_away["bad-proxy-header"]) == ([], 4)

    async def test_a_check_of_the_balancer_is_neither_a_session_nor_an_alarm(self) -> None:
        port = self.start()
        with warnings_given() as given:
            for octets in (b"", to_binary(Local()), to_line(Unknown())):
                assert await deferToThread(everything, port, octets) == b""
            assert await deferToThread(check_of_haproxy_by_version_1, port) == b""
        assert (given, self.records, self.gateway.sessions_begun) == ([], [], 0)
        assert not any(self.gateway.turned_away.values())

    async def test_a_balancer_that_speaks_for_itself_has_a_session_of_its_own(self) -> None:
        port = self.start()
        for header in (to_binary(Local()), to_line(Unknown()), to_binary(Unknown())):
            assert (await deferToThread(greeting_and_bye, port, header)).startswith(b"220 ")
        assert [(client.partition(":")[0], destination) for client, destination, _ in self.sessions()] == [
            ("127.0.0.1", f"127.0.0.1:{port}")
        ] * 3

    async def test_a_gateway_that_stops_waits_for_no_header(self) -> None:
        port = self.start()
        client = await deferToThread(socket.create_connection, ("127.0.0.1", port), 10)
        self.addCleanup(client.close)
        client.sendall(b"PROXY")
        assert (await deferToThread(greeting_and_bye, port, to_binary(NAMED))).startswith(b"220 ")
        await self.gateway.stopService()
        assert await deferToThread(rest_of, client) == b""


class UnwantedBalancerTests(ThroughBalancer):
    """No policy takes what the balancer says of itself."""

    def generation(self, *arguments: object, **settings: object) -> Generation:
        made = super().generation(*arguments, **settings)
        (taken,) = made.policies
        made.policies = (replace(taken, source=(ip_network("192.0.2.0/24"),)),)
        return made

    async def test_it_is_closed_and_gives_no_alarm(self) -> None:
        port = self.start()
        with warnings_given() as given:
            with socket.create_connection(("127.0.0.1", port), 10) as check:
                check.sendall(to_binary(Local()))
                assert await deferToThread(rest_of, check) == b""
            assert given == []
            assert await deferToThread(everything, port, to_binary(NAMED_IPV6)) == b""
        assert given == ["no policy takes 2001:db8::9 to [2001:db8:1::1]:25"]


class PendingTests(TestCase):
    """Headers that are waited for, by a clock of the test's own."""

    def setUp(self) -> None:
        self.clock, self.turned_away = Clock(), Counter[str]()
        self.arrived: list[Arrival] = []
        self.balancers = Balancers(
            self.clock,
            lambda _kind, arrival: self.arrived.append(arrival),
            self.turned_away,
            of_balancer=2,
            in_all=3,
        )
        listener = listen(reactor, "127.0.0.1", 0, self.accept)
        self.port = listener.getHost().port
        self.addCleanup(listener.stopListening)
        self.addCleanup(self.balancers.drop_all)
        self.accepted: Deferred[None] = Deferred()

    def accept(self, stream: Stream) -> None:
        self.balancers.receive(PortKind.SMTP, stream, [ip_network("127.0.0.0/8")])
        accepted, self.accepted = self.accepted, Deferred()
        accepted.callback(None)

    async def dial(self, source: str = "127.0.0.1") -> socket.socket:
        accepted = self.accepted
        client = await deferToThread(connected, self.port, source)
        self.addCleanup(client.close)
        await accepted
        return client

    async def test_a_header_that_does_not_come_in_time_is_not_waited_for(self) -> None:
        silent, slow = await self.dial(), await self.dial()
        slow.sendall(b"PROXY TCP4 192.0.2.9 ")
        self.clock.advance(balancers.HEADER_S - 0.1)
        assert not self.turned_away
        with warnings_given() as given:
            self.clock.advance(0.2)
        assert given == ["late-proxy-header: 127.0.0.1"] * 2
        assert [await deferToThread(rest_of, each) for each in (silent, slow)] == [b"", b""]
        assert (self.arrived, self.turned_away) == ([], {"late-proxy-header": 2})

    async def test_of_one_balancer_only_so_many_are_waited_for(self) -> None:
        first, _, third = [await self.dial() for _ in range(3)]
        assert await deferToThread(rest_of, third) == b""
        assert self.turned_away == {"too-many-proxy-headers": 1}
        first.close()
        await self.gone(1)
        await self.dial()
        assert self.turned_away == {"too-many-proxy-headers": 1}

    async def test_in_all_only_so_many_are_waited_for(self) -> None:
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            await self.dial(address)
        assert not self.turned_away
        assert await deferToThread(rest_of, await self.dial("127.0.0.4")) == b""

    async def gone(self, left: int) -> None:
        """Return when no more than so many headers are waited for."""
        while self.balancers.pending > left:
            await deferLater(reactor, 0)


@contextlib.contextmanager
def warnings_given() -> Iterator[list[str]]:
    """The texts of warnings meanwhile."""
    given: list[str] = []
    with capturedLogs() as events:
        yield given
    given += [formatEvent(each) for each in events if each["log_level"] is LogLevel.warn]


@contextlib.contextmanager
def reset_at_any_time() -> Iterator[None]:
    """The gateway may have closed already."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError:
        return


def connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    client = socket.socket()
    client.settimeout(10)
    client.bind((source, 0))
    with reset_at_any_time():
        client.connect(("127.0.0.1", port))
    return client


def rest_of(client: socket.socket) -> bytes:
    """Return all that comes until the connection ends, be it by a reset."""
    octets = b""
    with reset_at_any_time():
        while more := client.recv(4096):
            octets += more
    return octets


def everything(port: int, octets: bytes, source: str = "127.0.0.1") -> bytes:
    """Send octets and our end; return all that comes."""
    with connected(port, source) as client:
        with reset_at_any_time():
            client.sendall(octets)
            client.shutdown(socket.SHUT_WR)
        return rest_of(client)


def check_of_haproxy_by_version_1(port: int) -> bytes:
    """Connect, name our own connection, and leave; return all that comes."""
    with connected(port) as client:
        ends = Endpoint(*client.getsockname()), Endpoint(*client.getpeername())
        client.sendall(to_line(Proxied(*ends)))
        client.shutdown(socket.SHUT_WR)
        return rest_of(client)


def greeting_and_bye(port: int, *pieces: bytes) -> bytes:
    """Send a header piece by piece; return the greeting, and leave."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        greeting = client.recv(4096)
        client.sendall(b"QUIT\r\n")
        rest_of(client)
        return greeting


def greeting_inside_tls(port: int, header: bytes) -> bytes:
    """Send a header and a ClientHello in one segment; return the greeting inside TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = context.wrap_bio(incoming, outgoing)
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        sent = header
        while True:
            try:
                greeting = inside.read(4096)
            except ssl.SSLWantReadError:
                client.sendall(sent + outgoing.read())
                sent = b""
                incoming.write(client.recv(65536))
            else:
                return greeting


class _Announced(smtplib.SMTP):
    """Sends a header before anything else."""

    def __init__(self, header: bytes) -> None:
        super().__init__(local_hostname="c.test", timeout=10)
        self.header = header

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout)
        made.sendall(self.header)
        return made


def send_message(port: int, header: bytes) -> None:
    client = _Announced(header)
    client.connect("127.0.0.1", port)
    with client:
        client.sendmail("a@c.test", ["b@server.test"], b"hello\r\n")
