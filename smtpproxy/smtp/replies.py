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

# status-code = class "." subject "." detail ; class = "2"/"4"/"5" ; subject, detail = 1*3digit (RFC 3463 s2)
_CLOSING: Final = 421
_ENHANCED: Final = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |\Z)")
# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
# Reply-code = %x32-35 %x30-35 %x30-39 ; here with any second digit, since clients go by the first
# textstring = 1*(%d09 / %d32-126), here with 8-bit octets, which UTF-8 servers send
_REPLY_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([\t\x20-\x7e\x80-\xff]*+))?\r\n")


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
    def is_closing(self) -> bool:
        """Whether the server closes the connection behind it (421; RFC 5321 s3.8)."""
        return self.code == _CLOSING

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

    __slots__ = ("_buffer", "_code", "_error", "_limits", "_lines", "_octets")

    def __init__(self, limits: ReplyLimits = _DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._error: str | None = None
        self._code = b""
        self._lines: list[bytes] = []
        self._octets = 0  # of the lines taken, CRLF included

    @property
    def buffered(self) -> int:
        """Octets held, those of a reply that is not complete included."""
        return len(self._buffer) + self._octets

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        if self._error is None:
            self._buffer += data

    def next_reply(self) -> Reply | None:
        """Return the next reply, or ``None`` if more octets are needed.

        Raises:
            ReplyError: upstream broke the grammar or a limit, now or earlier.
        """
        if self._error is not None:
            raise ReplyError(self._error)
        while (end := self._buffer.find(b"\n") + 1) > 0:
            if self._take_line(end):
                return self._complete()
        if len(self._buffer) > self._limits.line_octets:
            self._fail("reply-line-too-long")
        return None

    def take_rest(self) -> bytes:
        """Hand over and forget everything held; used where TLS begins, to see that there is nothing."""
        begun = b"".join([b"%b-%b\r\n" % (self._code, line) for line in self._lines])
        rest = begun + self._buffer
        self._begin_reply()
        self._buffer.clear()
        return rest

    def _take_line(self, end: int) -> bool:
        """Take in one line and tell whether it was the reply's last."""
        if end > self._limits.line_octets:
            self._fail("reply-line-too-long")
        match = _REPLY_LINE.match(self._buffer)
        if match is None:
            self._fail(_name_fault(bytes(self._buffer[:end])))
        code, separator, text = match.groups()
        del self._buffer[:end]
        if self._lines and code != self._code:
            self._fail("reply-codes-differ")
        self._code = code
        self._lines.append(text or b"")
        self._octets += end
        if len(self._lines) > self._limits.lines or self._octets > self._limits.octets:
            self._fail("reply-too-long")
        return separator != b"-"

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
        self._buffer.clear()
        raise ReplyError(reason)


def _name_fault(line: bytes) -> str:
    if not line.endswith(b"\r\n"):
        return "reply-bare-lf"
    if b"\r" in line[:-2]:
        return "reply-bare-cr"
    return "reply-nul" if b"\0" in line else "reply-syntax"
