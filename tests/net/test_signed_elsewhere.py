"""Sessions whose certificate is signed by another process, and comes later or not at all."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.threads import deferToThread

from smtpproxy.audit import SessionRecord, TlsRecord
from smtpproxy.authority.credentials import Authority, Credential, save_credential
from smtpproxy.authority.remote import RemoteMint
from smtpproxy.authority.signing_client import SigningClient, SigningError
from smtpproxy.authority.signing_process import SigningProcess, open_signing_socket
from smtpproxy.net.listeners import Binding
from smtpproxy.policy.model import PortKind
from smtpproxy.tls.facts import TlsFailure, TlsReason
from tests.net.gateways import SMTP, GatewayCase, begin_content, greeted

if TYPE_CHECKING:
    from pathlib import Path

    from smtpproxy.authority.signing import LeafOrder

reactor: Any = default_reactor
SMTPS = Binding("127.0.0.1", 0, PortKind.SMTPS)


def blind() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shown(port: int, kind: PortKind) -> x509.Certificate:
    """Send a message over TLS; return the certificate that was shown."""
    context = blind()
    client = smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=20) if kind is PortKind.SMTPS else None
    with client or smtplib.SMTP("127.0.0.1", port, timeout=20) as session:
        if client is None:
            session.starttls(context=context)
        tls = session.sock
        assert isinstance(tls, ssl.SSLSocket)
        session.sendmail("a@c.test", ["b@server.test"], "Subject: hello\r\n\r\nhello\r\n")
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")


class SignedElsewhereTests(GatewayCase):
    authorities: tuple[Credential, Credential]

    def setUp(self) -> None:
        super().setUp()
        self.sign: Any = None
        self.results: Counter[str] = Counter()

    def mint(self, proxy: Credential, untrusted: Credential) -> RemoteMint:
        self.authorities = proxy, untrusted
        first, second = (Authority(each.certificates, each.fingerprint) for each in self.authorities)
        return RemoteMint(first, second, self.leaf_keys, self.order)

    def order(self, order: LeafOrder) -> Deferred[bytes]:
        """Have a leaf signed as the test wants it now."""
        signed: Deferred[bytes] = self.sign(order)
        return signed

    def start_both(self) -> dict[PortKind, int]:
        self.serve(self.generation(binds=(SMTP, SMTPS)))
        return {bind.kind: at[1] for bind, at in self.gateway.addresses.items()}

    async def begin_signing(self) -> SigningProcess:
        listening = open_signing_socket()
        self.addCleanup(listening.close)
        process = SigningProcess(reactor, listening)
        process.startService()
        self.addCleanup(process.stopService)
        client = SigningClient(reactor, process.address, self.results)
        self.addCleanup(client.close)
        self.sign = client.sign
        await process.prepare(self.configuration(), [each.fingerprint for each in self.authorities])
        process.adopt()
        return process

    def configuration(self) -> Path:
        pairs = []
        for name, authority in zip(("proxy", "untrusted"), self.authorities, strict=True):
            certificate, key = self.home / f"{name}.pem", self.home / f"{name}.key"
            save_credential(authority, certificate, key)
            pairs.append(f"{name}_authority: {{certificate: {certificate}, key: {key}}}")
        (self.home / "config").mkdir()
        path = self.home / "config" / "smtpproxy.yaml"
        path.write_text(f"certificates: {{{', '.join(pairs)}}}\n")
        return path

    async def test_both_kinds_of_tls_show_what_the_process_has_signed(self) -> None:
        ports = self.start_both()
        await self.begin_signing()
        for kind, port in ports.items():
            for _ in range(2):
                leaf = await deferToThread(shown, port, kind)
                leaf.verify_directly_issued_by(self.authorities[0].certificate)
        assert self.results == Counter(signed=1)
        assert len(list((self.home / "maildir" / "new").iterdir())) == 4

    async def test_clients_that_come_at_once_wait_for_one_leaf(self) -> None:
        ports = self.start_both()
        await self.begin_signing()
        sign, held = self.sign, Deferred[None]()

        def later(order: LeafOrder) -> Deferred[bytes]:
            signed: Deferred[bytes] = Deferred()
            held.addCallback(lambda _: sign(order).chainDeferred(signed) and None)
            return signed

        self.sign = later
        clients = [deferToThread(shown, port, kind) for kind, port in ports.items() for _ in range(3)]
        while sum(isinstance(each, TlsRecord) for each in self.records) < len(clients):  # all upstream legs are on TLS
            await self.pause()
        held.callback(None)
        assert len({leaf.serial_number for leaf in await gatherResults(clients)}) == 1
        assert self.results == Counter(signed=1)

    async def pause(self) -> None:
        pause: Deferred[None] = Deferred()
        reactor.callLater(0.01, pause.callback, None)
        await pause

    async def test_without_a_leaf_the_handshake_is_refused_and_no_other_session_suffers(self) -> None:
        ports = self.start_both()
        self.sign = lambda _: fail(SigningError("unavailable", "on purpose"))
        beside = await deferToThread(begin_content, ports[PortKind.SMTP])
        alerts = [await deferToThread(_alert, port, kind) for kind, port in ports.items()]
        assert alerts == ["TLSV1_ALERT_INTERNAL_ERROR"] * 2
        failures = [each.outcome for each in self.records if isinstance(each, TlsRecord) and each.leg == "client"]
        assert failures == [TlsFailure(TlsReason.CERTIFICATE_UNAVAILABLE, "unavailable")] * 2
        ended = [each.ended for each in self.records if isinstance(each, SessionRecord)]
        assert ended == ["client-tls-certificate-unavailable"] * 2
        assert await deferToThread(_end_content, beside) == b"250"
        assert len(list((self.home / "maildir" / "new").iterdir())) == 1

    async def test_a_client_that_leaves_meanwhile_is_no_trouble(self) -> None:
        ports = self.start_both()
        orders: list[Deferred[bytes]] = []

        def never(_order: LeafOrder) -> Deferred[bytes]:
            orders.append(Deferred())
            return orders[-1]

        self.sign = never
        client = await deferToThread(_say_hello, ports[PortKind.SMTPS])
        while not orders:
            await self.pause()
        client.close()
        self.gateway.expire()
        assert self.gateway.sessions_running == 0
        orders[0].errback(SigningError("timed-out", "on purpose"))
        assert not [each for each in self.records if isinstance(each, TlsRecord) and each.leg == "client"]

    async def test_what_breaks_while_a_leaf_comes_ends_that_session_alone(self) -> None:
        ports = self.start_both()
        self.sign = lambda _: fail(KeyError("broken on purpose"))
        beside = await deferToThread(greeted, ports[PortKind.SMTP])
        with pytest.raises(ssl.SSLError):
            await deferToThread(shown, ports[PortKind.SMTPS], PortKind.SMTPS)
        assert len(self.flushLoggedErrors(KeyError)) == 1  # type: ignore[no-untyped-call]
        assert self.gateway.sessions_running == 1
        beside.close()


def _say_hello(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 20)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        blind().wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        client.sendall(outgoing.read())
    return client


def _alert(port: int, kind: PortKind) -> str | None:
    try:
        shown(port, kind)
    except ssl.SSLError as error:
        return error.reason
    return None


def _end_content(client: socket.socket) -> bytes:
    with client:
        client.sendall(b"the other half\r\n.\r\n")
        return client.recv(4096)[:3]
