"""What a peer offers in its EHLO reply, and what the proxy offers in its own.

Source: RFC 5321 s4.1.1.1 (form of the reply), s2.2.1 (extensions are per hop); RFC 1870 s3 (SIZE);
RFC 2920 s3 (PIPELINING); RFC 3207 s4 (STARTTLS).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from smtpproxy.smtp.replies import Reply

# ehlo-line = ehlo-keyword *( SP ehlo-param ) ; ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# ehlo-param = 1*(%d33-126) ; a line of another form ("AUTH=LOGIN", an old habit) is no keyword
_EHLO_LINE: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?: ++([\x20-\x7e]*+))?\Z")
_SIZE: Final = re.compile(rb"[0-9]{1,20}\Z")

_COMMANDS: Final = frozenset({"HELP", "VRFY"})
"""Keywords of commands that pass in any case (RFC 5321 s4.1.1.6, s4.1.1.8): no extension to allow or not."""

_NOT_REMOVED: Final = _COMMANDS | {"STARTTLS"}
_HOP_LOCAL: Final = frozenset({"STARTTLS", "PIPELINING", "SIZE"})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The EHLO keywords that a peer offers.

    Args:
        greeting: the text of the reply's first line.
        keywords: upper-case keywords with their arguments, in the peer's order, each once.
    """

    greeting: bytes
    keywords: tuple[tuple[str, bytes], ...] = ()

    def offers(self, keyword: str) -> bool:
        """Tell whether the upper-case keyword is offered."""
        return self.argument(keyword) is not None

    def argument(self, keyword: str) -> bytes | None:
        """Return the keyword's argument, empty if it has none, ``None`` if the keyword is not offered."""
        return next((argument for name, argument in self.keywords if name == keyword), None)

    def to_reply(self) -> Reply:
        """Return the EHLO reply that says this."""
        return Reply(250, (self.greeting, *[_to_line(name, argument) for name, argument in self.keywords]))


def parse_capabilities(reply: Reply) -> Capabilities:
    """Parse a positive reply to EHLO or HELO; what is no keyword is dropped, of a keyword said twice the second."""
    keywords: dict[str, bytes] = {}
    for line in reply.lines[1:]:
        match = _EHLO_LINE.match(line)
        if match:
            keywords.setdefault(match[1].decode().upper(), (match[2] or b"").rstrip())
    return Capabilities(reply.lines[0], tuple(keywords.items()))


def offer(upstream: Capabilities, allow: frozenset[str], *, starttls: bool, size_limit: int) -> Capabilities:
    """Decide what the client is offered.

    Args:
        upstream: what upstream offers now.
        allow: upper-case keywords that may be offered; all else is removed.
        starttls: whether STARTTLS is offered, which no other argument can turn on.
        size_limit: the proxy's own limit of a message in octets, 0 for none.

    Returns:
        Upstream's greeting; its allowed keywords verbatim, with PIPELINING, SIZE and STARTTLS as they hold on this hop.
    """
    passing = (allow | _COMMANDS) - _HOP_LOCAL
    keywords = [(name, argument) for name, argument in upstream.keywords if name in passing]
    if "PIPELINING" in allow:
        keywords.append(("PIPELINING", b""))
    if "SIZE" in allow:
        keywords.append(("SIZE", _smaller_size(upstream, size_limit)))
    if starttls:
        keywords.append(("STARTTLS", b""))
    return Capabilities(upstream.greeting, tuple(keywords))


def denied(upstream: Capabilities, allow: frozenset[str]) -> tuple[str, ...]:
    """Return the keywords of upstream that are removed, for the log."""
    return tuple([name for name, _ in upstream.keywords if name not in allow | _NOT_REMOVED])


def _smaller_size(upstream: Capabilities, size_limit: int) -> bytes:
    """Return the smaller limit; 0 and a missing argument mean no limit that is known (RFC 1870 s3)."""
    argument = upstream.argument("SIZE") or b""
    upstream_limit = int(argument) if _SIZE.match(argument) else 0
    limits = [limit for limit in (size_limit, upstream_limit) if limit]
    return b"%d" % min(limits) if limits else b""


def _to_line(name: str, argument: bytes) -> bytes:
    return b"%b %b" % (name.encode(), argument) if argument else name.encode()
