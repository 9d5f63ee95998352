"""x-TLSLevel: a header field by which a message asks for the encryption of its way on.

docs/adr/0037-tls-level-header.md says how it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.smtp.headers import Headers

FIELD: Final = b"x-TLSLevel"
VALUE_OCTETS: Final = 200
"""Either word has a few; the rest is room for a comment."""

# comment = "(" *([FWS] ccontent) [FWS] ")" ; ccontent = ctext / quoted-pair / comment (RFC 5322 s3.2.2)
_COMMENT: Final = re.compile(rb"\((?:[^()\\]|\\.)*+\)")


@dataclass(frozen=True, slots=True)
class TlsLevelHeader:
    """Whether messages may ask by the field, and whether it is taken out where they may."""

    honour: bool = False
    strip: bool = True


NOT_HONOURED: Final = TlsLevelHeader()


class Finding(IdentityEnum):
    """What is odd about a message's fields; its value is a token for the record."""

    REPEATED = "tls-level-repeated"  # the first counts
    UNREADABLE = "tls-level-unreadable"  # the first is neither word, and counts as Require


@dataclass(frozen=True, slots=True)
class TlsLevel:
    """What a message asks for.

    Args:
        headers: as they are to go on.
        level: what is asked for, ``None`` for nothing.
        findings: what is odd.
    """

    headers: Headers
    level: RecipientEncryption | None = None
    findings: tuple[Finding, ...] = ()


def read_tls_level(header: TlsLevelHeader, headers: Headers) -> TlsLevel:
    """Return what a message asks for by its first field, and the headers with or without all of them."""
    values = headers.values(FIELD) if header.honour else []
    if not values:
        return TlsLevel(headers)
    level = _WORDS.get(_word(values[0]))
    found = {Finding.REPEATED: len(values) > 1, Finding.UNREADABLE: level is None}
    return TlsLevel(
        headers.removed(FIELD) if header.strip else headers,
        level or RecipientEncryption.REQUIRED,
        tuple(finding for finding, is_so in found.items() if is_so),
    )


_WORDS: Final = {b"require": RecipientEncryption.REQUIRED, b"try": RecipientEncryption.PREFERRED}
HEADER_LEVELS: Final = frozenset(_WORDS.values())
"""What messages may ask for by the field."""


def _word(value: bytes) -> bytes:
    """Return what stands outside of comments, in lower case; nothing of what is too long for either word."""
    if len(value) > VALUE_OCTETS:
        return b""
    outside = value
    while (shorter := _COMMENT.sub(b" ", outside)) != outside:  # the innermost first
        outside = shorter
    return outside.strip().lower()
