"""Each mode of interception: the unmodified client, the unmodified Postfix, and the record that names both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.lab.client import MODES, Mode
from tests.integration.lab.laboratory import trusting
from tests.integration.network.clients import Client
from tests.integration.network.machines import dialled, from_anywhere, haproxy, intercepting
from tests.integration.network.passing import host, transaction
from tests.integration.network.topology import CLIENT, INSIDE, ONE, OUTSIDE, TWO, VERSIONS

if TYPE_CHECKING:
    from tests.integration.lab.laboratory import Authorities
    from tests.integration.lab.postfix import Postfix
    from tests.integration.network.machines import Internet

FAMILIES = pytest.mark.parametrize("version", VERSIONS)
WAYS = pytest.mark.parametrize("way", MODES)


@FAMILIES
@WAYS
@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
@pytest.mark.parametrize("source", ["client", "gateway"])
def test_client_and_server_know_nothing_of_it(
    internet: Internet, client: Client, mode: str, source: str, way: Mode, version: int
) -> None:
    gateway = internet.active.serve(intercepting(mode, source))
    seen = {"client": CLIENT, "gateway": OUTSIDE["active"]}[source][version]
    for server, addresses in ((internet.one, ONE), (internet.two, TWO)):
        gateway.begin()
        queue_id = client.deliver(addresses[version], way)
        assert f"{queue_id}: client=unknown[{seen}]" in server.log
        record = transaction(gateway)
        assert host(record["client"]) == CLIENT[version]
        assert host(record["destination"]) == host(record["upstream"]) == addresses[version]
        assert (record["client_tls"] is None) is (way == "clear")
        assert record["upstream_tls"]["version"] == "TLSv1.3"
    gateway.judge()


@FAMILIES
@WAYS
def test_explicit(internet: Internet, client: Client, way: Mode, version: int) -> None:
    gateway = internet.active.serve(dialled("explicit"))
    client.context.check_hostname = False  # the gateway is dialled, and the certificate is the server's
    queue_id = client.deliver(INSIDE["active"][version], way)
    assert f"{queue_id}: client=unknown[{OUTSIDE['active'][version]}]" in internet.one.log
    record = transaction(gateway)
    assert host(record["client"]) == CLIENT[version]
    assert host(record["destination"]) == INSIDE["active"][version]
    assert host(record["upstream"]) == ONE[version]
    gateway.judge()


@FAMILIES
@WAYS
def test_behind_haproxy_that_says_who_dials(internet: Internet, client: Client, way: Mode, version: int) -> None:
    balancer = OUTSIDE["active"]
    gateway = internet.standby.serve(dialled("proxy_protocol", trusted_balancers=list(balancer.values())))
    client.context.check_hostname = False
    internet.active.clear()
    with haproxy(internet.network.active, OUTSIDE["standby"][version]):
        queue_id = client.deliver(INSIDE["active"][version], way)
    assert f"{queue_id}: client=unknown[{OUTSIDE['standby'][version]}]" in internet.one.log
    record = transaction(gateway)
    assert host(record["client"]) == CLIENT[version]
    assert host(record["destination"]) == INSIDE["active"][version]
    assert host(record["balancer"]) == balancer[version]
    gateway.judge()


@FAMILIES
@WAYS
@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
def test_inbound_mail_is_shown_the_proxy_server_certificate(
    internet: Internet, inside: Postfix, authorities: Authorities, mode: str, way: Mode, version: int
) -> None:
    setup = intercepting(mode, "client", direction="inbound", server_names=("mail.inside.test",))
    gateway = internet.active.serve(from_anywhere(setup))
    context = trusting(authorities.inside)
    context.check_hostname = False  # the certificate is a name's, and an address is dialled
    sender = Client(internet.network.one, context)
    queue_id = sender.deliver(CLIENT[version], way)
    assert f"{queue_id}: client=unknown[{ONE[version]}]" in inside.log
    record = transaction(gateway)
    assert host(record["client"]) == ONE[version]
    assert host(record["destination"]) == CLIENT[version]
    gateway.judge()
