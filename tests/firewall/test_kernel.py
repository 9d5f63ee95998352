"""Apply, check and remove, in the real kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from smtpproxy.firewall import programs
from smtpproxy.firewall.differences import State
from smtpproxy.firewall.kernel import NOTHING, Kernel
from smtpproxy.firewall.programs import FirewallError
from smtpproxy.firewall.routing import ROUTING_TABLE
from smtpproxy.firewall.table import Chain, Rule
from smtpproxy.policy.model import InterceptionMode, OnStop, SourceAddress
from tests.firewall.namespaces import Row, everything
from tests.firewall.values import plan, policy, state

MANY = tuple(f"10.{high}.{low}.0/25" for high in range(40) for low in range(250))
POLICIES = (
    policy("Out 'a' \\ ä \"b\" " + "é" * 200, source=("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "fd09::/64")),
    policy("In", destination=("198.51.100.0/25", "198.51.100.128/26", "fd51::2"), source_address=SourceAddress.CLIENT),
)
WANTED = state(plan(*POLICIES))
T = str(ROUTING_TABLE)


def differences(row: Row, wanted: State = WANTED) -> list[str]:
    with row.gateway.entered():
        return Kernel().differences(wanted)


def apply(row: Row, wanted: State = WANTED) -> None:
    with row.gateway.entered():
        Kernel().apply(wanted)


@pytest.mark.parametrize("mode", InterceptionMode)
@pytest.mark.parametrize("on_stop", OnStop)
@pytest.mark.parametrize("listen", [("0.0.0.0", "::"), ("198.51.100.1", "fd51::1")])  # noqa: S104 - not bound
def test_what_was_applied_is_what_is_wanted(
    row: Row, mode: InterceptionMode, on_stop: OnStop, listen: tuple[str, ...]
) -> None:
    wanted = state(plan(*POLICIES, mode=mode, on_stop=on_stop, listen=listen))
    assert differences(row, wanted)
    apply(row, wanted)
    assert differences(row, wanted) == []


def test_apply_twice_and_remove_leaves_nothing(row: Row) -> None:
    before = everything(row.gateway)
    apply(row)
    once = everything(row.gateway)
    assert once != before
    apply(row)
    assert everything(row.gateway) == once
    apply(row, NOTHING)
    assert everything(row.gateway) == before
    apply(row, NOTHING)
    assert everything(row.gateway) == before


def test_another_configuration_takes_its_place(row: Row) -> None:
    apply(row)
    other = state(plan(POLICIES[0], mode=InterceptionMode.REDIRECT))
    apply(row, other)
    assert differences(row, other) == []
    assert differences(row, NOTHING) == ["the table inet smtpproxy is there, and the configuration wants none"]


def test_thousands_of_networks(row: Row) -> None:
    wanted = state(plan(policy(source=MANY)))
    apply(row, wanted)
    assert differences(row, wanted) == []


def test_tables_of_others_are_left_alone(row: Row) -> None:
    row.gateway.run("nft", "add table ip smtpproxy; add table inet filter; add chain inet filter smtpproxy")
    others = everything(row.gateway)
    apply(row)
    apply(row, NOTHING)
    assert everything(row.gateway) == others
    row.gateway.run("nft", "delete table ip smtpproxy; delete table inet filter")


S = "inet smtpproxy"
MARKED = "meta mark set meta mark & 0xf3ffffff | 0x08000000"
NFT_DRIFTS = {
    "delete table inet smtpproxy": "the table inet smtpproxy is missing",
    f"add table {S} {{ flags dormant; }}": "the table has ",
    f"flush chain {S} blocked": "the chain blocked lacks the rule 'counter drop'",
    f"insert rule {S} take ip saddr 10.0.0.9 accept": "the chain take has the rule 'ip saddr 10.0.0.9 accept' besides",
    f"insert rule {S} take ct state new limit rate 1/second accept": "the chain take has the rule '{",
    f"add rule {S} divert meta mark set 1": "the chain divert has the rule '{",
    f"add rule {S} divert meta mark set meta mark & 0xf3ffffff | 0x04000000": (
        "the chain divert has the rule 'meta mark set meta mark & 0xf3ffffff | 0x04000000' besides"
    ),
    f"flush chain {S} divert; add rule {S} divert socket transparent 1 {MARKED} accept;"
    f"add rule {S} divert socket wildcard 1 return": "the chain divert has its rules in another order",
    f"add chain {S} more": "the chain more is not wanted",
    f"flush chain {S} forward; delete chain {S} forward;"
    f"add chain {S} forward {{ type filter hook forward priority 5; policy drop; }}": (
        "the chain forward has 'type filter hook forward priority 5; policy drop;' instead of 'type filter hook"
    ),
    f"add set {S} more {{ type ipv4_addr; }}": "the set more is not wanted",
    f"add map {S} more {{ type ipv4_addr : verdict; }}": "the table has the map more, which is not wanted",
    f"add set {S} more {{ type inet_service; }}": 'the table has the set more of "inet_service", which is not wanted',
    f"delete element {S} policy_1_source_4 {{ 192.0.2.7 }}": "the set policy_1_source_4 lacks 192.0.2.7/32",
    f"add element {S} policy_1_source_4 {{ 192.0.2.8-192.0.2.9 }}": (
        "the set policy_1_source_4 has 192.0.2.8/31 besides"
    ),
}
RULE = "rule: pref 465 fwmark 0x8000000/0xc000000 lookup 25465"
IP_DRIFTS = {
    "-4 rule del pref 465": f"ip -4 {RULE} is missing",
    f"-6 rule add pref 7 from fd09::/64 ipproto tcp lookup {T}": (
        "ip -6 rule: pref 7 from fd09::/64 ipproto 6 lookup 25465 is not wanted"
    ),
    f"-4 rule add pref 465 to 192.0.2.0/24 iif g0 lookup {T}": (
        "ip -4 rule: pref 465 to 192.0.2.0/24 iif g0 lookup 25465 is not wanted"
    ),
    f"-6 route flush table {T}": "ip -6 route: local default dev lo table 25465 is missing",
    f"-4 route add blackhole 192.0.2.0/24 table {T}": "ip -4 route: blackhole 192.0.2.0/24 table 25465 is not wanted",
}
DRIFTS = [
    *((["nft", command], expected) for command, expected in NFT_DRIFTS.items()),
    *((["ip", *command.split(" ")], expected) for command, expected in IP_DRIFTS.items()),
]


@pytest.mark.parametrize(("command", "expected"), DRIFTS, ids=str)
def test_each_drift_is_found_and_mended(row: Row, command: list[str], expected: str) -> None:
    apply(row)
    row.gateway.run(*command)
    assert any(each.startswith(expected) for each in differences(row)), differences(row)
    apply(row)
    assert differences(row) == []
    apply(row, NOTHING)
    assert differences(row, NOTHING) == []


@pytest.mark.parametrize("before", [NOTHING, WANTED], ids=["nothing", "another"])
def test_a_table_that_is_refused_changes_nothing(row: Row, before: State) -> None:
    apply(row, before)
    seen = everything(row.gateway)
    assert WANTED.table
    broken = replace(WANTED.table, chains=(*WANTED.table.chains, Chain("more", None, (Rule("goto nowhere"),))))
    with pytest.raises(FirewallError, match="nft -c -f -"):
        apply(row, replace(WANTED, table=broken))
    assert everything(row.gateway) == seen


@pytest.mark.parametrize("failing", range(8))
def test_whatever_fails_in_the_middle_there_is_what_was_there_before(row: Row, failing: int) -> None:
    """Each command that changes something fails in turn; once so late that all is done."""
    other = state(plan(policy(), mode=InterceptionMode.REDIRECT))
    apply(row, other)
    seen, changes = everything(row.gateway), 0

    def run(program: str, arguments: Sequence[str], text: str = "") -> str:
        nonlocal changes
        if {"add", "replace"} & set(arguments) or (program == "nft" and arguments[0] == "-f"):
            changes += 1
            if changes == failing + 1:
                raise FirewallError("no")
        return programs.run(program, arguments, text)

    with row.gateway.entered():
        try:
            Kernel(run).apply(WANTED)
        except FirewallError:
            assert everything(row.gateway) == seen
        else:
            assert (failing >= 5, Kernel().differences(WANTED)) == (True, [])


def test_without_ipv6_there_are_no_rules_for_it(row: Row) -> None:
    row.gateway.parameter("net.ipv6.conf.lo.disable_ipv6", 1)
    try:
        with row.gateway.entered():
            assert Kernel().lacks_ipv6
            Kernel().apply(WANTED)
            assert Kernel().differences(WANTED) == []
            assert {rule.version for rule in Kernel().state().routing.rules} == {4}
    finally:
        row.gateway.parameter("net.ipv6.conf.lo.disable_ipv6", 0)
