"""Which policy takes which traffic."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from smtpproxy.policy.model import (
    ActionKind,
    Direction,
    Policy,
    PortKind,
    ProxyAction,
    StartTls,
    TlsProfile,
    TlsSupport,
    UpstreamHost,
)
from smtpproxy.policy.rules import EncryptionRule
from smtpproxy.policy.selection import Obstacle, Traffic, plain_address, select_policy, trace_selection

PROFILE = TlsProfile("profile")
ACTION = ProxyAction("action", ActionKind.CLIENT, PROFILE, StartTls(PROFILE, (EncryptionRule("default"),)))
ANY4, ANY6 = ip_network("0.0.0.0/0"), ip_network("::/0")


def policy(name: str, source: str = "0.0.0.0/0", destination: str = "0.0.0.0/0") -> Policy:
    return Policy(
        name=name,
        direction=Direction.OUTBOUND,
        source=(ip_network(source),),
        destination=(ip_network(destination),),
        tls_support=TlsSupport.ENABLED,
        action=ACTION,
        upstream=UpstreamHost("mx.test"),
    )


def selected(policies: list[Policy], source: str, destination: str, kind: PortKind = PortKind.SMTP) -> str | None:
    found = select_policy(policies, plain_address(source), plain_address(destination), kind)
    return found.name if found else None


def test_the_first_match_wins() -> None:
    policies = [policy("inside", "10.0.0.0/8"), policy("everyone")]
    assert selected(policies, "10.1.2.3", "192.0.2.1") == "inside"
    assert selected(policies, "192.0.2.9", "192.0.2.1") == "everyone"
    assert selected(policies[::-1], "10.1.2.3", "192.0.2.1") == "everyone"


def test_source_and_destination_must_both_match() -> None:
    policies = [policy("one way", "10.0.0.0/8", "192.0.2.0/24")]
    assert selected(policies, "10.1.2.3", "192.0.2.1") == "one way"
    assert selected(policies, "10.1.2.3", "198.51.100.1") is None
    assert selected(policies, "192.0.2.1", "10.1.2.3") is None


@pytest.mark.parametrize(
    ("support", "kinds"),
    [
        (TlsSupport.DISABLED, {PortKind.SMTP}),
        (TlsSupport.ENABLED, {PortKind.SMTP, PortKind.SMTPS}),
        (TlsSupport.REQUIRED, {PortKind.SMTPS}),
    ],
)
def test_tls_support_says_which_ports(support: TlsSupport, kinds: set[PortKind]) -> None:
    policies = [replace(policy("it"), tls_support=support)]
    assert {kind for kind in PortKind if selected(policies, "10.1.2.3", "192.0.2.1", kind)} == kinds


def test_a_policy_that_does_not_take_the_port_is_passed_over() -> None:
    policies = [replace(policy("clear"), tls_support=TlsSupport.DISABLED), policy("both")]
    assert selected(policies, "10.1.2.3", "192.0.2.1", PortKind.SMTPS) == "both"


def test_a_disabled_policy_takes_nothing() -> None:
    assert selected([replace(policy("off"), enabled=False)], "10.1.2.3", "192.0.2.1") is None


def test_an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client() -> None:
    assert selected([policy("inside", "10.0.0.0/8")], "::ffff:10.1.2.3", "::ffff:192.0.2.1") == "inside"
    assert selected([policy("six", "::/0", "::/0")], "::ffff:10.1.2.3", "::ffff:192.0.2.1") is None


def test_the_families_do_not_mix() -> None:
    both = replace(policy("both"), source=(ANY4, ANY6), destination=(ANY4, ANY6))
    assert selected([policy("four")], "2001:db8::1", "2001:db8::2") is None
    assert selected([both], "2001:db8::1", "2001:db8::2") == "both"


def test_a_zone_is_no_part_of_the_address() -> None:
    assert plain_address("fe80::1%eth0") == ip_address("fe80::1")


def test_no_policy_takes_nothing() -> None:
    assert selected([], "10.1.2.3", "192.0.2.1") is None


def trace(policies: list[Policy], traffic: Traffic) -> list[tuple[str, Obstacle | None]]:
    return [(tried.policy.name, tried.obstacle) for tried in trace_selection(policies, traffic)]


def test_why_each_policy_before_the_one_is_not_it() -> None:
    policies = [
        replace(policy("off"), enabled=False),
        replace(policy("only 465"), tls_support=TlsSupport.REQUIRED),
        policy("other source", source="10.0.0.0/8"),
        policy("other destination", destination="10.0.0.0/8"),
        policy("it"),
        policy("never looked at"),
    ]
    traffic = Traffic(PortKind.SMTP, ip_address("192.0.2.1"), ip_address("198.51.100.1"))
    assert trace(policies, traffic) == [
        ("off", Obstacle.DISABLED),
        ("only 465", Obstacle.PORT),
        ("other source", Obstacle.SOURCE),
        ("other destination", Obstacle.DESTINATION),
        ("it", None),
    ]


def test_no_policy_leaves_a_trace_without_an_end() -> None:
    policies = [policy("inside", "10.0.0.0/8")]
    assert trace(policies, Traffic(PortKind.SMTP, ip_address("192.0.2.1"))) == [("inside", Obstacle.SOURCE)]


def test_what_is_not_said_hinders_no_policy() -> None:
    policies = [policy("inside", "10.0.0.0/8", "10.0.0.0/8")]
    assert trace(policies, Traffic(PortKind.SMTP)) == [("inside", None)]
