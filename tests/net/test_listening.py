from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from smtpproxy.net.equipment import Equipment
from smtpproxy.net.gateway import Binding, Gateway
from smtpproxy.net.listening import ListenError
from smtpproxy.policy.model import PortKind

WITHOUT_IPV6 = " (without IPv6 here, take this address out of interception.listen)"
NEEDS_ROOT = " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"


@pytest.mark.parametrize(
    ("interface", "port", "number", "line", "status"),
    [
        ("127.0.0.1", 25, errno.EACCES, "127.0.0.1:25: cannot listen: Permission denied" + NEEDS_ROOT, 77),
        ("0.0.0.0", 8025, errno.EACCES, "0.0.0.0:8025: cannot listen: Permission denied", 77),  # noqa: S104 - text
        ("192.0.2.1", 25, errno.EADDRINUSE, "192.0.2.1:25: cannot listen: Address already in use", 69),
        ("192.0.2.1", 25, errno.EADDRNOTAVAIL, "192.0.2.1:25: cannot listen: Cannot assign requested address", 69),
        ("::", 25, errno.EADDRNOTAVAIL, "[::]:25: cannot listen: Cannot assign requested address" + WITHOUT_IPV6, 69),
        (
            "::",
            465,
            errno.EAFNOSUPPORT,
            "[::]:465: cannot listen: Address family not supported by protocol" + WITHOUT_IPV6,
            69,
        ),
    ],
)
def test_the_line_says_where_and_why(interface: str, port: int, number: int, line: str, status: int) -> None:
    error = ListenError(interface, port, OSError(number, os.strerror(number)))
    assert (str(error), error.status) == (line, status)


def test_what_the_resolver_says_is_told_too() -> None:
    error = ListenError("::", 25, socket.gaierror(socket.EAI_FAMILY, "ai_family not supported"))
    assert str(error) == "[::]:25: cannot listen: ai_family not supported"


class Listens(TestCase):
    """Real sockets: what is bound is closed again when the next cannot be."""

    async def test_what_was_bound_is_closed_when_another_cannot_be(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            first = Binding("127.0.0.1", _free_port(), PortKind.SMTP)
            gateway = _gateway(first, Binding("127.0.0.1", taken.getsockname()[1], PortKind.SMTPS))
            with pytest.raises(ListenError, match="Address already in use"):
                gateway.privilegedStartService()
        await deferLater(reactor, 0, lambda: None)
        socket.create_server(("127.0.0.1", first.port)).close()

    def test_an_ipv6_address_that_is_not_ours_is_told(self) -> None:
        with pytest.raises(ListenError, match=r"\[2001:db8::1\]:0: cannot listen: .*without IPv6 here"):
            _gateway(Binding("2001:db8::1", 0, PortKind.SMTP)).privilegedStartService()

    async def test_ports_are_bound_with_privileges_and_once(self) -> None:
        bind = Binding("127.0.0.1", 0, PortKind.SMTP)
        gateway = _gateway(bind)
        gateway.privilegedStartService()
        bound = gateway.addresses[bind]
        gateway.startService()
        assert gateway.addresses == {bind: bound}
        await gateway.stopService()


def _gateway(*binds: Binding) -> Gateway:
    parts: dict[str, Any] = dict.fromkeys(("proxy_server", "mint", "contexts", "trust", "spools", "write"))
    return Gateway(Equipment(reactor=reactor, **parts), [], binds, "gw.test")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
