"""Mail that would go round in circles: the gateway is dialled itself, or meets its own connection again."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from smtpproxy.transport.transparent import TPROXY_MARK
from tests.integration.lab.ports import wait_until
from tests.integration.network.machines import intercepting
from tests.integration.network.passing import host
from tests.integration.network.topology import CLIENT, INSIDE, ONE, OUTSIDE, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.firewall.namespaces import Namespace
    from tests.integration.lab.gateway import Gateway
    from tests.integration.network.clients import Client
    from tests.integration.network.machines import Box, Internet

FAMILIES = pytest.mark.parametrize("version", VERSIONS)
MODES = pytest.mark.parametrize("mode", ["tproxy", "redirect"])
REPLY: Final = b"421 4.4.6 Routing loop detected, closing connection\r\n"
LED_BACK: Final = {
    "tproxy": f"type route hook output priority mangle; tcp dport {{ 25, 465 }} meta mark set {TPROXY_MARK}",
    "redirect": "type nat hook output priority -100; tcp dport { 25, 465 } redirect",
}
"""What somebody may do to have this machine's own mail inspected as well, who does not know of the gateway's mark."""


@FAMILIES
@MODES
def test_a_client_that_dials_the_gateway_itself(bare: Internet, client: Client, mode: str, version: int) -> None:
    gateway = bare.active.serve(replace(intercepting(mode, "gateway"), metrics=True))
    own = [INSIDE["active"][version], OUTSIDE["active"][version]]
    for each in own * 2:
        assert _said(client, each) == REPLY
        with pytest.raises(ConnectionError):
            _shake_hands(client, each)
    assert _alarms(gateway) == [(here, port) for here in own for port in (25, 465)]
    assert _refused(bare.active, gateway) == 8
    assert [each["record"] for each in gateway.records] == ["incident"] * 4
    gateway.judge()


@FAMILIES
@MODES
def test_its_own_connection_that_comes_back_to_it(bare: Internet, client: Client, mode: str, version: int) -> None:
    """On port 465 it broke off before there was a certificate, so the client is shown one that it must not trust."""
    gateway = bare.active.serve(replace(intercepting(mode, "gateway"), source=("any",), metrics=True))
    with _led_back(bare.network.active, LED_BACK[mode]):
        for _ in range(2):
            assert _said(client, ONE[version]) == REPLY
            with pytest.raises(ssl.SSLCertVerificationError):
                _shake_hands(client, ONE[version])
    wait_until(lambda: len(_sessions(gateway)) == 4, "the sessions are on record")
    assert {host(each["client"]) for each in _sessions(gateway)} == {CLIENT[version]}
    assert _alarms(gateway) == [(ONE[version], 25), (ONE[version], 465)]
    assert _refused(bare.active, gateway) == 4
    gateway.judge()


@pytest.mark.parametrize(("mode", "version"), [("tproxy", 4), ("redirect", 6)])
def test_a_connection_that_comes_back_to_another_worker(
    bare: Internet, client: Client, mode: str, version: int
) -> None:
    """Whichever worker has it: none of them dials once more, so that there is one session for each client."""
    setup = replace(intercepting(mode, "gateway"), source=("any",), metrics=True, workers=3)
    gateway = bare.active.serve(setup)
    with _led_back(bare.network.active, LED_BACK[mode]):
        said = [_said(client, ONE[version]) for _ in range(12)]
    assert set(said) == {REPLY}
    wait_until(lambda: len(_sessions(gateway)) >= 12, "the sessions are on record")
    assert {host(each["client"]) for each in _sessions(gateway)} == {CLIENT[version]}
    wait_until(lambda: _refused(bare.active, gateway) == 12, "the workers have told their figures")
    assert len(_sessions(gateway)) == 12
    assert set(_alarms(gateway)) == {(ONE[version], 25)}
    assert len(_alarms(gateway)) <= setup.workers
    gateway.judge()


def _said(client: Client, server: str) -> bytes:
    """Return all that somebody says on port 25 who then closes."""
    with client.machine.dial(server, 25) as connection, connection.makefile("rb") as replies:
        return replies.read()


def _shake_hands(client: Client, server: str) -> None:
    with client.machine.dial(server, 465) as connection:
        client.context.wrap_socket(connection, server_hostname=server).close()


def _alarms(gateway: Gateway) -> list[tuple[str, int]]:
    """Return what was dialled when an alarm was raised."""
    told = [each for each in gateway.records if each["record"] == "incident"]
    assert {(each["incident"], each["leg"]) for each in told} == {("loop", "client")}
    assert gateway.log.count("warning: loop on the client leg") == len(told)
    return [(host(each["destination"]), int(each["destination"].rpartition(":")[2])) for each in told]


def _sessions(gateway: Gateway) -> list[dict[str, Any]]:
    return [each for each in gateway.records if each["record"] == "session"]


def _refused(box: Box, gateway: Gateway) -> float:
    with box.machine.entered():
        return gateway.metrics["smtpproxy_connections_refused_total", "loop"]


@contextmanager
def _led_back(machine: Namespace, chain: str) -> Iterator[None]:
    machine.run("nft", f"table inet mistake {{ chain own {{ {chain}\n}}\n}}")
    try:
        yield
    finally:
        machine.run("nft", "delete table inet mistake")
