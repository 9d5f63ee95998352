"""The network itself: without a proxy, the client reaches each Postfix through the gateway."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode
from tests.integration.network.topology import CLIENT, ONE, TWO, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.firewall.namespaces import Namespace
    from tests.integration.network.clients import Client
    from tests.integration.network.machines import Internet


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", MODES)
def test_each_server_sees_the_client_and_is_seen(bare: Internet, stranger: Client, mode: Mode, version: int) -> None:
    for server, addresses in ((bare.one, ONE), (bare.two, TWO)):
        queue_id = stranger.deliver(addresses[version], mode)
        assert f"{queue_id}: client=unknown[{CLIENT[version]}]" in server.log


@pytest.mark.parametrize("version", VERSIONS)
def test_it_goes_by_the_gateway_that_has_the_route(bare: Internet, stranger: Client, version: int) -> None:
    for gateway, machine in (("active", bare.network.active), ("standby", bare.network.standby)):
        bare.network.route_by(gateway)
        with _without_way(machine, version), pytest.raises(OSError, match=r"No route to host|Network is unreachable"):
            stranger.connect(ONE[version], "clear", 5)


@contextmanager
def _without_way(machine: Namespace, version: int) -> Iterator[None]:
    machine.ip(f"-{version}", "route", "add", "unreachable", ONE[version])
    try:
        yield
    finally:
        machine.ip(f"-{version}", "route", "delete", "unreachable", ONE[version])
