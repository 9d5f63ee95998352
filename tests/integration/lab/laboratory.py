"""Everything that a test starts, in one place that ends it again and judges how it went."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import trustme

from tests.integration.lab.gateway import Gateway, Setup, Upstream
from tests.integration.lab.ports import free_ports
from tests.integration.lab.recorder import RecordingUpstream, Script

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

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
    """Starts servers and gateways; leaving its block closes them, the gateways first."""

    def __init__(self, folder: Path, authorities: Authorities) -> None:
        self.authorities = authorities
        self._folder = folder
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def trusting_proxy(self) -> ssl.SSLContext:
        """A context that trusts what the Proxy Authority signs and nothing else."""
        return trusting(self.authorities.proxy)

    def recorder(self, script: Script | None = None, *, issuer: trustme.CA | None = None) -> RecordingUpstream:
        """Start an upstream that keeps every octet."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued = (issuer or self.authorities.internet).issue_cert(*UPSTREAM_NAMES, key_type=trustme.KeyType.ECDSA)
        issued.configure_cert(context)
        recorder = RecordingUpstream(context, script)
        self._stack.callback(recorder.close)
        return recorder

    def gateway(self, upstream: Server | None, setup: Setup | None = None) -> Gateway:
        """Start a gateway in front of ``upstream``; ``None`` is a server that is down."""
        smtp_port, smtps_port = (upstream.smtp_port, upstream.smtps_port) if upstream else free_ports(2)
        self._count += 1
        home = self._folder / f"gateway-{self._count}"
        gateway = Gateway(home, setup or Setup(), Upstream(smtp_port, smtps_port), self.authorities)
        self._stack.callback(gateway.close)
        return gateway
