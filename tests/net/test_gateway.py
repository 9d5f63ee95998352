from __future__ import annotations

import smtplib
import socket
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpproxy.audit import Crash, Record, SessionRecord, Status, TransactionRecord
from smtpproxy.authority.create import create_authority, create_server_credential
from smtpproxy.authority.mint import Mint
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.embedded import EmbeddedUpstream
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.gateway import Binding, Gateway, bindings
from smtpproxy.net.refusals import REFUSALS
from smtpproxy.policy.model import General, Policy, PortKind, TlsSupport, UpstreamHost
from smtpproxy.spool import Spools
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.trust import load_trust
from tests.session.playbook import Setting

if TYPE_CHECKING:
    import trustme

LOOPBACK = (ip_network("127.0.0.0/8"),)


def policy(support: TlsSupport = TlsSupport.ENABLED, *, enabled: bool = True, general: General | None = None) -> Policy:
    made = Setting(general=general or General()).terms().policy
    return replace(made, source=LOOPBACK, destination=LOOPBACK, tls_support=support, enabled=enabled)


def kinds_bound(*policies: Policy) -> set[tuple[str, int, PortKind]]:
    ports = {PortKind.SMTP: (25, 587), PortKind.SMTPS: (465,)}
    return {(each.interface, each.port, each.kind) for each in bindings(policies, ["127.0.0.1"], ports)}


def test_ports_are_bound_for_what_some_enabled_policy_takes() -> None:
    smtp = {("127.0.0.1", 25, PortKind.SMTP), ("127.0.0.1", 587, PortKind.SMTP)}
    smtps = {("127.0.0.1", 465, PortKind.SMTPS)}
    assert kinds_bound(policy(TlsSupport.DISABLED)) == smtp
    assert kinds_bound(policy(TlsSupport.REQUIRED)) == smtps
    assert kinds_bound(policy(TlsSupport.ENABLED)) == smtp | smtps
    assert kinds_bound(policy(TlsSupport.DISABLED), policy(TlsSupport.REQUIRED)) == smtp | smtps
    assert kinds_bound(policy(TlsSupport.REQUIRED, enabled=False), policy(TlsSupport.DISABLED)) == smtp
    assert kinds_bound(policy(enabled=False)) == set()


class GatewayTests(TestCase):
    """A gateway and the embedded upstream in this process, clients in threads."""

    home: Path
    pem: Path

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path, internet_ca: trustme.CA) -> None:
        self.home, self.pem = tmp_path, tmp_path / "upstream.pem"
        internet_ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(self.pem))
        internet_ca.cert_pem.write_to_path(str(tmp_path / "trusted.pem"))

    def setUp(self) -> None:
        self.records: list[Record] = []
        self.upstream = EmbeddedUpstream("127.0.0.1", 0, 0, self.pem, self.pem, self.home / "maildir")
        self.upstream.startService()
        self.addCleanup(self.upstream.stopService)

    def start(self, general: General | None = None) -> int:
        """Start a gateway on a plaintext port; return the port."""
        host = UpstreamHost("127.0.0.1", self.upstream.smtp_port, self.upstream.smtps_port)
        taken = replace(policy(general=general), upstream=host)
        bind = Binding("127.0.0.1", 0, PortKind.SMTP)
        gateway = Gateway(self.equipment(), [taken], [bind], "gw.test")
        gateway.startService()
        self.gateway = gateway
        self.addCleanup(gateway.stopService)
        return gateway.addresses[bind][1]

    def equipment(self) -> Equipment:
        now = datetime.now(UTC)
        authority = create_authority("Test", now)
        return Equipment(
            reactor=reactor,
            proxy_server=ServerCredentials([create_server_credential(["gw.test"], authority, now)]),
            mint=Mint(authority, create_authority("Untrusted", now)),
            contexts=Contexts(8),
            trust=load_trust(self.home / "trusted.pem"),
            spools=Spools(self.home / "spool", 1024, 1_000_000),
            write=self.write,
        )

    def write(self, record: Record) -> None:
        """Keep records; the one of a message that is far too big breaks, as a full store would."""
        if isinstance(record, TransactionRecord) and record.because == "message-too-big":
            raise KeyError("broken on purpose")
        self.records.append(record)

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

    async def test_a_session_that_outlasts_the_draining_is_ended_and_on_record(self) -> None:
        port = self.start()
        client = await deferToThread(_begin_content, port)
        self.gateway._drain_s = 0.1
        await self.gateway.stopService()
        assert await deferToThread(client.recv, 1024) == b""
        client.close()
        transaction, session = [each for each in self.records if isinstance(each, TransactionRecord | SessionRecord)]
        assert isinstance(transaction, TransactionRecord)
        assert [each.status for each in transaction.recipients] == [Status.ABANDONED]
        assert isinstance(session, SessionRecord)
        assert session.ended == "drain-deadline"
        assert not list(self.home.glob("maildir/new/*"))

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


def _begin_content(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 10)
    with client.makefile("rb") as replies:
        replies.readline()
        for line in (b"HELO c.test", b"MAIL FROM:<a@c.test>", b"RCPT TO:<b@server.test>", b"DATA"):
            client.sendall(line + b"\r\n")
            assert replies.readline()[:1] in b"23"
    client.sendall(b"half a message\r\n")
    return client


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
