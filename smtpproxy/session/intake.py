"""What comes in of a message: content up to its dot, or the octets of one chunk after another.

Source: RFC 5321 s4.1.1.4 (DATA); RFC 3030 s2 (BDAT: octets are counted and never looked at).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.model import BareNewline, General
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.content import ContentFault, ContentReader

_FAULTS: Final = {
    ContentFault.BARE_CR: Refuse(catalogue.BARE_CR, "bare-cr"),
    ContentFault.BARE_LF: Refuse(catalogue.BARE_NEWLINE, "bare-lf"),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What one read gave.

    Args:
        octets: content that may go upstream as it is.
        ended: whether the content, or the chunk, has come to its end.
        rest: what followed that end.
    """

    octets: bytes
    ended: bool = False
    rest: bytes = b""


class Intake(Protocol):
    """Cuts what the client sends into content and what follows it."""

    @property
    def octets_in(self) -> int:
        """Octets of content received so far."""

    @property
    def fault(self) -> Refuse | None:
        """Why the content is refused; nothing after it may go upstream."""

    @property
    def normalized(self) -> bool:
        """Whether content was changed: a bare LF became CRLF."""

    def take(self, data: bytes) -> Taken:
        """Take what was received."""


class DataIntake:
    """Content that ends with CRLF.CRLF."""

    __slots__ = ("_reader",)

    def __init__(self, general: General) -> None:
        self._reader = ContentReader(bare_newline_normalize=general.bare_newline is BareNewline.NORMALIZE)

    @property
    def octets_in(self) -> int:
        """Octets of content received so far, dot-stuffed, without the final dot."""
        return self._reader.octets_in

    @property
    def fault(self) -> Refuse | None:
        """The refusal of a bare newline."""
        return None if self._reader.fault is None else _FAULTS[self._reader.fault]

    @property
    def normalized(self) -> bool:
        """Whether a bare LF became CRLF."""
        return self._reader.normalized

    def take(self, data: bytes) -> Taken:
        """Take what was received."""
        chunk = self._reader.feed(data)
        return Taken(chunk.octets, chunk.ended, chunk.rest)


class ChunkIntake:
    """Content whose octets are counted."""

    __slots__ = ("octets_in", "remaining")

    fault: Refuse | None = None
    normalized = False

    def __init__(self) -> None:
        self.octets_in = 0
        self.remaining = 0

    def expect(self, octets: int) -> None:
        """Begin a chunk."""
        self.remaining = octets

    def take(self, data: bytes) -> Taken:
        """Take what was received."""
        octets = data[: self.remaining]
        self.remaining -= len(octets)
        self.octets_in += len(octets)
        return Taken(octets, not self.remaining, data[len(octets) :])
