"""Read the hellos of a TLS connection that passes by untouched, and follow its records where they must be TLS.

Source: RFC 8446 s4.1.2, s4.1.3, s5.1, s6 (a server may answer with an alert).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.collector import CLIENT_HELLO, SERVER_HELLO, HelloCollector
from smtpproxy.tls.hello import ClientHello, parse_client_hello
from smtpproxy.tls.records import RecordFollower
from smtpproxy.tls.server_hello import ServerHello, parse_server_hello

_ALERT: Final = 21
_ALERT_OCTETS: Final = 7
"""A record with an alert in clear: its header, the level, and what is wrong."""

H = TypeVar("H")


class Passing(Generic[H]):
    """What one end of a connection sends.

    Args:
        kind: the type of its hello.
        parse: reads a whole one.
        strict: whether all that it sends must be TLS, its hello first.

    Attributes:
        hello: its hello, ``None`` until that is whole, and if it is none.
        alert: the number of the alert that a server answered with instead, ``None`` otherwise.
    """

    __slots__ = ("_alert", "_collector", "_follower", "_kind", "_parse", "alert", "hello")

    def __init__(self, kind: int, parse: Callable[[bytes], H], *, strict: bool) -> None:
        self.hello: H | None = None
        self.alert: int | None = None
        self._kind = kind
        self._parse = parse
        self._collector: HelloCollector | None = HelloCollector(kind)
        self._alert: bytearray | None = None
        self._follower = RecordFollower() if strict else None

    def feed(self, data: bytes) -> None:
        """Take the next octets, cut anywhere.

        Raises:
            ProtocolError: what comes must be TLS, and is not.
        """
        if self._follower is not None:
            self._follower.feed(data)
        if self._collector is not None:
            self._read(self._collector, data)
        elif self._alert is not None:
            self._read_alert(self._alert, data)

    def _read(self, collector: HelloCollector, data: bytes) -> None:
        if self._kind == SERVER_HELLO and not collector.has_begun and data[:1] == bytes([_ALERT]):
            self._collector, self._alert = None, bytearray()
            self._read_alert(self._alert, data)
            return
        try:
            message = collector.feed(data)
            self.hello = None if message is None else self._parse(message)
        except ProtocolError:
            self._collector = None
            if self._follower is not None:
                raise
            return
        if message is not None:
            self._collector = None

    def _read_alert(self, alert: bytearray, data: bytes) -> None:
        alert += data[: _ALERT_OCTETS - len(alert)]
        if len(alert) == _ALERT_OCTETS:
            self.alert, self._alert = alert[-1], None


def passing_client(*, strict: bool) -> Passing[ClientHello]:
    """Return a reader of what the client sends."""
    return Passing(CLIENT_HELLO, parse_client_hello, strict=strict)


def passing_server(*, strict: bool) -> Passing[ServerHello]:
    """Return a reader of what the server sends."""
    return Passing(SERVER_HELLO, parse_server_hello, strict=strict)
