"""A whole configuration as frozen values: what a gateway is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smtpproxy.authority.credentials import Authority, Credential
    from smtpproxy.endpoint import Endpoint
    from smtpproxy.policy.entries import Entries
    from smtpproxy.policy.model import InterceptionMode, OnStop, Policy, PortKind
    from smtpproxy.policy.rules import Network
    from smtpproxy.transport.profile_files import ProfileFiles
    from smtpproxy.transport.trust import TrustStore


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway itself.

    Args:
        name: its host name, for certificates that nothing else names.
        workers: how many processes handle mail, ``None`` for one a core.
        drain_timeout_s: how long messages under way may take to end when it is stopped.
    """

    name: str
    workers: int | None
    drain_timeout_s: int


@dataclass(frozen=True, slots=True)
class Interception:
    """How connections come to the gateway.

    Args:
        listen: the IP addresses that ports are bound on.
        ports: the ports of each kind.
        mode: how the gateway learns what a client dialled.
        trusted_balancers: whose word about it is taken.
        on_stop: what becomes of the traffic of a stopped gateway.
    """

    listen: tuple[str, ...]
    ports: Mapping[PortKind, tuple[int, ...]]
    mode: InterceptionMode
    trusted_balancers: tuple[Network, ...]
    on_stop: OnStop


@dataclass(frozen=True, slots=True)
class Certificates:
    """Certificates with their keys, loaded and checked; the authorities' keys may be in another process.

    Args:
        proxy_server: the Proxy Server certificates; the first is the default.
        proxy_authority: signs leaves for upstreams whose certificate is valid.
        untrusted_authority: signs leaves for all others.
        trusted: whom upstream's certificates are verified against.
    """

    proxy_server: tuple[Credential, ...]
    proxy_authority: Credential | Authority
    untrusted_authority: Credential | Authority
    trusted: TrustStore


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """The embedded server: where it listens, its certificate, and where mail goes."""

    host: str
    smtp: int
    smtps: int
    certificate: Path
    key: Path
    maildir: Path


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where messages that must be judged as a whole are held, and how much of them: each in memory, all on disk."""

    directory: Path
    memory_octets: int
    limit_octets: int


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """Whom to ask of names, each with whether its word on DNSSEC is taken, and how long a question may take."""

    servers: tuple[tuple[Endpoint, bool], ...]
    timeout_s: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration without mistakes.

    Args:
        file: the main file, absolute.
        home: the folder that relative paths start at, absolute.
        gateway: the gateway itself.
        interception: where connections arrive.
        policies: in their order; disabled ones too.
        certificates: what clients are shown, and what upstreams are checked with.
        profiles: what goes with each TLS profile that names files of its own, by the profile's name.
        embedded: the embedded server, ``None`` for none.
        metrics: where Prometheus may ask, ``None`` for nowhere.
        control: the socket on which administrators ask the running gateway, ``None`` for none.
        records: the file that JSON records are appended to, ``None`` for none.
        spool: where messages are held while they are judged.
        resolver: whom recipient domains are looked up with.
        private_policy_hosts: whether MTA-STS policies may come from addresses that are not of the Internet.
        tlsrpt: the socket that takes TLS reports, ``None`` for none.
        lists: each list by its name.
        notices: what an administrator should hear, each ``file:line:column: key: message``.
    """

    file: Path
    home: Path
    gateway: Gateway
    interception: Interception
    policies: tuple[Policy, ...]
    certificates: Certificates
    profiles: Mapping[str, ProfileFiles]
    embedded: EmbeddedServer | None
    metrics: Endpoint | None
    control: Path | None
    records: Path | None
    spool: SpoolSettings
    resolver: ResolverSettings
    private_policy_hosts: bool
    tlsrpt: Path | None
    lists: Mapping[str, Entries]
    notices: tuple[str, ...]

    @property
    def max_sessions(self) -> list[int]:
        """The limit of each proxy action that an enabled policy has."""
        actions = {policy.action.name: policy.action for policy in self.policies if policy.enabled}
        return [action.general.max_sessions for action in actions.values()]
