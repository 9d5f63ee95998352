"""The reply type, and the reader that makes replies of upstream's octets.

Source: RFC 5321 s4.2 and s4.2.1 (form of replies), s4.5.3.1.5 (length); RFC 2034 s4 and RFC 3463 s2 (enhanced codes).

The reader is strict: a reply that two programs could understand in two ways is not relayed but ends the session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.limits import REPLY_LINE_OCTETS, REPLY_LINES, REPLY_OCTETS
from smtpproxy.smtp.lines import Line, LineReader

# status-code = class "." subject "." detail ; class = "2"/"4"/"5" ; subject, detail = 1*3digit (RFC 3463 s2)
_ENHANCED: Final = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |\Z)")
# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF ; Reply-code = %x32-35 2DIGIT
# textstring = 1*(%d09 / %d32-126), here with 8-bit octets, which UTF-8 servers send
_REPLY_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([\t\x20-\x7e\x80-\xff]*+))?\Z")
_FINAL: Final = b" "
_CRLF_OCTETS: Final = 2


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply code and the text of each line, with the enhanced status code where there is one."""

    code: int
    lines: tuple[bytes, ...]

    @classmethod
    def own(cls, code: int, enhanced: tuple[int, int] | None, text: str) -> Reply:
        """Make a reply of the proxy's own; the class of the enhanced code is that of ``code``."""
        if enhanced is not None:
            text = f"{code // 100}.{enhanced[0]}.{enhanced[1]} {text}"
        return cls(code, (text.encode("ascii"),))

    def to_wire(self) -> bytes:
        """Return the octets; the space stands even before an empty text, since clients miss it."""
        code = b"%d" % self.code
        *before, last = self.lines
        return b"".join([b"%b-%b\r\n" % (code, line) for line in before]) + b"%b %b\r\n" % (code, last)

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code of the first line, if its class agrees with the reply code."""
        match = _ENHANCED.match(self.lines[0])
        if match is None or int(match[1]) != self.code // 100:
            return None
        return match.group().decode()

    @property
    def is_positive(self) -> bool:
        """Whether the command was done (2yz)."""
        return self.code // 100 == 2  # noqa: PLR2004 - the first digit is the grammar

    @property
    def is_intermediate(self) -> bool:
        """Whether more is awaited (3yz)."""
        return self.code // 100 == 3  # noqa: PLR2004 - the first digit is the grammar

    @property
    def is_transient(self) -> bool:
        """Whether the command failed for now (4yz)."""
        return self.code // 100 == 4  # noqa: PLR2004 - the first digit is the grammar

    @property
    def is_permanent(self) -> bool:
        """Whether the command failed for good (5yz)."""
        return self.code // 100 == 5  # noqa: PLR2004 - the first digit is the grammar

    @property
    def text(self) -> str:
        """The first line for a log: printable characters, everything else escaped."""
        text = self.lines[0].decode("utf-8", "backslashreplace")
        return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


class ReplyError(ProtocolError):
    """What upstream sent is no reply, or one over a limit."""


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """How much one reply may be."""

    line_octets: int = REPLY_LINE_OCTETS
    lines: int = REPLY_LINES
    octets: int = REPLY_OCTETS


_DEFAULT_LIMITS: Final = ReplyLimits()


class ReplyReader:
    """Collects octets and hands out replies; after an error it stays failed."""

    __slots__ = ("_code", "_error", "_limits", "_lines", "_octets", "_reader")

    def __init__(self, limits: ReplyLimits = _DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._reader = LineReader(limits.line_octets, hopeless_octets=limits.line_octets)
        self._error: str | None = None
        self._code = b""
        self._lines: list[bytes] = []
        self._octets = 0

    @property
    def buffered(self) -> int:
        """Octets held, those of a reply that is not complete included."""
        return self._reader.buffered + self._octets

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._reader.feed(data)

    def next_reply(self) -> Reply | None:
        """Return the next reply, or ``None`` if more octets are needed.

        Raises:
            ReplyError: upstream broke the grammar or a limit, now or earlier.
        """
        if self._error is not None:
            raise ReplyError(self._error)
        while line := self._reader.next_line():
            if self._add(line):
                return self._complete()
        return None

    def take_rest(self) -> bytes:
        """Hand over and forget everything held; used where TLS begins, to see that there is nothing."""
        begun = b"".join([b"%b-%b\r\n" % (self._code, line) for line in self._lines])
        self._begin_reply()
        return begun + self._reader.take_rest()

    def _add(self, line: Line) -> bool:
        """Take in one line and tell whether it was the reply's last."""
        if line.fault is not None:
            self._fail(f"reply-{line.fault.value}")
        match = _REPLY_LINE.match(line.octets)
        if match is None:
            self._fail("reply-syntax")
        code, separator, text = match.groups()
        if self._lines and code != self._code:
            self._fail("reply-codes-differ")
        self._code = code
        self._lines.append(text or b"")
        self._octets += len(line.octets) + _CRLF_OCTETS
        if len(self._lines) > self._limits.lines or self._octets > self._limits.octets:
            self._fail("reply-too-long")
        return separator is None or separator == _FINAL

    def _complete(self) -> Reply:
        reply = Reply(int(self._code), tuple(self._lines))
        self._begin_reply()
        return reply

    def _begin_reply(self) -> None:
        self._code = b""
        self._lines = []
        self._octets = 0

    def _fail(self, reason: str) -> NoReturn:
        self._error = reason
        self._begin_reply()
        self._reader.take_rest()
        raise ReplyError(reason)
