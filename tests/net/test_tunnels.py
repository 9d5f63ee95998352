"""Tunnels and refusals on real sockets: who shows which certificate, what passes, and how it ends."""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from smtpproxy.audit import Incident, SessionRecord
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.generation import Generation
from smtpproxy.net.listeners import Binding
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import ImplicitTls, Policy, PortKind, TlsAction, TlsException, UpstreamHost
from tests.net.gateways import LOOPBACK, SMTP, GatewayCase
from tests.session.playbook import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SMTPS = Binding("127.0.0.1", 0, PortKind.SMTPS)
RESET = b"reset"


def passing(*entries: str, action: TlsAction = TlsAction.ALLOW) -> tuple[TlsException, ...]:
    return (TlsException(Entries.of(entries or ("*",)), action),)


def implicit(action: TlsAction, *exceptions: TlsException, compliance: bool = False) -> Setting:
    return Setting(tls=ImplicitTls(action, exceptions), compliance=compliance)


class TunnelTests(GatewayCase):
    def begin(self, setting: Setting) -> dict[PortKind, int]:
        """Start a gateway on both kinds of port."""
        host = UpstreamHost("127.0.0.1", self.upstream.smtp_port, self.upstream.smtps_port)
        taken = replace(setting.terms().policy, source=LOOPBACK, destination=LOOPBACK, upstream=host)
        return self.serve_both([taken])

    def begin_before(self, port: int, setting: Setting) -> dict[PortKind, int]:
        """Start a gateway before another server, which is on ``port``."""
        host = UpstreamHost("127.0.0.1", port, port)
        taken = replace(setting.terms().policy, source=LOOPBACK, destination=LOOPBACK, upstream=host)
        return self.serve_both([taken])

    def serve_both(self, policies: Sequence[Policy]) -> dict[PortKind, int]:
        binds = (SMTP, SMTPS)
        made = Generation(policies, binds, self.equipment(), gateway_name="gw.test", drain_timeout_s=10)
        self.gateway = Gateway(reactor, made)
        self.gateway.privilegedStartService()
        self.gateway.startService()
        self.addCleanup(self.gateway.stopService)
        return {bind.kind: self.gateway.addresses[bind][1] for bind in binds}

    @property
    def own(self) -> bytes:
        """The upstream's own certificate."""
        return ssl.PEM_cert_to_DER_cert(_first_certificate(self.pem.read_text()))

    def ended(self) -> list[str]:
        return [each.ended for each in self.records if isinstance(each, SessionRecord)]

    async def test_implicit_tls_passes_untouched(self) -> None:
        port = self.begin(implicit(TlsAction.ALLOW, compliance=True))[PortKind.SMTPS]
        seen = await deferToThread(_send_over_tls, port, "any.test")
        assert seen == self.own
        assert len(list(self.home.glob("maildir/new/*"))) == 1
        await self.until_ended()
        (session,) = [each for each in self.records if isinstance(each, SessionRecord)]
        assert session.ended in {"tunnel-closed", "client-reset", "upstream-closed-reset"}
        assert session.tunnel is not None
        assert session.tunnel.client_hello is not None
        assert session.tunnel.client_hello.server_name == "any.test"
        assert session.tunnel.server_hello is not None
        assert session.tunnel.server_hello.version == 0x0304
        assert session.client_octets_in > 1000
        assert session.client_octets_in == session.upstream_octets_out
        assert session.upstream_octets_in == session.client_octets_out

    async def test_an_exception_by_name_decides_who_shows_a_certificate(self) -> None:
        port = self.begin(implicit(TlsAction.INSPECT, *passing("*.bank.test")))[PortKind.SMTPS]
        assert await deferToThread(_send_over_tls, port, "mx.bank.test") == self.own
        assert await deferToThread(_send_over_tls, port, "mx.other.test") != self.own
        assert await deferToThread(_send_over_tls, port, None) != self.own

    async def test_starttls_of_the_clients_own_passes(self) -> None:
        port = self.begin(Setting(exceptions=passing("127.0.0.0/8"), compliance=True))[PortKind.SMTP]
        assert await deferToThread(_send_with_starttls, port) == self.own
        await self.until_ended()
        (session,) = [each for each in self.records if isinstance(each, SessionRecord)]
        assert session.tunnel is not None
        assert session.tunnel.because == "starttls-exception"
        assert session.helo != b""

    async def test_an_exception_of_another_destination_changes_nothing(self) -> None:
        port = self.begin(Setting(exceptions=passing("192.0.2.0/24")))[PortKind.SMTP]
        assert await deferToThread(_send_with_starttls, port) != self.own

    async def test_denied_sessions_are_told(self) -> None:
        denied = Setting(tls=ImplicitTls(TlsAction.DENY), exceptions=passing(action=TlsAction.DENY))
        ports = self.begin(denied)
        expected = b"554 5.7.1 Connection refused\r\n"
        assert await deferToThread(_words, ports[PortKind.SMTP]) == expected
        assert await deferToThread(_words_inside_tls, ports[PortKind.SMTPS]) == expected
        assert self.ended() == ["tls-denied", "tls-denied"]

    async def test_dropped_sessions_are_reset(self) -> None:
        dropped = Setting(tls=ImplicitTls(TlsAction.DROP), exceptions=passing(action=TlsAction.DROP))
        ports = self.begin(dropped)
        assert await deferToThread(_words, ports[PortKind.SMTP]) == RESET
        assert await deferToThread(_words_inside_tls, ports[PortKind.SMTPS]) == RESET
        assert self.ended() == ["tls-dropped", "tls-dropped"]

    async def test_a_blocked_source_gets_no_further_session_until_its_time_is_over(self) -> None:
        ports = self.begin(Setting(tls=ImplicitTls(TlsAction.BLOCK)))
        assert (await deferToThread(_words, ports[PortKind.SMTP])).startswith(b"220 ")
        assert await deferToThread(_words_inside_tls, ports[PortKind.SMTPS]) == RESET
        (entry,) = self.blocklist.entries()
        assert (entry.address, entry.reason) == ("127.0.0.1", "tls-action")
        for port in ports.values():
            assert await deferToThread(_words, port) == RESET
        assert self.gateway.turned_away["blocked"] == 2
        self.blocklist.lift("127.0.0.1")
        assert (await deferToThread(_words, ports[PortKind.SMTP])).startswith(b"220 ")

    async def test_what_is_no_tls_passes_only_without_compliance(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            here = server.getsockname()[1]
            for compliance, expected in ((False, b"heard EHLO me.test\r\n"), (True, b"")):
                port = self.begin_before(here, implicit(TlsAction.ALLOW, compliance=compliance))[PortKind.SMTPS]
                answering = deferToThread(_answer_in_clear, server) if not compliance else None
                assert await deferToThread(_ask_in_clear, port) == expected
                if answering is not None:
                    await answering

    async def test_an_upstream_that_talks_in_clear_breaks_a_strict_tunnel(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            strict = implicit(TlsAction.ALLOW, compliance=True)
            port = self.begin_before(server.getsockname()[1], strict)[PortKind.SMTPS]
            answering = deferToThread(_answer_in_clear, server)
            assert await deferToThread(_words_inside_tls, port) == RESET
            await answering
        assert [(each.leg, each.token) for each in self.records if isinstance(each, Incident)] == [
            ("upstream", "tunnel-not-tls")
        ]

    async def test_a_half_that_ended_lets_the_other_go_on(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = self.begin_before(server.getsockname()[1], implicit(TlsAction.ALLOW))[PortKind.SMTPS]
            answering = deferToThread(_answer_behind_the_end, server)
            assert await deferToThread(_end_and_listen, port) == bytes(2_000_000)
            assert await answering == b"first\nsecond"
        await self.until_ended()
        assert self.ended() == ["tunnel-closed"]

    async def until_ended(self) -> None:
        """Wait until no session runs."""
        while self.gateway.sessions_running:
            await deferToThread(lambda: None)


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return begin + pem.partition(begin)[2].partition(end)[0] + end + "\n"


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _send_over_tls(port: int, server_name: str | None) -> bytes | None:
    return _send(lambda: _Smtps(port, server_name))


def _send_with_starttls(port: int) -> bytes | None:
    def connect() -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", port, timeout=10)
        client.starttls(context=_unverified())
        return client

    return _send(connect)


def _send(connect: Callable[[], smtplib.SMTP]) -> bytes | None:
    with connect() as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = client.sock.getpeercert(binary_form=True)
        client.sendmail("a@client.test", ["b@server.test"], "Subject: x\r\n\r\n" + "line\r\n" * 100)
        return shown


class _Smtps(smtplib.SMTP_SSL):
    def __init__(self, port: int, server_name: str | None) -> None:
        self._server_name = server_name
        super().__init__("127.0.0.1", port, timeout=10, context=_unverified())

    def _get_socket(self, host: str, port: int, timeout: float) -> ssl.SSLSocket:
        plain = socket.create_connection((host, port), timeout)
        return _unverified().wrap_socket(plain, server_hostname=self._server_name)


def _words(port: int) -> bytes:
    """A reset may come before the connection is seen to stand."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            return client.recv(1024)
    except ConnectionResetError:
        return RESET


def _words_inside_tls(port: int) -> bytes:
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            _unverified().wrap_socket(plain, server_hostname="any.test") as client,
        ):
            return client.recv(1024)
    except ConnectionResetError:
        return RESET


def _ask_in_clear(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"EHLO me.test\r\n")
        try:
            return client.recv(1024)
        except ConnectionResetError:
            return b""


def _answer_in_clear(server: socket.socket) -> None:
    taken, _ = server.accept()
    with taken:
        taken.settimeout(10)
        taken.sendall(b"heard " + taken.recv(20))
        try:
            while taken.recv(1024):
                pass
        except ConnectionResetError:
            pass


def _answer_behind_the_end(server: socket.socket) -> bytes:
    taken, _ = server.accept()
    heard = b""
    with taken:
        taken.settimeout(10)
        while octets := taken.recv(1024):
            heard += octets
        taken.sendall(bytes(2_000_000))
    return heard


def _end_and_listen(port: int) -> bytes:
    heard = b""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"first\n")
        client.sendall(b"second")
        client.shutdown(socket.SHUT_WR)
        while octets := client.recv(65536):
            heard += octets
    return heard
