"""How upstream is told who the client is: before all else, by a command of its own, or for its log.

Source: HAProxy's doc/proxy-protocol.txt s2; Postfix's XCLIENT_README and XFORWARD_README.
"""

from __future__ import annotations

from smtpproxy.policy.model import SendClient
from smtpproxy.proxy_header.header import Proxied
from smtpproxy.proxy_header.version_2 import shortened, to_binary
from smtpproxy.session.terms import Ends
from smtpproxy.smtp.capabilities import Capabilities
from smtpproxy.smtp.introduction import (
    XCLIENT,
    XFORWARD,
    Introduced,
    Xforward,
    xclient_line,
    xforward_commands,
)


class Introduction:
    """What one session says of its client, on each of its connections to upstream anew.

    Attributes:
        is_due: whether XCLIENT has to be accepted before the connection is of any use.
    """

    __slots__ = ("_ends", "_how", "is_due")

    def __init__(self, how: SendClient, ends: Ends) -> None:
        self._how = how
        self._ends = ends
        self.is_due = False

    def begin(self) -> bytes:
        """Return what goes out first of all on a connection that stands now."""
        self.is_due = self._how is SendClient.XCLIENT
        if self._how is not SendClient.PROXY_V2:
            return b""
        return to_binary(shortened(Proxied(self._ends.client, self._ends.destination, self._ends.tlvs)))

    def accepted(self) -> None:
        """Upstream takes this connection for the client's own."""
        self.is_due = False

    def line(self, capabilities: Capabilities, name: bytes, *, extended: bool) -> bytes | None:
        """Return XCLIENT with its CRLF, ``None`` if upstream does not take it."""
        return xclient_line(capabilities.argument(XCLIENT), self._introduced(name, extended=extended))

    def attributes(self, capabilities: Capabilities, name: bytes, *, extended: bool) -> tuple[Xforward, ...]:
        """Return what upstream's log is told, nothing if it does not take that."""
        return xforward_commands(capabilities.argument(XFORWARD), self._introduced(name, extended=extended))

    def _introduced(self, name: bytes, *, extended: bool) -> Introduced:
        return Introduced(self._ends.client, self._ends.destination, name, extended)
