from __future__ import annotations

import socket
from contextlib import closing

import pytest

from smtpproxy.endpoint import Endpoint
from smtpproxy.transport.sockets import _can_tell, may_have_end


def test_the_kernel_here_can_tell() -> None:
    assert _can_tell()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_has_an_end_here_while_it_lasts(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        server = Endpoint(*listener.getsockname()[:2])
        with closing(socket.create_connection((server.host, server.port))) as dialled, listener.accept()[0]:
            client = Endpoint(*dialled.getsockname()[:2])
            assert may_have_end(client, server)
            assert may_have_end(server, client)
            assert not may_have_end(client, Endpoint(host, server.port ^ 1))
        assert not may_have_end(Endpoint(host, client.port ^ 1), server)


@pytest.mark.parametrize("hosts", [("192.0.2.1", "198.51.100.1"), ("2001:db8::1", "2001:db8::2")])
def test_a_connection_of_others_has_none(hosts: tuple[str, str]) -> None:
    assert not may_have_end(Endpoint(hosts[0], 40000), Endpoint(hosts[1], 25))


def test_a_socket_that_listens_is_no_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not may_have_end(Endpoint(*listener.getsockname()), Endpoint("127.0.0.1", 25))
