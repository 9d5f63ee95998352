"""``smtpproxy firewall`` beside a gateway that runs between a real client and a real server."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.lab.client import MODES, Mode
from tests.integration.lab.ports import wait_until
from tests.integration.network.clients import send
from tests.integration.network.machines import intercepting
from tests.integration.network.topology import CLIENT, CLIENT_NETWORK, ONE, OUTSIDE, VERSIONS

if TYPE_CHECKING:
    from tests.firewall.namespaces import Namespace
    from tests.integration.lab.gateway import Gateway
    from tests.integration.network.clients import Client
    from tests.integration.network.machines import Internet
    from tests.integration.network.passing import Mail

WAYS = pytest.mark.parametrize("mode", ["tproxy", "redirect"])
SOME: Final[tuple[tuple[int, Mode], ...]] = ((4, "starttls"), (6, "smtps"))


@WAYS
def test_sessions_under_way_go_on_when_it_is_applied_again(internet: Internet, client: Client, mode: str) -> None:
    gateway = internet.active.serve(intercepting(mode, "client"))
    with ExitStack() as stack:
        ends = list(product(VERSIONS, MODES))
        connections = [stack.enter_context(client.connect(ONE[version], way)) for version, way in ends]
        again = internet.active.firewall("apply")
        assert (again.returncode, again.stderr) == (0, "")
        for (version, _), connection in zip(ends, connections, strict=True):
            assert f"{send(connection)}: client=unknown[{CLIENT[version]}]" in internet.one.log
    _await_sessions(gateway, len(ends))
    assert internet.active.firewall("check").returncode == 0
    gateway.judge()


@WAYS
def test_sessions_under_way_go_on_when_no_policy_takes_their_port_any_more(
    bare: Internet, client: Client, mail: Mail, mode: str
) -> None:
    gateway = bare.active.serve(intercepting(mode, "gateway"))
    with ExitStack() as stack:
        connections = [stack.enter_context(client.connect(ONE[version], "smtps")) for version in VERSIONS]
        gateway.edit(_disable_tls_support)
        gateway.reload()
        assert bare.active.firewall("check").returncode == 65
        assert bare.active.firewall("apply").returncode == 0
        _forget_routes(bare.network.active)
        for version, connection in zip(VERSIONS, connections, strict=True):
            assert f"{send(connection)}: client=unknown[{OUTSIDE['active'][version]}]" in bare.one.log
    _await_sessions(gateway, len(VERSIONS))
    for version in VERSIONS:
        mail.goes_straight(gateway, "smtps", version)
    gateway.judge()


def test_sessions_under_way_go_on_when_clients_addresses_are_no_longer_dialled_from(
    bare: Internet, client: Client
) -> None:
    gateway = bare.active.serve(intercepting("tproxy", "client"))
    with ExitStack() as stack:
        connections = [stack.enter_context(client.connect(ONE[version], "starttls")) for version in VERSIONS]
        gateway.edit(_dial_from_the_gateway)
        gateway.reload()
        bare.active.firewall("apply")
        _forget_routes(bare.network.active)
        for version, connection in zip(VERSIONS, connections, strict=True):
            assert f"{send(connection)}: client=unknown[{CLIENT[version]}]" in bare.one.log
    _await_sessions(gateway, len(VERSIONS))
    assert bare.active.firewall("check").returncode == 0
    gateway.judge()


def _dial_from_the_gateway(content: dict[str, Any]) -> None:
    content["policies"][0]["source_address"] = "gateway"


def _await_sessions(gateway: Gateway, count: int) -> None:
    """Return when so many sessions are on record, each of which brought a message."""
    wait_until(lambda: _count(gateway, "session") == count, "they are on record")
    assert _count(gateway, "transaction") == count


def _count(gateway: Gateway, record: str) -> int:
    return sum(each["record"] == record for each in gateway.records)


def _forget_routes(machine: Namespace) -> None:
    """Have the kernel look up the way of packets anew; until something changes it keeps that with each socket."""
    for version, network in CLIENT_NETWORK.items():
        machine.ip(f"-{version}", "rule", "add", "pref", "1000", "to", network, "lookup", "main")
        machine.ip(f"-{version}", "rule", "delete", "pref", "1000")
        machine.ip(f"-{version}", "route", "flush", "cache")


def _disable_tls_support(content: dict[str, Any]) -> None:
    content["policies"][0]["tls_support"] = "disabled"


@WAYS
def test_removed_it_lets_mail_pass_and_applied_it_does_not(bare: Internet, mail: Mail, mode: str) -> None:
    box, before = bare.active, _ours(bare.network.active)
    gateway = box.serve(intercepting(mode, "gateway"))
    applied = _ours(bare.network.active)
    for version, way in SOME:
        mail.is_inspected(gateway, way, version)

    assert box.firewall("remove").returncode == 0
    assert _ours(bare.network.active) == before
    for version, way in SOME:
        mail.goes_straight(gateway, way, version)
    told = box.firewall("check")
    assert told.returncode == 65
    assert "difference: the table inet smtpproxy is missing" in told.stdout
    assert "firewall apply" in told.stderr

    assert box.firewall("apply").returncode == 0
    assert _ours(bare.network.active) == applied
    told = box.firewall("check")
    assert (told.returncode, told.stdout.partition(":")[0]) == (0, "ok")
    for version, way in SOME:
        mail.is_inspected(gateway, way, version)
    gateway.judge()


def _ours(machine: Namespace) -> tuple[str, ...]:
    """Return all rules of the firewall, without what they have counted, and all of routing."""
    families = ("-4", "-6")
    rules = [machine.ip(family, "rule", "show") for family in families]
    routes = [machine.ip(family, "route", "show", "table", "all") for family in families]
    return (machine.run("nft", "--stateless", "list", "ruleset"), *rules, *routes)
