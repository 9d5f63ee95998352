"""XCLIENT and XFORWARD: the commands that tell a server who the client is.

Source: Postfix's XCLIENT_README and XFORWARD_README; RFC 3461 s4 (xtext).

XCLIENT makes the server take the session for the client's own: what the client may do follows from it, and the server
greets anew. XFORWARD is for its log only, and for one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from smtpproxy.endpoint import Endpoint
from smtpproxy.smtp.commands import Verb

XCLIENT: Final = "XCLIENT"
XFORWARD: Final = "XFORWARD"

MAX_LINE_OCTETS: Final = 512
"""Of a command with its CRLF (XCLIENT_README, note 1)."""

MAX_VALUE_OCTETS: Final = 255

UNAVAILABLE: Final = b"[UNAVAILABLE]"
"""No name of the client is looked up here."""

# xchar = "!" to "~" except "+" and "=" ; anything else is "+" and two hexadecimal digits in capitals
_NO_XCHAR: Final = re.compile(rb"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]")


@dataclass(frozen=True, slots=True)
class Introduced:
    """Who is told of.

    Args:
        client: who dialled; the host is an IP address.
        destination: what it dialled.
        helo: its EHLO or HELO name.
        extended: whether that was EHLO.
    """

    client: Endpoint
    destination: Endpoint
    helo: bytes
    extended: bool


@dataclass(frozen=True, slots=True)
class Xforward:
    """XFORWARD with some attributes."""

    verb: ClassVar[Verb] = Verb.XFORWARD
    attributes: bytes

    def to_wire(self) -> bytes:
        """Return the command line with its CRLF."""
        return b"XFORWARD%b\r\n" % self.attributes


def takes_address(offered: bytes | None) -> bool:
    """Return whether a server takes a client's address; ``offered`` is as for `xclient_line`."""
    return "ADDR" in _names(offered)


def xclient_line(offered: bytes | None, who: Introduced) -> bytes | None:
    """Return XCLIENT with its CRLF, ``None`` for a server that takes no address of a client.

    There is one command only: behind the first the server has a client before it that may not send another. What is too
    long for it is left out; EHLO, which follows, says the name again.

    Args:
        offered: XCLIENT's argument in the server's EHLO reply, ``None`` without.
        who: the client.
    """
    attributes = list(_attributes(offered, _of_xclient(who)))
    if not attributes:
        return None
    line = b"XCLIENT"
    for each in attributes:
        if len(line) + len(each) + 2 <= MAX_LINE_OCTETS:
            line += each
    return line + b"\r\n"


def xforward_commands(offered: bytes | None, who: Introduced) -> tuple[Xforward, ...]:
    """Return as many XFORWARD as all that is told of ``who`` takes; none for a server that takes no address."""
    lines: list[bytes] = []
    room = MAX_LINE_OCTETS - len(b"XFORWARD\r\n")
    for each in _attributes(offered, _of_xforward(who)):
        if lines and len(lines[-1]) + len(each) <= room:
            lines[-1] += each
        else:
            lines.append(each)
    return tuple(map(Xforward, lines))


def _of_xclient(who: Introduced) -> dict[str, bytes]:
    """LOGIN is never told: a client that has authenticated has done so with the server itself."""
    return {
        "ADDR": _address(who.client),
        "NAME": UNAVAILABLE,
        "PORT": b"%d" % who.client.port,
        "DESTADDR": _address(who.destination),
        "DESTPORT": b"%d" % who.destination.port,
        "PROTO": _protocol(who),
        "HELO": who.helo,
    }


def _of_xforward(who: Introduced) -> dict[str, bytes]:
    return {
        "ADDR": _address(who.client),
        "NAME": UNAVAILABLE,
        "PORT": b"%d" % who.client.port,
        "PROTO": _protocol(who),
        "SOURCE": b"REMOTE",
        "HELO": who.helo,
    }


def _attributes(offered: bytes | None, values: dict[str, bytes]) -> Iterator[bytes]:
    """Yield the attributes that are offered, each with a space before it."""
    if not takes_address(offered):
        return
    names = _names(offered)
    for name, value in values.items():
        encoded = _xtext(value)
        if name in names and 0 < len(encoded) <= MAX_VALUE_OCTETS:
            yield b" %b=%b" % (name.encode(), encoded)


def _names(offered: bytes | None) -> frozenset[str]:
    return frozenset((offered or b"").decode("ascii", "replace").upper().split())


def _address(end: Endpoint) -> bytes:
    return (f"IPV6:{end.host}" if ":" in end.host else end.host).encode()


def _protocol(who: Introduced) -> bytes:
    return b"ESMTP" if who.extended else b"SMTP"


def _xtext(value: bytes) -> bytes:
    return _NO_XCHAR.sub(lambda match: b"+%02X" % match[0][0], value)
