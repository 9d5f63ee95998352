"""A gateway and the embedded upstream in the test's process, on real sockets; clients are in threads."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtpproxy.audit import Record, TransactionRecord
from smtpproxy.authority.create import create_authority, create_server_credential
from smtpproxy.authority.mint import LeafKeys, Mint, make_leaf_keys
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.counts import OwnCounts
from smtpproxy.embedded import EmbeddedUpstream
from smtpproxy.net.blocklist import Blocklist
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.gateway import Gateway
from smtpproxy.net.generation import Generation
from smtpproxy.net.listeners import Binding
from smtpproxy.net.loops import Loops
from smtpproxy.peers.directory import Directory
from smtpproxy.peers.examiner import Examiner
from smtpproxy.peers.memory import BrokenTls
from smtpproxy.peers.resolver import Resolver
from smtpproxy.policy.model import General, Policy, PortKind, TlsSupport, UpstreamHost
from smtpproxy.spool import Spools
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.trust import load_trust
from tests.session.playbook import Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trustme
    from twisted.application.service import Service

    from smtpproxy.authority.credentials import Credential
    from smtpproxy.authority.remote import RemoteMint

LOOPBACK = (ip_network("127.0.0.0/8"),)
SMTP = Binding("127.0.0.1", 0, PortKind.SMTP)
EMBEDDED = UpstreamHost("embedded")  # stands for the one that the test has started


def policy(support: TlsSupport = TlsSupport.ENABLED, *, enabled: bool = True, general: General | None = None) -> Policy:
    made = Setting(general=general or General()).terms().policy
    return replace(made, source=LOOPBACK, destination=LOOPBACK, tls_support=support, enabled=enabled)


def begin_content(port: int) -> socket.socket:
    """Return a client in the middle of a message."""
    client = socket.create_connection(("127.0.0.1", port), 10)
    with client.makefile("rb") as replies:
        replies.readline()
        for line in (b"HELO c.test", b"MAIL FROM:<a@c.test>", b"RCPT TO:<b@server.test>", b"DATA"):
            client.sendall(line + b"\r\n")
            assert replies.readline()[:1] in b"23"
    client.sendall(b"half a message\r\n")
    return client


def greeted(port: int) -> socket.socket:
    """Return a client that was greeted."""
    client = socket.create_connection(("127.0.0.1", port), 10)
    assert client.recv(4096).startswith(b"220 ")
    return client


def leave(client: socket.socket) -> None:
    """Say QUIT, and wait until the gateway has closed."""
    with client:
        client.sendall(b"QUIT\r\n")
        while client.recv(4096):
            pass


class GatewayCase(TestCase):
    """Makes gateways on a plaintext port of the kernel's choice."""

    home: Path
    pem: Path
    leaf_keys: LeafKeys

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path, internet_ca: trustme.CA) -> None:
        self.home, self.pem = tmp_path, tmp_path / "upstream.pem"
        internet_ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(self.pem))
        internet_ca.cert_pem.write_to_path(str(tmp_path / "trusted.pem"))

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.leaf_keys = make_leaf_keys()

    def setUp(self) -> None:
        self.records: list[Record] = []
        self.blocklist = Blocklist()
        self.upstream = EmbeddedUpstream("127.0.0.1", 0, 0, self.pem, self.pem, self.home / "maildir")
        self.upstream.startService()
        self.addCleanup(self.upstream.stopService)

    def start(self, general: General | None = None, upstream: UpstreamHost | None = EMBEDDED) -> int:
        """Start a gateway; return its port."""
        self.serve(self.generation(general, upstream=upstream))
        return self.gateway.addresses[SMTP][1]

    def serve(self, generation: Generation) -> None:
        """Start a gateway."""
        self.counts = OwnCounts()
        self.gateway = Gateway(reactor, generation, counts=self.counts)
        self.gateway.privilegedStartService()
        self.gateway.startService()
        self.addCleanup(self.gateway.stopService)

    def generation(
        self,
        general: General | None = None,
        name: str = "First",
        binds: Sequence[Binding] = (SMTP,),
        parts: Sequence[Service] = (),
        *,
        upstream: UpstreamHost | None = EMBEDDED,
    ) -> Generation:
        here = UpstreamHost("127.0.0.1", self.upstream.smtp_port, self.upstream.smtps_port)
        host = here if upstream is EMBEDDED else upstream
        taken = replace(policy(general=general), upstream=host, name=name)
        return Generation([taken], binds, self.equipment(), gateway_name="gw.test", drain_timeout_s=10, parts=parts)

    def equipment(self) -> Equipment:
        now = datetime.now(UTC)
        authority = create_authority("Test", now)
        examiner = Examiner(reactor)
        self.addCleanup(examiner.stopService)
        return Equipment(
            reactor=reactor,
            proxy_server=ServerCredentials([create_server_credential(["gw.test"], authority, now)]),
            mint=self.mint(authority, create_authority("Untrusted", now)),
            contexts=Contexts(8),
            trust=load_trust(self.home / "trusted.pem"),
            examiner=examiner,
            spools=Spools(self.home / "spool", 1024, 1_000_000),
            broken_tls=BrokenTls(),
            directory=Directory(reactor, Resolver(reactor, [], 1)),
            write=self.write,
            loops=Loops(),
            blocklist=self.blocklist,
        )

    def mint(self, proxy: Credential, untrusted: Credential) -> Mint | RemoteMint:
        """Return what makes the leaves."""
        return Mint(proxy, untrusted, self.leaf_keys)

    def write(self, record: Record) -> None:
        """Keep records; the one of a message that is far too big breaks, as a full store would."""
        if isinstance(record, TransactionRecord) and record.because == "message-too-big":
            raise KeyError("broken on purpose")
        self.records.append(record)
