"""The plan and its rules take exactly what some policy takes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.firewall.ruleset import make_table
from smtpproxy.policy.model import InterceptionMode, OnStop, Policy, PortKind, SourceAddress, TlsSupport, UpstreamHost
from smtpproxy.policy.selection import select_policy
from tests.firewall.values import plan, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.firewall.table import Table
    from smtpproxy.policy.rules import Network
    from smtpproxy.policy.selection import Address

KINDS = {25: PortKind.SMTP, 465: PortKind.SMTPS}
REDIRECTING = [InterceptionMode.TPROXY, InterceptionMode.REDIRECT]


def takes(table: Table | None, source: Address, destination: Address, port: int) -> bool:
    """Read the rules as the kernel does, up to where a packet is taken."""
    chains = {chain.name: chain for chain in table.chains} if table else {}
    sets = {f"@{each.name}": each.networks for each in table.sets} if table else {}
    rules = chains["intercept"].rules if "intercept" in chains else ()
    facts: dict[str, object] = {
        "ip saddr": source if source.version == 4 else None,
        "ip daddr": destination if source.version == 4 else None,
        "ip6 saddr": source if source.version == 6 else None,
        "ip6 daddr": destination if source.version == 6 else None,
        "meta nfproto": f"ipv{source.version}",
        "tcp dport": port,
    }
    return any(
        all(matches(facts[f"{first} {second}"], value, sets) for first, second, value in conditions(rule.text))
        for rule in rules
        if rule.text.endswith("goto take")
    )


def conditions(text: str) -> Iterator[tuple[str, str, str]]:
    words = text.removesuffix(" counter goto take").replace("{ ", "{").replace(" }", "}").replace(", ", ",").split(" ")
    return zip(words[::3], words[1::3], words[2::3], strict=True)


def matches(fact: object, value: str, sets: dict[str, tuple[Network, ...]]) -> bool:
    if value.startswith("@"):
        return any(fact in network for network in sets[value] if fact is not None)
    return str(fact) in value.strip("{}").split(",")


ADDRESSES: st.SearchStrategy[Address] = st.one_of(
    st.integers(0, 31).map(lambda low: IPv4Address(0x0A000000 + low)),
    st.integers(0, 31).map(lambda low: IPv6Address((0xFD << 120) + low)),
)
NETWORKS: st.SearchStrategy[Network] = st.one_of(
    st.tuples(st.integers(0, 31), st.integers(27, 32)).map(
        lambda made: IPv4Network((0x0A000000 + made[0], made[1]), strict=False)
    ),
    st.tuples(st.integers(0, 31), st.integers(123, 128)).map(
        lambda made: IPv6Network(((0xFD << 120) + made[0], made[1]), strict=False)
    ),
    st.sampled_from([ip_network("0.0.0.0/0"), ip_network("::/0")]),
)
SIDES = st.lists(NETWORKS, min_size=1, max_size=4).map(tuple)
POLICIES: st.SearchStrategy[Policy] = st.builds(
    lambda source, destination, support, enabled: replace(
        policy(tls_support=support, enabled=enabled), source=source, destination=destination
    ),
    SIDES,
    SIDES,
    st.sampled_from(TlsSupport),
    st.booleans(),
)


@pytest.mark.parametrize("mode", REDIRECTING)
@given(policies=st.lists(POLICIES, max_size=5), ends=st.tuples(ADDRESSES, ADDRESSES), port=st.sampled_from([25, 465]))
def test_what_the_rules_take_is_what_a_policy_takes(
    mode: InterceptionMode, policies: list[Policy], ends: tuple[Address, Address], port: int
) -> None:
    source, destination = ends
    if source.version != destination.version:  # no packet is of both
        return
    selected = select_policy(policies, source, destination, KINDS[port])
    assert takes(make_table(plan(*policies, mode=mode)), source, destination, port) == (selected is not None)


def test_a_policy_that_takes_no_465_does_not_keep_it_from_another() -> None:
    narrow = policy(source=("10.0.0.0/8",), tls_support=TlsSupport.DISABLED)
    inside, server = ip_address("10.1.2.3"), ip_address("192.0.2.1")
    assert not takes(make_table(plan(narrow)), inside, server, 465)
    assert takes(make_table(plan(narrow, policy())), inside, server, 465)


@pytest.mark.parametrize(("support", "ports"), list(zip(TlsSupport, [(25,), (25, 465), (465,)], strict=True)))
def test_tls_support_decides_about_the_ports(support: TlsSupport, ports: tuple[int, ...]) -> None:
    assert plan(policy(tls_support=support)).ports == ports


@pytest.mark.parametrize("mode", [InterceptionMode.EXPLICIT, InterceptionMode.PROXY_PROTOCOL])
def test_modes_that_need_no_redirection_want_nothing(mode: InterceptionMode) -> None:
    assert plan(policy(), mode=mode).is_empty
    assert make_table(plan(policy(), mode=mode)) is None


@pytest.mark.parametrize("mode", InterceptionMode)
def test_answers_to_clients_own_addresses_are_wanted_in_every_mode(mode: InterceptionMode) -> None:
    own = policy(source_address=SourceAddress.CLIENT, upstream=UpstreamHost("mx.test", 2525, 4650))
    wanted = plan(own, mode=mode)
    assert {2525, 4650} <= set(wanted.answering)
    assert wanted.routes_to_itself
    disabled = plan(replace(own, enabled=False), mode=mode)
    assert (disabled.answering, disabled.is_empty) == ((), True)


def test_answers_come_from_the_ports_that_were_dialled() -> None:
    own = policy(source_address=SourceAddress.CLIENT, tls_support=TlsSupport.REQUIRED)
    assert plan(own, mode=InterceptionMode.REDIRECT).answering == (465,)


def test_tproxy_brings_back_answers_to_sessions_of_policies_that_are_others_by_now() -> None:
    off = policy("Off", enabled=False, upstream=UpstreamHost("mx.test", 2525, 4650))
    assert plan(policy(tls_support=TlsSupport.DISABLED), off).answering == (25, 465, 2525, 4650)
    assert plan(off).is_empty


@pytest.mark.parametrize("on_stop", OnStop)
@pytest.mark.parametrize("mode", REDIRECTING)
def test_what_drops_is_there_exactly_if_a_stopped_gateway_blocks(mode: InterceptionMode, on_stop: OnStop) -> None:
    table = make_table(plan(policy(), mode=mode, on_stop=on_stop))
    assert table
    assert table.blocks == (on_stop is OnStop.BLOCK)


def test_a_listener_on_every_address_is_preferred() -> None:
    assert plan(listen=("192.0.2.1", "192.0.2.2", "::1", "::")).listeners == {4: "192.0.2.1", 6: None}


def test_ip_versions_that_nobody_hears() -> None:
    only4 = policy(source=("10.0.0.0/8",))
    assert plan(only4, listen=("::1",)).unheard == (4,)
    assert plan(policy(), listen=("192.0.2.1",)).unheard == (6,)
    assert plan(only4, listen=("192.0.2.1",)).unheard == ()
