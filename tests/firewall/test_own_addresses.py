"""What this machine's own addresses mean for policies."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from smtpproxy.firewall.kernel import Kernel
from smtpproxy.firewall.own_addresses import own_findings
from smtpproxy.policy.model import Direction, Policy, SourceAddress, UpstreamHost
from tests.firewall.namespaces import INSIDE, OUTSIDE, Row
from tests.firewall.values import ANY, policy

OWN = (ip_address("192.0.2.1"), ip_address("fd51::1"))
HOST = UpstreamHost("mx.example.net")


def inbound(*destination: str, upstream: UpstreamHost | None = None, enabled: bool = True) -> Policy:
    made = policy("In", destination=destination, upstream=upstream, enabled=enabled)
    return replace(made, direction=Direction.INBOUND)


def found(made: Policy) -> list[tuple[str, bool]]:
    return [(finding.text, finding.is_fault) for finding in own_findings([made], OWN)]


@pytest.mark.parametrize("host", ["192.0.2.1", "fd51::1"])
def test_a_destination_that_is_this_machine_is_a_fault(host: str) -> None:
    text = f"policy 'In': {host} is this machine, where no server is behind; name the server as its upstream"
    assert found(inbound("192.0.2.9", host)) == [(text, True)]
    assert found(inbound(host, upstream=HOST)) == found(inbound(host, enabled=False)) == []


def test_a_network_that_this_machine_is_in_is_told() -> None:
    assert found(inbound("192.0.2.0/24")) == [
        ("policy 'In': who dials 192.0.2.1, this machine itself, is told 421", False)
    ]
    assert found(inbound("198.51.100.0/24", *ANY)) == []


def test_a_server_on_this_machine_answers_past_the_gateway() -> None:
    here = policy("In", upstream=UpstreamHost("192.0.2.1"), source_address=SourceAddress.CLIENT)
    ((text, is_fault),) = found(here)
    assert is_fault
    assert text.startswith("policy 'In': 192.0.2.1 is this machine, and answers clients past the gateway")
    assert found(replace(here, source_address=SourceAddress.GATEWAY)) == []
    assert found(replace(here, upstream=HOST)) == []


def test_the_machine_tells_its_addresses(row: Row) -> None:
    with row.gateway.entered():
        assert {str(each) for each in Kernel().addresses()} >= {*INSIDE.values(), *OUTSIDE.values()}
