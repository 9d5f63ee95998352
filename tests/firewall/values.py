"""Policies and plans for tests."""

from __future__ import annotations

from ipaddress import ip_network

from smtpproxy.firewall.differences import State
from smtpproxy.firewall.plan import Plan, make_plan
from smtpproxy.firewall.routing import make_routing
from smtpproxy.firewall.ruleset import make_table
from smtpproxy.policy.model import (
    ActionKind,
    Direction,
    InterceptionMode,
    OnStop,
    Policy,
    PortKind,
    ProxyAction,
    SourceAddress,
    StartTls,
    TlsProfile,
    TlsSupport,
    UpstreamHost,
)
from smtpproxy.policy.rules import EncryptionRule

PROFILE = TlsProfile("profile")
ACTION = ProxyAction("action", ActionKind.CLIENT, PROFILE, StartTls(PROFILE, (EncryptionRule("default"),)))
PORTS = {PortKind.SMTP: (25,), PortKind.SMTPS: (465,)}
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound
ANY = ("0.0.0.0/0", "::/0")


def policy(  # noqa: PLR0913 - a policy has many sides
    name: str = "Out",
    *,
    source: tuple[str, ...] = ANY,
    destination: tuple[str, ...] = ANY,
    tls_support: TlsSupport = TlsSupport.ENABLED,
    enabled: bool = True,
    source_address: SourceAddress = SourceAddress.GATEWAY,
    upstream: UpstreamHost | None = None,
) -> Policy:
    return Policy(
        name=name,
        direction=Direction.OUTBOUND,
        source=tuple(map(ip_network, source)),
        destination=tuple(map(ip_network, destination)),
        tls_support=tls_support,
        action=ACTION,
        upstream=upstream,
        enabled=enabled,
        source_address=source_address,
    )


def plan(
    *policies: Policy,
    mode: InterceptionMode = InterceptionMode.TPROXY,
    listen: tuple[str, ...] = EVERYWHERE,
    on_stop: OnStop = OnStop.BLOCK,
) -> Plan:
    return make_plan(policies, mode, listen, PORTS, on_stop)


def state(wanted: Plan) -> State:
    return State(make_table(wanted), make_routing(wanted))
