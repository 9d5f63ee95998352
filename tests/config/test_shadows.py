from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from smtpproxy.config.shadows import shadows
from smtpproxy.policy.model import (
    ActionKind,
    Direction,
    Policy,
    ProxyAction,
    StartTls,
    TlsProfile,
    TlsSupport,
    UpstreamHost,
)
from smtpproxy.policy.rules import EncryptionRule

PROFILE = TlsProfile("P")
ACTION = ProxyAction("A", ActionKind.CLIENT, PROFILE, StartTls(PROFILE, (EncryptionRule("default"),)))
ANY = ("0.0.0.0/0", "::/0")


def policy(name: str, *source: str, destination: tuple[str, ...] = ANY, tls: str = "enabled") -> Policy:
    return Policy(
        name=name,
        direction=Direction.OUTBOUND,
        source=tuple(ip_network(text) for text in source),
        destination=tuple(ip_network(text) for text in destination),
        tls_support=TlsSupport(tls),
        action=ACTION,
        upstream=UpstreamHost("mx.example.net"),
    )


def names(late: Policy, *earlier: Policy) -> list[str]:
    return [each.name for each in shadows(late, earlier)]


def test_a_network_within_another_is_taken_by_it() -> None:
    assert names(policy("B", "10.1.0.0/16"), policy("A", "10.0.0.0/8")) == ["A"]
    assert names(policy("B", "10.0.0.0/8"), policy("A", "10.1.0.0/16")) == []


def test_every_network_must_be_taken() -> None:
    assert names(policy("B", "10.1.0.0/16", "192.0.2.0/24"), policy("A", "10.0.0.0/8")) == []
    assert names(policy("B", "10.1.0.0/16", "192.0.2.0/24"), policy("A", "192.0.2.0/24", "10.0.0.0/8")) == ["A"]


def test_adjacent_networks_add_up() -> None:
    assert names(policy("B", "10.0.0.0/8"), policy("A", "10.0.0.0/9", "10.128.0.0/9")) == ["A"]


def test_families_do_not_mix() -> None:
    assert names(policy("B", *ANY), policy("A", "0.0.0.0/0")) == []
    assert names(policy("B", "::1/128"), policy("A", *ANY)) == ["A"]


def test_destination_counts_too() -> None:
    late = policy("B", "10.1.0.0/16", destination=("192.0.2.1/32",))
    assert names(late, policy("A", "10.0.0.0/8", destination=("192.0.2.0/24",))) == ["A"]
    assert names(late, policy("A", "10.0.0.0/8", destination=("198.51.100.0/24",))) == []


def test_each_kind_of_port_must_be_taken() -> None:
    late = policy("C", "10.0.0.0/8")
    smtp, smtps = policy("A", *ANY, tls="disabled"), policy("B", *ANY, tls="required")
    assert names(late, smtp) == []
    assert names(late, smtps) == []
    assert names(late, smtp, smtps) == ["A", "B"]
    assert names(replace(late, tls_support=TlsSupport.REQUIRED), smtp, smtps) == ["B"]


def test_a_disabled_policy_takes_nothing() -> None:
    assert names(policy("B", "10.0.0.0/8"), replace(policy("A", *ANY), enabled=False)) == []


def test_the_first_that_takes_all_is_named_once() -> None:
    assert names(policy("C", "10.0.0.0/8"), policy("A", *ANY), policy("B", *ANY)) == ["A"]
