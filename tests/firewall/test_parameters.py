"""Kernel parameters that break the gateway's connections are told of, and others are not: both are tried."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

from smtpproxy.firewall.kernel import NOTHING, Kernel
from smtpproxy.firewall.parameters import findings
from smtpproxy.policy.model import InterceptionMode, OnStop
from tests.firewall import namespaces
from tests.firewall.connections import SOON_S, WAYS, talk_to_a_client, works
from tests.firewall.namespaces import CLIENT, OUTSIDE, SERVER, Row
from tests.firewall.values import plan, policy, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.firewall.parameters import Finding
    from smtpproxy.firewall.plan import Plan

NONE: Final[set[str]] = set()
ALL: Final = "net.ipv4.conf.all"
CLIENTS: Final = "net.ipv4.conf.g0"
SERVERS: Final = "net.ipv4.conf.g1"
LOOPBACK: Final = "net.ipv4.conf.lo"

# What breaks, and for which ways there is a fault: who comes in at which interface is not known.
FAULTS: Final = [
    ({}, NONE, NONE),
    ({f"{ALL}.src_valid_mark": 1}, {"tproxy", "answers"}, {"tproxy", "answers"}),
    ({f"{CLIENTS}.src_valid_mark": 1}, {"tproxy"}, {"tproxy", "answers"}),
    ({f"{SERVERS}.src_valid_mark": 1}, {"answers"}, {"tproxy", "answers"}),
    ({f"{LOOPBACK}.src_valid_mark": 1}, NONE, NONE),
    ({f"{ALL}.src_valid_mark": 1, f"{ALL}.accept_local": 1}, NONE, NONE),
    ({f"{ALL}.src_valid_mark": 1, f"{ALL}.accept_local": 1, f"{ALL}.rp_filter": 2}, NONE, NONE),
    (
        {f"{ALL}.src_valid_mark": 1, f"{ALL}.accept_local": 1, f"{ALL}.rp_filter": 1},
        {"tproxy", "answers"},
        {"tproxy", "answers"},
    ),
    ({f"{ALL}.rp_filter": 1}, NONE, NONE),
    ({f"{ALL}.rp_filter": 2}, NONE, NONE),
    ({"net.ipv4.tcp_fwmark_accept": 1}, {"tproxy"}, {"tproxy"}),
    ({"net.ipv4.fwmark_reflect": 1, "net.ipv6.fwmark_reflect": 1}, NONE, NONE),
]

# Checking by the way back: of interfaces where packets come in that go back by another.
STRICT: Final = [
    ({}, "", False),
    ({f"{ALL}.rp_filter": 1}, "g0, g1, g2, g3", True),
    ({f"{ALL}.rp_filter": 2}, "", False),
    ({"net.ipv4.conf.g2.rp_filter": 1, "net.ipv4.conf.g3.rp_filter": 1}, "g2, g3", True),
    ({f"{ALL}.rp_filter": 2, "net.ipv4.conf.g2.rp_filter": 1, "net.ipv4.conf.g3.rp_filter": 1}, "", False),
    ({f"{ALL}.rp_filter": 1, "net.ipv4.conf.g2.rp_filter": 2, "net.ipv4.conf.g3.rp_filter": 2}, "g0, g1", False),
    ({f"{CLIENTS}.rp_filter": 1, f"{SERVERS}.rp_filter": 1}, "g0, g1", False),
    ({f"{LOOPBACK}.rp_filter": 1}, "", False),
]


@pytest.fixture(scope="module")
def machines() -> Iterator[Row]:
    """Machines of this module's own, as the parameters of others are to stay as they are."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    made = namespaces.make()
    yield made
    namespaces.remove(made)


@pytest.fixture(scope="module")
def crossed() -> Iterator[Row]:
    """Machines of which the client and the server send by another interface than the gateway sends to them."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    made = namespaces.make()
    try:
        _send_by_another(made, made.client, "g2", "10.10.0", CLIENT[4])
        _send_by_another(made, made.server, "g3", "10.11.0", SERVER[4])
        yield made
    finally:
        namespaces.remove(made)


def _send_by_another(row: Row, end: namespaces.Namespace, device: str, network: str, source: str) -> None:
    end.ip("link", "add", "second", "type", "veth", "peer", "name", device, "netns", row.gateway.name)
    for where, name, host in ((end, "second", 2), (row.gateway, device, 1)):
        where.ip("addr", "add", f"{network}.{host}/24", "dev", name)
        where.ip("link", "set", name, "up")
    end.ip("route", "replace", "default", "via", f"{network}.1", "src", source)


def told(row: Row, wanted: Plan) -> list[Finding]:
    with row.gateway.entered():
        Kernel().apply(NOTHING)
        Kernel().apply(state(wanted))
        return findings(wanted)


def put(stack: ExitStack, row: Row, parameters: dict[str, int]) -> None:
    """Give parameters of the gateway other values for a while."""
    for name, value in parameters.items():
        path = f"/proc/sys/{name.replace('.', '/')}"
        before = int(row.gateway.run("cat", path))
        stack.callback(row.gateway.parameter, name, before)
        row.gateway.parameter(name, value)


@pytest.mark.parametrize(("parameters", "broken", "faulty"), FAULTS)
def test_what_breaks_is_a_fault(machines: Row, parameters: dict[str, int], broken: set[str], faulty: set[str]) -> None:
    with ExitStack() as stack:
        put(stack, machines, {f"{ALL}.rp_filter": 0, **parameters})
        faults, drops = set(), set()
        for way, wanted in WAYS.items():
            if any(each.is_fault for each in told(machines, wanted)):
                faults.add(way)
            if not works(machines, way):
                drops.add(way)
        assert (drops, faults) == (broken, faulty)


def test_ipv6_breaks_by_accepted_marks_alone(machines: Row) -> None:
    parameters = {f"{ALL}.src_valid_mark": 1, f"{ALL}.rp_filter": 1}
    with ExitStack() as stack:
        put(stack, machines, parameters)
        for way, wanted in WAYS.items():
            told(machines, wanted)
            assert works(machines, way, 6)
        put(stack, machines, {"net.ipv4.tcp_fwmark_accept": 1})
        told(machines, WAYS["tproxy"])
        assert not works(machines, "tproxy", 6)


def test_nothing_is_told_of_what_ipv6_does_not_care_for(machines: Row) -> None:
    with ExitStack() as stack:
        put(stack, machines, {f"{ALL}.src_valid_mark": 1, f"{ALL}.rp_filter": 1})
        assert told(machines, plan(policy(source=("fd09::/64",)))) == []


@pytest.mark.parametrize(("parameters", "named", "breaks"), STRICT)
@pytest.mark.parametrize("way", WAYS)
def test_a_strict_check_of_the_way_back_is_told(
    crossed: Row, way: str, parameters: dict[str, int], named: str, *, breaks: bool
) -> None:
    with ExitStack() as stack:
        put(stack, crossed, {f"{ALL}.rp_filter": 0, **parameters})
        notices = [(each.text.partition(": ")[0], each.is_fault) for each in told(crossed, WAYS[way])]
        assert notices == ([(f"net.ipv4.conf.*.rp_filter is 1 for {named}", False)] if named else [])
        assert works(crossed, way) is not breaks


@pytest.mark.parametrize(
    ("version", "host", "parameters", "reaches"),
    [
        (4, "127.0.0.1", {}, False),
        (4, "127.0.0.1", {f"{LOOPBACK}.route_localnet": 1}, False),
        (4, "127.0.0.1", {f"{CLIENTS}.route_localnet": 1}, True),
        (4, "127.0.0.1", {f"{ALL}.route_localnet": 1}, True),
        (4, OUTSIDE[4], {}, True),
        (6, "::1", {}, False),
        (6, OUTSIDE[6], {}, True),
    ],
)
def test_a_listener_that_nothing_can_be_redirected_to_is_a_fault(
    machines: Row, version: int, host: str, parameters: dict[str, int], *, reaches: bool
) -> None:
    wanted = plan(policy(), mode=InterceptionMode.REDIRECT, listen=(host,), on_stop=OnStop.PASS)
    with ExitStack() as stack:
        put(stack, machines, parameters)
        faults = [each.text for each in told(machines, wanted) if each.is_fault]
        assert (faults == []) is reaches
        try:
            talk_to_a_client(machines, "redirect", version, host)
        except OSError:
            assert not reaches
        else:
            assert reaches


@pytest.mark.parametrize(("version", "name"), [(4, "net.ipv4.ip_forward"), (6, "net.ipv6.conf.all.forwarding")])
def test_without_forwarding_what_is_taken_arrives_and_the_rest_does_not(machines: Row, version: int, name: str) -> None:
    with ExitStack() as stack:
        put(stack, machines, {name: 0})
        (notice,) = told(machines, WAYS["tproxy"])
        assert notice.text.startswith(f"{name} is 0: ")
        assert not notice.is_fault
        assert works(machines, "tproxy", version)
        with machines.server.listen(version, 26), pytest.raises(TimeoutError):
            machines.client.dial(SERVER[version], 26, SOON_S)


def test_many_interfaces_are_not_all_named(machines: Row) -> None:
    with ExitStack() as stack:
        for number in range(9):
            machines.gateway.ip("link", "add", f"b{number}", "type", "bridge")
            stack.callback(machines.gateway.ip, "link", "delete", f"b{number}")
        put(stack, machines, {f"{ALL}.rp_filter": 1})
        (notice,) = told(machines, WAYS["tproxy"])
        assert "is 1 for b0, b1, b2, b3, b4 and 6 more: " in notice.text
