"""What a peer offers in its EHLO reply, and what the proxy offers in its own.

Source: RFC 5321 s4.1.1.1 (form of the reply), s2.2.1 (extensions are per hop); RFC 1870 s3 (SIZE);
RFC 2920 s3 (PIPELINING); RFC 3207 s3 (STARTTLS); RFC 4954 s3 (AUTH); RFC 9422 s3 (LIMITS); RFC 3030 s3 (BINARYMIME
needs CHUNKING); RFC 8689 s2 (REQUIRETLS).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from smtpproxy.smtp.replies import Reply

# ehlo-line = ehlo-keyword *( SP ehlo-param ) ; ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
# ehlo-param = 1*(%d33-126) ; a line of another form ("AUTH=LOGIN", an old habit) is no keyword
_EHLO_LINE: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?: ++([\x20-\x7e]*+))?\Z")
_SIZE: Final = re.compile(rb"[0-9]{1,20}\Z")

# limit-pair = 1*limit-name-char "=" *limit-value-char ; of a known limit the value is a number
_LIMIT: Final = re.compile(rb"((?i:MAILMAX|RCPTMAX|RCPTDOMAINMAX))=([1-9][0-9]{0,5})\Z")
_RECIPIENTS: Final = b"RCPTMAX"

KEPT: Final = 128
"""Answers of late: a server says the same to everybody, and what is made of it takes longer than a command does."""

_COMMANDS: Final = frozenset({"HELP", "VRFY", "EXPN"})
"""Keywords of commands that pass in any case (RFC 5321 s4.1.1.6 to s4.1.1.8): no extension to allow or not."""

_NEEDS: Final = {"BINARYMIME": "CHUNKING", "SMTPUTF8": "8BITMIME"}
"""What may be offered only beside something else (RFC 3030 s3, RFC 6531 s3.1)."""

_NOT_REMOVED: Final = _COMMANDS | {"STARTTLS"}
_HOP_LOCAL: Final = frozenset({"STARTTLS", "PIPELINING", "SIZE", "LIMITS", "AUTH", "REQUIRETLS"})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The EHLO keywords that a peer offers.

    Args:
        greeting: the text of the reply's first line.
        keywords: upper-case keywords with their arguments, in the peer's order, each once.
    """

    greeting: bytes
    keywords: tuple[tuple[str, bytes], ...] = ()
    _arguments: dict[str, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_arguments", dict(self.keywords))

    def offers(self, keyword: str) -> bool:
        """Tell whether the upper-case keyword is offered."""
        return keyword in self._arguments

    def argument(self, keyword: str) -> bytes | None:
        """Return the keyword's argument, empty if it has none, ``None`` if the keyword is not offered."""
        return self._arguments.get(keyword)

    def to_reply(self) -> Reply:
        """Return the EHLO reply that says this."""
        return Reply(250, (self.greeting, *[_to_line(name, argument) for name, argument in self.keywords]))


@lru_cache(KEPT)
def parse_capabilities(reply: Reply) -> Capabilities:
    """Parse a positive reply to EHLO or HELO; what is no keyword is dropped, of a keyword said twice the second."""
    keywords: dict[str, bytes] = {}
    for line in reply.lines[1:]:
        match = _EHLO_LINE.match(line)
        if match:
            keywords.setdefault(match[1].decode().upper(), (match[2] or b"").rstrip())
    return Capabilities(reply.lines[0], tuple(keywords.items()))


@dataclass(frozen=True, slots=True)
class Hop:
    """What this proxy itself can say on the hop from the client.

    Args:
        starttls: whether STARTTLS is offered, which nothing else can turn on.
        size_limit: of a message in octets, 0 for none.
        recipient_limit: of a transaction, 0 for none.
        mechanisms: of AUTH, those that may pass now, in upper case.
        requiretls: whether REQUIRETLS can be kept now.
    """

    starttls: bool
    size_limit: int
    recipient_limit: int = 0
    mechanisms: frozenset[str] = frozenset()
    requiretls: bool = False


@lru_cache(KEPT)
def offer(upstream: Capabilities, allow: frozenset[str], hop: Hop) -> Capabilities:
    """Decide what the client is offered.

    Args:
        upstream: what upstream offers now.
        allow: upper-case keywords that may be offered; all else is removed.
        hop: what is ours to say.

    Returns:
        Upstream's greeting; its allowed keywords verbatim, with those of the hop as they hold on it.
    """
    passing = (allow | _COMMANDS) - _HOP_LOCAL
    for keyword, needed in _NEEDS.items():
        if not (needed in allow and upstream.offers(needed)):
            passing -= {keyword}
    keywords = [(name, argument) for name, argument in upstream.keywords if name in passing]
    keywords += [(name, argument) for name, argument in _of_hop(upstream, hop) if name in allow]
    if hop.starttls:
        keywords.append(("STARTTLS", b""))
    return Capabilities(upstream.greeting, tuple(keywords))


def _of_hop(upstream: Capabilities, hop: Hop) -> Iterator[tuple[str, bytes]]:
    yield "PIPELINING", b""
    yield "SIZE", _smaller_size(upstream, hop.size_limit)
    if limits := _smaller_limits(upstream, hop.recipient_limit):
        yield "LIMITS", limits
    if mechanisms := _passing_mechanisms(upstream, hop.mechanisms):
        yield "AUTH", mechanisms
    if hop.requiretls and upstream.offers("REQUIRETLS"):
        yield "REQUIRETLS", b""


def denied(upstream: Capabilities, allow: frozenset[str]) -> tuple[str, ...]:
    """Return the keywords of upstream that are removed, for the log."""
    return tuple([name for name, _ in upstream.keywords if name not in allow | _NOT_REMOVED])


def _smaller_size(upstream: Capabilities, size_limit: int) -> bytes:
    """Return the smaller limit; 0 and a missing argument mean no limit that is known (RFC 1870 s3)."""
    argument = upstream.argument("SIZE") or b""
    upstream_limit = int(argument) if _SIZE.match(argument) else 0
    limits = [limit for limit in (size_limit, upstream_limit) if limit]
    return b"%d" % min(limits) if limits else b""


def _smaller_limits(upstream: Capabilities, recipient_limit: int) -> bytes:
    """Return upstream's known limits, that of recipients lowered to ours."""
    limits: dict[bytes, int] = {}
    for word in (upstream.argument("LIMITS") or b"").split():
        if match := _LIMIT.match(word):
            limits[match[1].upper()] = int(match[2])
    if recipient_limit:
        limits[_RECIPIENTS] = min(recipient_limit, limits.get(_RECIPIENTS, recipient_limit))
    return b" ".join([b"%b=%d" % limit for limit in limits.items()])


def _passing_mechanisms(upstream: Capabilities, mechanisms: frozenset[str]) -> bytes:
    offered = (upstream.argument("AUTH") or b"").decode("ascii", "replace").upper().split()
    return " ".join([name for name in offered if name in mechanisms]).encode()


def _to_line(name: str, argument: bytes) -> bytes:
    return b"%b %b" % (name.encode(), argument) if argument else name.encode()
