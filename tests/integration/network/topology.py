"""A client network, two gateways side by side, and an Internet with two servers: each in a network namespace.

::

    client ---+--- active ----+--- internet ---+--- one
              +--- standby ---+                +--- two

The client and the Internet have a bridge each, with both gateways on it, so that a route is all that has to be moved.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.firewall.namespaces import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

Addresses: TypeAlias = dict[int, str]
"""An address of each IP version."""

VERSIONS: Final = (4, 6)
CLIENT: Final[Addresses] = {4: "10.9.0.2", 6: "fd09::2"}
INSIDE: Final[dict[str, Addresses]] = {
    "active": {4: "10.9.0.1", 6: "fd09::1"},
    "standby": {4: "10.9.0.3", 6: "fd09::3"},
}
OUTSIDE: Final[dict[str, Addresses]] = {
    "active": {4: "203.0.113.11", 6: "fd03::11"},
    "standby": {4: "203.0.113.12", 6: "fd03::12"},
}
PROVIDER: Final[Addresses] = {4: "203.0.113.1", 6: "fd03::1"}
ONE: Final[Addresses] = {4: "198.51.100.2", 6: "fd51::2"}
TWO: Final[Addresses] = {4: "192.0.2.2", 6: "fd52::2"}
CLIENT_NETWORK: Final[Addresses] = {4: "10.9.0.0/24", 6: "fd09::/64"}

_VIA_ONE: Final[Addresses] = {4: "198.51.100.1", 6: "fd51::1"}
_VIA_TWO: Final[Addresses] = {4: "192.0.2.1", 6: "fd52::1"}
_PREFIX: Final = {4: 24, 6: 64}
_numbers: Final = itertools.count(1)


@dataclass(frozen=True)
class Network:
    """The machines."""

    client: Namespace
    active: Namespace
    standby: Namespace
    internet: Namespace
    one: Namespace
    two: Namespace

    def route_by(self, gateway: str) -> None:
        """Have all that goes between the client and the Internet go through one of the gateways."""
        for version in VERSIONS:
            self.client.ip(f"-{version}", "route", "replace", "default", "via", INSIDE[gateway][version])
            network = CLIENT_NETWORK[version]
            self.internet.ip(f"-{version}", "route", "replace", network, "via", OUTSIDE[gateway][version])


def make() -> Network:
    place = f"{os.getpid()}-{next(_numbers)}"
    network = Network(*(Namespace(f"lab-{field.name}-{place}") for field in fields(Network)))
    try:
        _join(network)
    except BaseException:
        remove(network)
        raise
    return network


def remove(network: Network) -> None:
    for each in _machines(network):
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "delete", each.name], check=True, capture_output=True)


def _machines(network: Network) -> Iterator[Namespace]:
    for field in fields(Network):
        yield getattr(network, field.name)


def _join(network: Network) -> None:
    for each in _machines(network):
        subprocess.run(["ip", "netns", "add", each.name], check=True, capture_output=True)
        for parameter in ("accept_dad", "dad_transmits"):  # addresses are to serve at once
            each.parameter(f"net.ipv6.conf.default.{parameter}", 0)
        each.ip("link", "set", "lo", "up")
    _bridge(network.client, CLIENT)
    _bridge(network.internet, PROVIDER)
    for name, gateway in (("active", network.active), ("standby", network.standby)):
        _plug(network.client, gateway, "inside", INSIDE[name])
        _plug(network.internet, gateway, "outside", OUTSIDE[name])
        _route(gateway, PROVIDER)
    _wire(network.internet, "to-one", _VIA_ONE, network.one, ONE)
    _wire(network.internet, "to-two", _VIA_TWO, network.two, TWO)
    for router in (network.active, network.standby, network.internet):
        router.parameter("net.ipv4.ip_forward", 1)
        router.parameter("net.ipv6.conf.all.forwarding", 1)
    network.route_by("active")


def _bridge(machine: Namespace, addresses: Addresses) -> None:
    machine.ip("link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
    _address(machine, "bridge", addresses)


def _plug(machine: Namespace, gateway: Namespace, device: str, addresses: Addresses) -> None:
    """Give a gateway an interface on a machine's bridge."""
    port = f"to-{gateway.name.split('-')[1]}"
    machine.ip("link", "add", port, "type", "veth", "peer", "name", device, "netns", gateway.name)
    machine.ip("link", "set", port, "master", "bridge", "up")
    _address(gateway, device, addresses)


def _wire(router: Namespace, port: str, via: Addresses, server: Namespace, addresses: Addresses) -> None:
    router.ip("link", "add", port, "type", "veth", "peer", "name", "outside", "netns", server.name)
    _address(router, port, via)
    _address(server, "outside", addresses)
    _route(server, via)


def _address(machine: Namespace, device: str, addresses: Addresses) -> None:
    for version in VERSIONS:
        words = ["addr", "add", f"{addresses[version]}/{_PREFIX[version]}", "dev", device]
        machine.ip(*words, *(["nodad"] if version == 6 else []))
    machine.ip("link", "set", device, "up")


def _route(machine: Namespace, via: Addresses) -> None:
    for version in VERSIONS:
        machine.ip(f"-{version}", "route", "add", "default", "via", via[version])
