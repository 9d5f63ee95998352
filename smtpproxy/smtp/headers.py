"""The header block of a message: find where it ends, look fields up in it, add and remove fields, keep all else.

Source: RFC 5322 s2.1 (the empty line), s2.1.1 (length of lines), s2.2 (fields), s2.2.3 (folding), s4.5 (white space
before the colon); RFC 5321 s4.5.2 (dots).

Receivers do not agree about lines that are no fields: docs/adr/0025-header-block.md says what is taken for a header
here, and why it is never less than what any of them takes for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.limits import HEADER_LINE_OCTETS, HEADER_OCTETS

if TYPE_CHECKING:
    from collections.abc import Iterator

_CRLF: Final = b"\r\n"
_EMPTY_LINE: Final = _CRLF + _CRLF
_KEPT_PATTERNS: Final = 512  # names come from the configuration, so they are few

# Lines in front of the fields that come out of a mailbox file: Postfix makes fields of them if nothing stands before.
_MAILBOX_LINES: Final = re.compile(rb"(?:>*+From [^\r\n]*+\r\n)*+")

_WORDS: Final = re.compile(rb"[ \t]++[^ \t]*+")  # with the white space in front, so that no line is of that alone

# A line that continues the one before for Postfix, which removes the dot first, and ends the header for Exim.
_DOT_AND_FOLD: Final = re.compile(rb"\r\n\.[ \t]")


class HeadersTooLong(ProtocolError):  # noqa: N818 - it says what is wrong
    """The header block does not end within its limit."""

    def __init__(self) -> None:
        super().__init__("headers-too-long")


class HeadersUnclear(ProtocolError):  # noqa: N818 - it says what is wrong
    """Each receiver reads the header block otherwise: it has a bare CR or LF, a NUL, or a dot in front of a fold."""

    def __init__(self) -> None:
        super().__init__("headers-unclear")


@dataclass(frozen=True, slots=True)
class Headers:
    """A header block, and what was done to it.

    Args:
        block: the octets as they came, each line with its CRLF, without the empty line at the end.
        stuffed: whether receivers remove a dot from the start of each line: so in DATA, not in BDAT.
        new: fields put in front, the last one first, each with its name and value.
        gone: names in lower case of fields that are taken out of ``block``.
    """

    block: bytes
    stuffed: bool = True
    new: tuple[tuple[bytes, bytes], ...] = ()
    gone: frozenset[bytes] = frozenset()

    def values(self, name: bytes) -> list[bytes]:
        """Return the value of each field of that name, in any case: unfolded, without white space around it."""
        key = name.lower()
        found = [value for each, value in self.new if each.lower() == key]
        if key not in self.gone:
            fields = _fields(key, self.stuffed).finditer(_CRLF + self.block)
            found += [field[1].replace(_CRLF, b"").strip() for field in fields]
        return found

    def added(self, name: bytes, value: bytes) -> Headers:
        """Return the headers with a new field in front of all others.

        Args:
            name: letters, digits and the like; it does not begin with a dot.
            value: one line, without white space around it.
        """
        return replace(self, new=((name, value), *self.new))

    def removed(self, name: bytes) -> Headers:
        """Return the headers without any field of that name; the same object if there is none."""
        if not self.values(name):
            return self
        key = name.lower()
        new = tuple(field for field in self.new if field[0].lower() != key)
        return replace(self, new=new, gone=self.gone | {key})

    def replaced(self, name: bytes, value: bytes) -> Headers:
        """Return the headers with one field of that name, in front of all others, where every reader finds it."""
        return self.removed(name).added(name, value)

    def to_wire(self) -> bytes:
        """Return the block: what came, but for the fields added and removed, octet for octet."""
        kept = self.block
        for key in self.gone:
            kept = b"".join(_without(kept, _fields(key, self.stuffed)))
        return self._with_new_fields(kept) if self.new else kept

    def _with_new_fields(self, block: bytes) -> bytes:
        """Put the new fields in front; what begins with white space must not become a part of them.

        Neither Postfix nor Exim sees a field in such a block; an empty line, as Postfix itself puts there, costs none.
        """
        at = _MAILBOX_LINES.match(block).end()  # type: ignore[union-attr]  # it matches nothing, too
        lines = [fold(name, value) for name, value in self.new]
        begins_folded = block.startswith((b" ", b"\t"), at)
        return b"".join([block[:at], *lines, _CRLF if begins_folded else b"", block[at:]])


@lru_cache(_KEPT_PATTERNS)
def _fields(name: bytes, stuffed: bool) -> re.Pattern[bytes]:  # noqa: FBT001 - a cache's key
    """Return the pattern of fields of a name, from the CRLF in front to the one at the end, without it.

    No repetition gives anything back, so a search is linear. White space before the colon may even be folded: Exim
    takes it so.
    """
    start = rb"\r\n\.?+" if stuffed else rb"\r\n"
    gap = rb"(?:[ \t\v\f]|\r\n[ \t])*+"
    value = rb"((?:[^\r]++|\r(?!\n)|\r\n[ \t])*+)"
    return re.compile(start + rb"(?i:" + re.escape(name) + rb")" + gap + rb":" + value)


def _without(block: bytes, fields: re.Pattern[bytes]) -> Iterator[bytes]:
    text = _CRLF + block
    kept_to = len(_CRLF)
    for field in fields.finditer(text):
        yield text[kept_to : field.start() + len(_CRLF)]
        kept_to = field.end() + len(_CRLF)
    yield text[kept_to:]


def fold(name: bytes, value: bytes) -> bytes:
    """Return a field as lines of at most 78 octets, as far as the white space in its value lets it."""
    first, *words = _WORDS.findall(b" " + value)
    lines = [name + b":" + first]
    for word in words:
        if len(lines[-1]) + len(word) > HEADER_LINE_OCTETS:
            lines.append(b"")
        lines[-1] += word
    return _CRLF.join([*lines, b""])


@dataclass(frozen=True, slots=True)
class CollectedHeaders:
    """The header block is whole.

    Args:
        block: the headers.
        rest: what came behind them, which begins with the CRLF of the empty line; nothing if there was none.
    """

    block: Headers
    rest: bytes


class HeaderCollector:
    """Takes the octets of content as they come until the header block is whole; no further use behind that.

    Only an empty line ends the block: a line that is no field ends it for Postfix and Exim, but not for all readers.

    Args:
        limit_octets: the longest block.
        stuffed: whether the content is dot-stuffed: so in DATA, not in BDAT.
    """

    __slots__ = ("_buffer", "_limit_octets", "_stuffed")

    def __init__(self, limit_octets: int = HEADER_OCTETS, *, stuffed: bool = True) -> None:
        self._limit_octets = limit_octets
        self._stuffed = stuffed
        self._buffer = bytearray(_CRLF)  # content begins at the start of a line

    def feed(self, octets: bytes) -> CollectedHeaders | None:
        """Take the next octets; return the block once it is whole, ``None`` before.

        Raises:
            HeadersTooLong: it does not end within the limit.
            HeadersUnclear: receivers would not agree on it.
        """
        buffer = self._buffer
        searched_to = max(0, len(buffer) - len(_EMPTY_LINE) + 1)
        buffer += octets
        end = buffer.find(_EMPTY_LINE, searched_to)
        if end >= 0:
            return self._collect(end + len(_CRLF))
        if len(buffer) > self._limit_octets + len(_EMPTY_LINE) - 1:
            self._check(len(buffer))
        return None

    def finish(self) -> CollectedHeaders:
        """Return the block of content that ended without an empty line: all of it.

        Raises:
            HeadersTooLong: it is longer than the limit.
            HeadersUnclear: receivers would not agree on it.
        """
        return self._collect(len(self._buffer))

    def _collect(self, end: int) -> CollectedHeaders:
        self._check(end)
        buffer = self._buffer
        return CollectedHeaders(Headers(bytes(buffer[len(_CRLF) : end]), self._stuffed), bytes(buffer[end:]))

    def _check(self, end: int) -> None:
        """Look at no more than the limit, or the fault would depend on how the octets were cut."""
        within = len(_CRLF) + self._limit_octets
        seen = bytes(self._buffer[: min(end, within)])
        if end > within:
            seen = seen.removesuffix(b"\r")
        if not seen.count(_CRLF) == seen.count(b"\r") == seen.count(b"\n") or b"\0" in seen:
            raise HeadersUnclear
        if self._stuffed and _DOT_AND_FOLD.search(seen):
            raise HeadersUnclear
        if end > within:
            raise HeadersTooLong
