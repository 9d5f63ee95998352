"""What the real kernel does with connections through it, with a small listener in the gateway's place."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from smtpproxy.firewall.kernel import Kernel
from smtpproxy.firewall.plan import Plan
from smtpproxy.policy.model import InterceptionMode, OnStop, SourceAddress, TlsSupport
from smtpproxy.transport.transparent import make_transparent, mark_own, original_destination
from tests.firewall.namespaces import ANY, CLIENT, FAMILIES, INSIDE, OUTSIDE, SERVER, Row
from tests.firewall.values import plan, policy, state

TPROXY, REDIRECT, EXPLICIT = InterceptionMode.TPROXY, InterceptionMode.REDIRECT, InterceptionMode.EXPLICIT
VERSIONS = pytest.mark.parametrize("version", [4, 6])
MODES = pytest.mark.parametrize("mode", [TPROXY, REDIRECT], ids=lambda mode: mode.value)
SOON_S = 1.5
"""A SYN is sent again after a second; what has had no answer by now is dropped."""


def apply(row: Row, wanted: Plan) -> None:
    with row.gateway.entered():
        Kernel().apply(state(wanted))


def told(accepted: socket.socket) -> str:
    return (original_destination(accepted) or accepted.getsockname())[0]


def is_answered_by(row: Row, listener: socket.socket, host: str, port: int) -> bool:
    """Whether a client that dials ``host`` reaches ``listener``; it is told who dialled whom."""
    with closing(row.client.dial(host, port)) as dialled:
        try:
            accepted, _ = listener.accept()
        except TimeoutError:
            return False
        with accepted:
            return bool(accepted.getpeername()[1] == dialled.getsockname()[1])


def reaches_nobody(row: Row, host: str, port: int) -> bool:
    try:
        row.client.dial(host, port, SOON_S).close()
    except OSError:
        return True
    return False


@VERSIONS
@MODES
def test_a_client_that_dials_the_server_reaches_the_gateway(row: Row, mode: InterceptionMode, version: int) -> None:
    apply(row, plan(policy(), mode=mode))
    listener = row.gateway.listen(version, 465, transparent=mode is TPROXY)
    with listener, row.client.dial(SERVER[version], 465) as dialled, listener.accept()[0] as accepted:
        assert told(accepted) == SERVER[version]
        assert accepted.getpeername()[0] == CLIENT[version]
        accepted.sendall(b"220 ")
        dialled.sendall(b"EHLO")
        assert (dialled.recv(9), accepted.recv(9)) == (b"220 ", b"EHLO")


@VERSIONS
@MODES
def test_a_listener_on_one_address_takes_what_others_are_dialled_for(
    row: Row, mode: InterceptionMode, version: int
) -> None:
    apply(row, plan(policy(), mode=mode, listen=(OUTSIDE[version],)))
    with row.gateway.listen(version, 25, OUTSIDE[version], transparent=mode is TPROXY) as listener:
        assert is_answered_by(row, listener, SERVER[version], 25)


@VERSIONS
@MODES
def test_disabled_leaves_465_alone(row: Row, mode: InterceptionMode, version: int) -> None:
    apply(row, plan(policy(tls_support=TlsSupport.DISABLED), mode=mode))
    gateway = [row.gateway.listen(version, port, transparent=mode is TPROXY) for port in (25, 465)]
    server = [row.server.listen(version, port) for port in (25, 465)]
    assert is_answered_by(row, gateway[0], SERVER[version], 25)
    assert is_answered_by(row, server[1], SERVER[version], 465)
    for each in (*gateway, *server):
        each.close()


@VERSIONS
@MODES
def test_what_no_policy_takes_passes_a_listener_on_every_address(
    row: Row, mode: InterceptionMode, version: int
) -> None:
    """A transparent listener is a socket for any packet to its port; that alone must take nothing."""
    apply(row, plan(policy(source=("172.16.0.0/12", "fd99::/64"), source_address=SourceAddress.CLIENT), mode=mode))
    with row.gateway.listen(version, 25, transparent=True), row.server.listen(version, 25) as server:
        dialled = row.client.dial(SERVER[version], 25)
        with dialled, server.accept()[0] as accepted:
            dialled.sendall(b"EHLO")
            assert accepted.recv(9) == b"EHLO"


@VERSIONS
@MODES
def test_the_gateways_own_addresses_are_no_strangers(row: Row, mode: InterceptionMode, version: int) -> None:
    apply(row, plan(policy(), mode=mode))
    for host in (INSIDE[version], OUTSIDE[version]):
        listener = row.gateway.listen(version, 25, transparent=mode is TPROXY)
        with listener, row.client.dial(host, 25), listener.accept()[0] as accepted:
            assert told(accepted) == host


@VERSIONS
@pytest.mark.parametrize("mode", [TPROXY, REDIRECT, EXPLICIT], ids=lambda mode: mode.value)
def test_answers_to_the_clients_own_address_come_back(row: Row, mode: InterceptionMode, version: int) -> None:
    apply(row, plan(policy(source_address=SourceAddress.CLIENT), mode=mode))
    with row.server.listen(version, 25) as server, row.gateway.entered(), socket.socket(FAMILIES[version]) as upstream:
        make_transparent(upstream)
        mark_own(upstream)
        upstream.settimeout(10)
        upstream.bind((CLIENT[version], 0))
        upstream.connect((SERVER[version], 25))
        with server.accept()[0] as accepted:
            assert accepted.getpeername() == upstream.getsockname()
            accepted.sendall(b"220 ")
            assert upstream.recv(9) == b"220 "


@VERSIONS
@MODES
def test_the_gateways_own_connections_are_left_alone(row: Row, mode: InterceptionMode, version: int) -> None:
    apply(row, plan(policy(), mode=mode))
    with row.gateway.listen(version, 25, transparent=True), row.server.listen(version, 25) as server:
        dialled = row.gateway.dial(SERVER[version], 25)
        with dialled, server.accept()[0] as accepted:
            assert accepted.getpeername()[:2] == dialled.getsockname()[:2]


@VERSIONS
@MODES
def test_block_lets_nothing_through_when_nobody_listens(row: Row, mode: InterceptionMode, version: int) -> None:
    apply(row, plan(policy(), mode=mode))
    with row.server.listen(version, 25) as server:
        row.gateway.listen(version, 25, transparent=mode is TPROXY).close()
        assert reaches_nobody(row, SERVER[version], 25)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@VERSIONS
@MODES
def test_a_connection_that_stands_when_the_gateway_comes_is_not_let_through(
    row: Row, mode: InterceptionMode, version: int
) -> None:
    server = row.server.listen(version, 25)
    with server, row.client.dial(SERVER[version], 25) as dialled, server.accept()[0] as accepted:
        apply(row, plan(policy(), mode=mode))
        dialled.sendall(b"EHLO")
        accepted.settimeout(SOON_S)
        with pytest.raises(TimeoutError):
            accepted.recv(9)


@VERSIONS
@MODES
@pytest.mark.parametrize("on_stop", list(OnStop), ids=lambda on_stop: on_stop.value)
def test_an_ip_version_that_nobody_hears_is_dealt_with_as_on_stop_says(
    row: Row, mode: InterceptionMode, version: int, on_stop: OnStop
) -> None:
    other = ANY[10 - version]
    apply(row, plan(policy(), mode=mode, listen=(other,), on_stop=on_stop))
    with row.server.listen(version, 25) as server:
        if on_stop is OnStop.BLOCK:
            assert reaches_nobody(row, SERVER[version], 25)
        else:
            assert is_answered_by(row, server, SERVER[version], 25)
