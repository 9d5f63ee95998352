"""A balancer in front: HAProxy itself, and what others send, to the real program."""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from smtpproxy.endpoint import Endpoint
from smtpproxy.proxy_header.header import Local, Proxied
from smtpproxy.proxy_header.version_1 import to_line
from smtpproxy.proxy_header.version_2 import to_binary
from tests.integration.lab.client import MODES, Mode, connect
from tests.integration.lab.gateway import Setup
from tests.integration.lab.haproxy import SEVERAL, Checks, HaProxy, why_not
from tests.integration.lab.ports import HOST, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.lab.gateway import Gateway
    from tests.integration.lab.laboratory import Lab

CLIENT: Final = "127.0.0.7"
STRANGER: Final = "127.0.0.9"
BEHIND_BALANCER: Final = Setup(
    source=("127.0.0.0/8", "192.0.2.0/24"),
    interception={"mode": "proxy_protocol", "trusted_balancers": [HOST]},
    metrics=True,
)
TOLD: Final = Proxied(Endpoint("192.0.2.9", 40000), Endpoint("198.51.100.1", 25))
HEADERS: Final = {"version 1": to_line(TOLD), "version 2": to_binary(TOLD, checksum=True)}
VERSIONS: Final = {"version 1": "send-proxy", "version 2": "send-proxy-v2"}


@pytest.fixture
def gateway(lab: Lab) -> Gateway:
    return lab.gateway(lab.recorder(), BEHIND_BALANCER)


@contextlib.contextmanager
def balancer(gateway: Gateway, version: str, checks: Checks | None = None) -> Iterator[HaProxy]:
    if reason := why_not():
        pytest.skip(reason)
    with contextlib.closing(HaProxy(gateway, VERSIONS[version], checks)) as running:
        yield running


# HAProxy


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
def test_mail_through_haproxy_is_its_clients(lab: Lab, gateway: Gateway, version: str, mode: Mode) -> None:
    with balancer(gateway, version) as haproxy:
        with connect(haproxy, mode, lab.trusting_proxy, CLIENT) as client:
            assert client.sock is not None
            port = client.sock.getsockname()[1]
            client.sendmail("a@client.test", ["b@upstream.test"], b"Subject: balanced\r\n\r\nhello\r\n")
        wait_until(lambda: len(gateway.records) == 2, "the session is on record")
        dialled = haproxy.smtps_port if mode == "smtps" else haproxy.smtp_port
    for record in gateway.records:
        assert (record["client"], record["destination"]) == (f"{CLIENT}:{port}", f"{HOST}:{dialled}")
        assert record["balancer"].startswith(f"{HOST}:")


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_the_same_with_several_workers(lab: Lab, version: str) -> None:
    gateway = lab.gateway(lab.recorder(), replace(BEHIND_BALANCER, workers=2))
    with balancer(gateway, version, Checks()) as haproxy:
        haproxy.check_anew()
        for mode in MODES:
            with connect(haproxy, mode, lab.trusting_proxy, CLIENT) as client:
                client.sendmail("a@client.test", ["b@upstream.test"], b"Subject: balanced\r\n\r\nhello\r\n")
        wait_until(lambda: len(gateway.records) == 2 * len(MODES), "the sessions are on record")
    assert {record["client"].partition(":")[0] for record in gateway.records} == {CLIENT}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_checks_that_only_connect_leave_no_trace(lab: Lab, version: str, *, header: bool) -> None:
    recorder = lab.recorder()
    gateway = lab.gateway(recorder, BEHIND_BALANCER)
    with balancer(gateway, version, Checks(header=header)) as haproxy:
        haproxy.check_anew()
        haproxy.check_anew()
    assert gateway.log == ""
    assert gateway.records == []
    assert recorder.connections == []


@pytest.mark.parametrize("version", VERSIONS)
def test_checks_that_speak_smtp_say_whether_the_server_behind_answers(gateway: Gateway, version: str) -> None:
    with balancer(gateway, version, Checks(("    option smtpchk EHLO balancer.test",))) as haproxy:
        haproxy.check_anew()
    wait_until(lambda: len(gateway.records) >= SEVERAL, "the checks are on record")
    assert {(record["record"], record["client"].partition(":")[0]) for record in gateway.records} == {("session", HOST)}
    assert not re.search("#(warn|error)] (?!second opinion)", gateway.log)


# What others send


@pytest.mark.parametrize("version", HEADERS)
def test_a_header_may_come_in_pieces(gateway: Gateway, version: str) -> None:
    header = HEADERS[version]
    for cut in range(1, len(header)):
        with dial(gateway) as connection:
            connection.sendall(header[:cut])
            connection.sendall(header[cut:])
            assert connection.recv(4) == b"220 "
            connection.sendall(b"QUIT\r\n")
            assert rest(connection).endswith(b"\r\n")
    wait_until(lambda: len(gateway.records) == len(header) - 1, "all sessions are on record")
    assert {record["client"] for record in gateway.records} == {"192.0.2.9:40000"}


@pytest.mark.parametrize("version", HEADERS)
def test_a_header_that_is_cut_off_anywhere_is_none(gateway: Gateway, version: str) -> None:
    header = HEADERS[version]
    for cut in range(1, len(header)):
        with dial(gateway) as connection:
            connection.sendall(header[:cut])
            connection.shutdown(socket.SHUT_WR)
            assert rest(connection) == b""
    assert gateway.log.count("bad-proxy-header: 127.0.0.1 (cut off") == len(header) - 1
    assert gateway.records == []


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO client.test\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 040000 25\r\n",
        b"PROXY TCP6 192.0.2.9 198.51.100.1 40000 25\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 40000 25\n",
        b"\x16\x03\x01\x02\x00\x01",
        HEADERS["version 2"][:12] + b"\x31" + HEADERS["version 2"][13:],
        HEADERS["version 2"][:-1] + bytes([HEADERS["version 2"][-1] ^ 1]),
    ],
    ids=["SMTP", "port", "family", "end of line", "TLS", "version", "checksum"],
)
def test_what_is_no_header_is_closed_without_a_word(gateway: Gateway, octets: bytes) -> None:
    with dial(gateway) as connection:
        connection.sendall(octets)
        assert rest(connection) == b""
    assert "bad-proxy-header: 127.0.0.1 (" in gateway.log
    assert gateway.records == []


def test_a_stranger_is_closed_at_once_whatever_it_says(gateway: Gateway) -> None:
    before = gateway.metrics["smtpproxy_connections_refused_total", "untrusted-balancer"]
    for octets in (b"", *HEADERS.values(), to_binary(Local())):
        with contextlib.suppress(ConnectionError), dial(gateway, STRANGER) as connection:  # it may be closed already
            connection.sendall(octets)
            assert rest(connection) == b""
    assert gateway.log.count(f"untrusted-balancer: {STRANGER}") == 4
    assert gateway.metrics["smtpproxy_connections_refused_total", "untrusted-balancer"] == before + 4
    assert gateway.records == []


def test_a_header_that_is_late_is_not_waited_for(gateway: Gateway) -> None:
    with dial(gateway) as silent, dial(gateway) as slow:
        slow.sendall(HEADERS["version 2"][:-1])
        assert rest(slow) == rest(silent) == b""
    assert gateway.log.count("late-proxy-header: 127.0.0.1") == 2
    assert gateway.records == []


def test_a_host_with_a_whole_ipv6_network_is_one_source(lab: Lab) -> None:
    setup = replace(BEHIND_BALANCER, direction="inbound", source=("any",), general={"max_sessions_per_source": 2})
    gateway = lab.gateway(lab.recorder(), setup)
    with contextlib.ExitStack() as stack:
        told = []
        for host in ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8:0:1::1"):
            connection = stack.enter_context(dial(gateway))
            connection.sendall(to_line(Proxied(Endpoint(host, 40000), Endpoint("2001:db8:9::1", 25))))
            told.append(connection.recv(4))
    assert told == [b"220 ", b"220 ", b"421 ", b"220 "]


def test_no_header_is_believed_where_none_is_expected(lab: Lab) -> None:
    gateway = lab.gateway(lab.recorder())
    for header in HEADERS.values():
        with dial(gateway) as connection:
            connection.sendall(header)
            assert rest(connection).splitlines()[-1].startswith(b"554 5.5.1 ")  # the greeting may be first
    wait_until(lambda: len(gateway.records) >= len(HEADERS), "all sessions are on record")
    assert all(record["client"].startswith(f"{HOST}:") for record in gateway.records)


def dial(gateway: Gateway, source: str = HOST) -> socket.socket:
    connection = socket.create_connection((HOST, gateway.smtp_port), timeout=30, source_address=(source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Return all that comes before the connection ends, be it by a reset."""
    octets = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(4096):
            octets += data
    return octets
