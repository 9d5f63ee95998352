"""DNS messages: the query that is sent, and what its response says.

Source: RFC 1035 s4 (messages); RFC 6840 s5.7, s5.8 (AD); RFC 3225 (DO); RFC 2308 s5 (negative answers); RFC 8020.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from secrets import randbelow
from struct import unpack_from
from typing import Any, Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
from dns.message import Message, QueryMessage
from dns.rdata import Rdata
from dns.rdatatype import RdataType

from smtpproxy.policy.knowledge import Answer
from smtpproxy.policy.selection import Address

PAYLOAD_OCTETS: Final = 1232
"""Of a response over UDP: passes everywhere without fragments (the figure of DNS flag day 2020)."""

MAX_RECORDS: Final = 128
"""In all sections of a response, with signatures; the library takes up to 0.1 ms for each, in the reactor."""

_IDS: Final = 1 << 16
_HEADER_OCTETS: Final = 12
_COUNTS_AT: Final = 6


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a name of A-labels, without the root's dot, and a type of records."""

    name: str
    kind: RdataType


@dataclass(frozen=True, slots=True)
class Resolution:
    """What came of a question.

    Args:
        answer: found, absent or failed.
        secure: whether DNSSEC vouches for it, absence included.
        exists: whether there is anything of that name.
        name: where the records stand, behind aliases; in lower case, without the root's dot.
        records: in no order.
        ttl_s: how long it may be kept, as the records say.
        until_s: when that is over, by the clock of whoever keeps it.
        reason: why it failed, as a token.
    """

    answer: Answer
    secure: bool = False
    exists: bool = True
    name: str = ""
    records: tuple[Rdata, ...] = ()
    ttl_s: float = 0.0
    until_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A question on its way: what is sent, and what a response is told by."""

    message: Message = field(repr=False)
    wire: bytes = field(repr=False)


def make_query(question: Question) -> Query:
    """Return a query with an id that cannot be guessed.

    Raises:
        DNSException: the name is too long.
    """
    name = dns.name.from_text(f"{question.name}.")
    message = dns.message.make_query(
        name, question.kind, want_dnssec=True, payload=PAYLOAD_OCTETS, id=randbelow(_IDS), flags=_FLAGS
    )
    return Query(message, message.to_wire())


def read_response(query: Query, wire: bytes) -> QueryMessage | None:
    """Return the response to a query, ``None`` if the octets are none, belong to another, or are too many."""
    if len(wire) < _HEADER_OCTETS or sum(unpack_from("!3H", wire, _COUNTS_AT)) > MAX_RECORDS:
        return None
    try:
        response = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return None
    if isinstance(response, QueryMessage) and query.message.is_response(response):
        return response
    return None


def is_truncated(response: QueryMessage) -> bool:
    """Return whether there is more of a response than fits."""
    return bool(response.flags & dns.flags.TC)


def resolution_of(response: QueryMessage, *, trusted: bool) -> Resolution:
    """Return what a whole response says.

    Args:
        response: to the query.
        trusted: whether the server's word that DNSSEC vouches for it is taken.
    """
    rcode = response.rcode()
    if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return Resolution(Answer.FAILED, reason=dns.rcode.to_text(rcode).lower())
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException:
        return Resolution(Answer.FAILED, reason="malformed")
    return Resolution(
        answer=Answer.FOUND if chain.answer else Answer.ABSENT,
        secure=trusted and bool(response.flags & dns.flags.AD),
        exists=rcode == dns.rcode.NOERROR,
        name=text_of(chain.canonical_name),
        records=tuple(chain.answer or ()),
        ttl_s=float(chain.minimum_ttl),
    )


def addresses_of(answers: Iterable[Resolution]) -> list[Address]:
    """Return the addresses in A and AAAA records."""
    return [ip_address(str(cast("Any", record).address)) for answer in answers for record in answer.records]


def text_of(name: dns.name.Name) -> str:
    """Return a name in lower case, without the root's dot; that of the root is empty."""
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")


_FLAGS: Final = dns.flags.RD | dns.flags.AD
