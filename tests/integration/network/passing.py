"""How mail comes to a server: inspected, straight, or not at all."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from tests.firewall.namespaces import FAMILIES
from tests.integration.lab.ports import wait_until
from tests.integration.network.topology import CLIENT, ONE, OUTSIDE, VERSIONS

if TYPE_CHECKING:
    from tests.integration.lab.client import Mode
    from tests.integration.lab.gateway import Gateway
    from tests.integration.network.clients import Client
    from tests.integration.network.machines import Internet

PORTS: Final = (25, 465)
_SOON_S: Final = 0.7
"""Whoever is there answers within a few ms."""


def transaction(gateway: Gateway) -> dict[str, Any]:
    """Return the record of the one message since ``begin``."""
    wait_until(lambda: any(each["record"] == "session" for each in gateway.records), "the session is on record")
    (found,) = [each for each in gateway.records if each["record"] == "transaction"]
    return found


def host(endpoint: str) -> str:
    """Return the address of ``address:port``."""
    return str(ip_address(endpoint.rpartition(":")[0].strip("[]")))


@dataclass(frozen=True)
class Mail:
    """What a client of the client network sends to server one, by a gateway that dials from its own address.

    Args:
        internet: the network.
        client: trusts what the Proxy Authority signs, and nothing else.
        stranger: trusts what servers show themselves, and nothing else.
    """

    internet: Internet
    client: Client
    stranger: Client

    def is_inspected(self, gateway: Gateway, way: Mode, version: int, name: str = "active") -> None:
        """Send a message, and assert that a gateway handled it."""
        gateway.begin()
        queue_id = self.client.deliver(ONE[version], way)
        assert f"{queue_id}: client=unknown[{OUTSIDE[name][version]}]" in self.internet.one.log
        record = transaction(gateway)
        assert host(record["client"]) == CLIENT[version]
        assert host(record["upstream"]) == ONE[version]

    def goes_straight(self, gateway: Gateway, way: Mode, version: int) -> None:
        """Send a message, and assert that the gateway has nothing to do with it."""
        gateway.begin()
        queue_id = self.stranger.deliver(ONE[version], way)
        assert f"{queue_id}: client=unknown[{CLIENT[version]}]" in self.internet.one.log
        assert gateway.records == []

    def reached(self) -> set[tuple[int, int]]:
        """Return the IP versions and ports on which a connection to server one comes about."""
        with ExitStack() as stack, self.client.machine.entered():
            dialled = {
                stack.enter_context(_dial(version, port)): (version, port) for version in VERSIONS for port in PORTS
            }
            deadline = time.monotonic() + _SOON_S
            open_: set[tuple[int, int]] = set()
            while dialled and (left_s := deadline - time.monotonic()) > 0:
                for answered in select.select([], list(dialled), [], left_s)[1]:
                    end = dialled.pop(answered)
                    if answered.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        open_.add(end)
            return open_

    def connections(self) -> int:
        """Return how many have come to server one so far."""
        return self.internet.one.log.count("]: connect from")


def _dial(version: int, port: int) -> socket.socket:
    made = socket.socket(FAMILIES[version])
    made.setblocking(False)
    made.connect_ex((ONE[version], port))
    return made
