"""Everything that a test starts, in one place that ends it again and judges how it went."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trustme

from tests.integration.lab.gateway import Gateway, Setup, Starter, Upstream
from tests.integration.lab.ports import free_ports
from tests.integration.lab.recorder import RecordingUpstream, Script
from tests.pki import Pair, Wanted, make_leaf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UPSTREAM_NAMES = ("mx.upstream.test", "*.wild.upstream.test", "127.0.0.1")


class Server(Protocol):
    """Whatever takes mail on two ports."""

    @property
    def smtp_port(self) -> int: ...

    @property
    def smtps_port(self) -> int: ...


@dataclass(frozen=True)
class Authorities:
    """Who signs what in these tests.

    Args:
        internet: real servers' certificates; the gateway trusts it.
        stranger: the same, but nobody trusts it.
        proxy: the Proxy Authority.
        untrusted: the untrusted authority.
        inside: the Proxy Server certificates.
    """

    internet: trustme.CA
    stranger: trustme.CA
    proxy: trustme.CA
    untrusted: trustme.CA
    inside: trustme.CA

    @classmethod
    def make(cls, internet: trustme.CA) -> Authorities:
        return cls(internet, *(authority(name) for name in ("Stranger", "Proxy", "Untrusted", "Inside")))


def authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=f"Test {name} Authority", key_type=trustme.KeyType.ECDSA)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Return a client's context that trusts ``authority`` alone and checks names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


class Lab:
    """Everything that tests share: one recording upstream, and a gateway for each setup, begun anew for each test."""

    def __init__(self, folder: Path, authorities: Authorities) -> None:
        self.authorities = authorities
        self._folder = folder
        self._stack = ExitStack()
        self._gateways: dict[str, Gateway] = {}
        self._used: set[Gateway] = set()
        self._count = 0
        self._recorder = RecordingUpstream(self.server_context(authorities.internet))
        self._stack.callback(self._recorder.close)
        self._down = _Ports(*free_ports(2))

    @property
    def trusting_proxy(self) -> ssl.SSLContext:
        """A context that trusts what the Proxy Authority signs and nothing else."""
        return trusting(self.authorities.proxy)

    def recorder(
        self,
        script: Script | None = None,
        *,
        issuer: trustme.CA | None = None,
        names: Sequence[str] = UPSTREAM_NAMES,
        self_signed: bool = False,
        highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> RecordingUpstream:
        """Return the upstream that keeps every octet, with nothing kept yet, TLS sessions included."""
        context = (
            self._self_signed_context()
            if self_signed
            else self.server_context(issuer or self.authorities.internet, names)
        )
        context.maximum_version = highest
        self._recorder.begin(context, script)
        return self._recorder

    def showing(self, pair: Pair, script: Script | None = None) -> RecordingUpstream:
        """Return the same upstream with this certificate and what is sent behind it."""
        self._recorder.begin(self.pair_context(pair), script)
        return self._recorder

    def gateway(self, upstream: Server | None, setup: Setup | None = None) -> Gateway:
        """Return a gateway in front of ``upstream``; ``None`` is a server that is down."""
        server, setup = upstream or self._down, setup or Setup()
        key = f"{server.smtp_port} {server.smtps_port} {setup}"
        gateway = self._gateways.get(key)
        if gateway is None:
            gateway = self._gateways[key] = self._start(server, setup)
        gateway.begin()
        self._used.add(gateway)
        return gateway

    def doomed_gateway(
        self, upstream: Server, setup: Setup | None = None, *, starter: Starter | None = None
    ) -> Gateway:
        """Start a gateway that the test itself will change or end."""
        self._count += 1
        home = self._folder / f"doomed-{self._count}"
        where = Upstream(upstream.smtp_port, upstream.smtps_port)
        return Gateway(home, setup or Setup(), where, self.authorities, starter=starter)

    def judge(self) -> None:
        """At the end of a test, assert that the gateways that it used are well."""
        used, self._used = self._used, set()
        for gateway in used:
            gateway.judge()

    def close(self) -> None:
        """End everything, the gateways first."""
        self._stack.close()

    def _start(self, server: Server, setup: Setup) -> Gateway:
        home = self._folder / f"gateway-{len(self._gateways)}"
        gateway = Gateway(home, setup, Upstream(server.smtp_port, server.smtps_port), self.authorities)
        self._stack.callback(gateway.close)
        return gateway

    @staticmethod
    def server_context(issuer: trustme.CA, names: Sequence[str] = UPSTREAM_NAMES) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(*names, key_type=trustme.KeyType.ECDSA).configure_cert(context)
        return context

    def _self_signed_context(self) -> ssl.SSLContext:
        return self.pair_context(make_leaf(None, Wanted(names=UPSTREAM_NAMES, common_name=UPSTREAM_NAMES[0])))

    def pair_context(self, pair: Pair) -> ssl.SSLContext:
        """Return a server's context that shows a certificate and what is sent behind it."""
        path = self._folder / "shown.pem"
        path.write_bytes(pair.pem + pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@dataclass(frozen=True)
class _Ports:
    """Where nobody listens."""

    smtp_port: int
    smtps_port: int
