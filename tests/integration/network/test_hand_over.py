"""Two gateways, and a route that is moved from one to the other while mail is under way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.network.load import under_load
from tests.integration.network.machines import intercepting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Authorities
    from tests.integration.network.clients import Client
    from tests.integration.network.load import Load
    from tests.integration.network.machines import Internet

WAYS = pytest.mark.parametrize(("mode", "source_address"), [("tproxy", "client"), ("redirect", "gateway")])


@pytest.fixture
def trusted(authorities: Authorities) -> bytes:
    """Whom clients trust who know of the gateways."""
    return authorities.proxy.cert_pem.bytes()


@WAYS
def test_the_route_moves_and_the_active_one_crashes(
    bare: Internet, client: Client, trusted: bytes, mode: str, source_address: str
) -> None:
    """What broke off is sent again; what broke off behind its final dot may arrive twice, and nothing else."""
    setup = intercepting(mode, source_address, drain_timeout="0s")
    active, standby = bare.active.serve(setup), bare.standby.serve(setup)
    with under_load(bare.one, client, trusted, patience_s=3) as load, _route_restored(bare):
        load.go_on()
        for name in ("standby", "active"):
            bare.network.route_by(name)
            load.go_on()
        active.kill()
        bare.network.route_by("standby")
        load.go_on()
        load.end()
        assert min(load.failures) > 0
        _judge(load, active, standby)
        assert _doubled(load) <= load.doubtful
    standby.judge()


@WAYS
def test_drained_before_the_route_moves(
    bare: Internet, client: Client, trusted: bytes, mode: str, source_address: str
) -> None:
    """Sessions end by themselves, and who dials meanwhile is served by the other one: no message breaks off at all."""
    setup = intercepting(mode, source_address)
    gateways = {"active": bare.active.serve(setup), "standby": bare.standby.serve(setup)}
    with under_load(bare.one, client, trusted, patience_s=30) as load, _route_restored(bare):
        load.go_on()
        for name, other in (("active", "standby"), ("standby", "active")):
            assert gateways[name].tell("drain", "--wait").returncode == 0
            bare.network.route_by(other)
            assert gateways[name].tell("drain", "--cancel").returncode == 0
            load.go_on()
        load.end()
        _judge(load, *gateways.values())
        assert (load.doubtful, _doubled(load)) == (set(), set())
    for each in gateways.values():
        each.judge()


@contextmanager
def _route_restored(internet: Internet) -> Iterator[None]:
    try:
        yield
    finally:
        internet.network.route_by("active")


def _judge(load: Load, *gateways: Gateway) -> None:
    """Assert that nothing was lost, and that each gateway has had a part in it."""
    print(load.small.failures)  # noqa: T201 - shown beside a test that fails
    assert load.sent - load.arrived.keys() == set()
    for each in gateways:
        assert any(record["record"] == "transaction" for record in each.records)


def _doubled(load: Load) -> set[str]:
    return {name for name, count in load.arrived.items() if count > 1}
