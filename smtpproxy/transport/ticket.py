"""Read from an encoded session by what ticket, and for how long, its server would resume it.

Source: OpenSSL's ssl_asn1.c (the encoding of d2i_SSL_SESSION(3)); X.690 s8.1 (tags and lengths); RFC 8446 s4.6.1 and
RFC 5077 s3.3 (a ticket's lifetime).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smtpproxy.tls.facts import TlsVersion

# SSL_SESSION ::= SEQUENCE { version INTEGER, ssl_version INTEGER, cipher OCTET STRING, session_id OCTET STRING,
#     master_key OCTET STRING, ..., [9] tlsext_tick_lifetime_hint INTEGER (left out if 0), [10] tlsext_tick, ... }
_LIFETIME_HINT: Final = 0xA9
_TICKET: Final = 0xAA
_LONG_FORM: Final = 0x80
_VERSION, _SESSION_ID = 1, 3


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a server resumes a session by.

    Args:
        octets: opaque; empty where the server knows the session by its id (TLS 1.2 and before).
        lifetime_s: for how many seconds it may be offered, at least 1.
    """

    octets: bytes
    lifetime_s: int


def ticket_of(encoded: bytes, otherwise_s: int) -> Ticket | None:
    """Return the ticket of a session, ``None`` if it cannot be resumed.

    Args:
        encoded: the session as OpenSSL writes it.
        otherwise_s: the lifetime where the server gave none.
    """
    fields = list(_fields(encoded))
    octets = b"".join(_inner(value) for tag, value in fields if tag == _TICKET)
    hint_s = int.from_bytes(b"".join(_inner(value) for tag, value in fields if tag == _LIFETIME_HINT))
    if int.from_bytes(fields[_VERSION][1]) >= TlsVersion.TLS1_3:
        return Ticket(octets, hint_s) if octets and hint_s else None  # 0: to be thrown away at once
    if octets:
        return Ticket(octets, hint_s or otherwise_s)  # 0: not told
    return Ticket(b"", otherwise_s) if fields[_SESSION_ID][1] else None


def _fields(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    start, _ = _contents(encoded, 0)
    while start < len(encoded):
        tag = encoded[start]
        start, end = _contents(encoded, start)
        yield tag, encoded[start:end]
        start = end


def _inner(value: bytes) -> bytes:
    """Return the contents of what an explicit tag holds."""
    start, end = _contents(value, 0)
    return value[start:end]


def _contents(octets: bytes, position: int) -> tuple[int, int]:
    """Return where the contents of the element at ``position`` begin and end."""
    length, start = octets[position + 1], position + 2
    if length & _LONG_FORM:
        start, length = start + (length & ~_LONG_FORM), int.from_bytes(octets[start : start + (length & ~_LONG_FORM)])
    return start, start + length
