"""Connections with a gateway in whose place there are sockets alone, and whether data passes over them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from smtpproxy.policy.model import InterceptionMode, SourceAddress
from smtpproxy.transport.transparent import make_transparent, mark_own
from tests.firewall.namespaces import CLIENT, FAMILIES, SERVER
from tests.firewall.values import plan, policy

if TYPE_CHECKING:
    from tests.firewall.namespaces import Row

SOON_S: Final = 1.5
"""A SYN is sent again after a second; what has had no answer by now is dropped."""

WAYS: Final = {
    "tproxy": plan(policy(), mode=InterceptionMode.TPROXY),
    "redirect": plan(policy(), mode=InterceptionMode.REDIRECT),
    "answers": plan(policy(source_address=SourceAddress.CLIENT), mode=InterceptionMode.EXPLICIT),
}
"""Ways in which connections come to the gateway: a client's, or answers to a client's own address."""


def works(row: Row, way: str, version: int = 4) -> bool:
    """Whether data goes both ways over a connection with the gateway."""
    try:
        _talk_to_the_server(row, version) if way == "answers" else talk_to_a_client(row, way, version)
    except TimeoutError:
        return False
    return True


def talk_to_a_client(row: Row, way: str, version: int, host: str = "") -> None:
    """Have the client dial the server and the gateway take it; ``host`` is where that listens."""
    with row.gateway.listen(version, 25, host, transparent=way == "tproxy") as listener:
        listener.settimeout(SOON_S)
        with row.client.dial(SERVER[version], 25, SOON_S) as dialled, listener.accept()[0] as accepted:
            _exchange(dialled, accepted)


def _talk_to_the_server(row: Row, version: int) -> None:
    with row.server.listen(version, 25) as server, row.gateway.entered(), socket.socket(FAMILIES[version]) as upstream:
        make_transparent(upstream)
        mark_own(upstream)
        upstream.settimeout(SOON_S)
        upstream.bind((CLIENT[version], 0))
        upstream.connect((SERVER[version], 25))
        server.settimeout(SOON_S)
        with server.accept()[0] as accepted:
            _exchange(upstream, accepted)


def _exchange(one: socket.socket, other: socket.socket) -> None:
    one.sendall(b"EHLO")
    other.settimeout(SOON_S)
    other.sendall(b"220 ")
    assert (one.recv(9), other.recv(9)) == (b"220 ", b"EHLO")
