from __future__ import annotations

import errno
import os
import socket

import pytest

from smtpproxy.net.listening import ListenError

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
