"""Cut a client's octets into command lines, where nothing but CRLF ends a line.

Source: RFC 5321 s2.3.8 (lines, bare CR and LF), s4.1.1.4 (LF alone ends none), s4.5.3.1.4 (length).

A peer that takes a bare LF for the end of a line, behind one that does not, is how commands are smuggled: a bare LF is
therefore a fault as soon as it is seen, and the reader is finished. The result never depends on how the input was cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smtpproxy.smtp.limits import DISCARDED_LINE_OCTETS

_CR = 13


class LineFault(Enum):
    """Why a line is no command line. After ``BARE_LF`` and ``HOPELESS`` the reader gives nothing any more."""

    BARE_LF = "bare-lf"
    BARE_CR = "bare-cr"
    NUL = "nul"
    TOO_LONG = "line-too-long"
    HOPELESS = "line-without-end"


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its CRLF; ``octets`` is empty where there is a fault, so that nothing of it can be used."""

    octets: bytes
    fault: LineFault | None = None


class LineReader:
    """Collects octets and hands out lines.

    Args:
        limit_octets: the longest line, CRLF included; a longer one is dropped without being held.
        hopeless_octets: the longest line that is worth waiting for its end.
    """

    __slots__ = ("_buffer", "_discarded", "_finished", "_hopeless_octets", "_limit_octets", "_searched", "_to_skip")

    def __init__(self, limit_octets: int, hopeless_octets: int = DISCARDED_LINE_OCTETS) -> None:
        self._limit_octets = limit_octets
        self._hopeless_octets = hopeless_octets
        self._buffer = bytearray()
        self._searched = 0  # octets of the buffer that hold no LF
        self._discarded = 0  # octets of the current line that are gone
        self._to_skip = 0  # octets in front of the next line that are none
        self._finished = False

    @property
    def buffered(self) -> int:
        """Octets held."""
        return len(self._buffer)

    @property
    def first_octet(self) -> bytes:
        """The octet that the next line begins with; empty if none has come, or if it is gone already."""
        return b"" if self._discarded else bytes(self._buffer[:1])

    @property
    def is_skipping(self) -> bool:
        """Whether octets are still to come that are no lines."""
        return self._to_skip > 0

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        if self._finished:
            return
        if self._to_skip:
            skipped = min(self._to_skip, len(data))
            self._to_skip -= skipped
            data = data[skipped:]
        self._buffer += data

    def skip(self, octets: int) -> None:
        """Read and drop so many octets, from the start of the next line on; called between lines."""
        held = bytes(self._buffer)
        self._forget()
        self._to_skip += octets
        self.feed(held)

    def next_line(self) -> Line | None:
        """Return the next line, or ``None`` if more octets are needed."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched)
        if end < 0:
            return self._keep_or_discard()
        total = self._discarded + end + 1
        if total > self._hopeless_octets:
            return self._finish(LineFault.HOPELESS)
        if end == 0 or buffer[end - 1] != _CR:
            return self._finish(LineFault.BARE_LF)
        octets = bytes(buffer[: end - 1])
        del buffer[: end + 1]
        self._searched = self._discarded = 0
        if total > self._limit_octets or b"\r" in octets or b"\0" in octets:
            return Line(b"", _name_fault(octets, too_long=total > self._limit_octets))
        return Line(octets)

    def take_rest(self) -> bytes:
        """Hand over and forget everything held; used where content or TLS begins."""
        rest = bytes(self._buffer)
        self._forget()
        return rest

    def _keep_or_discard(self) -> Line | None:
        held = len(self._buffer)
        if not held:  # most often: one line came, and it was taken
            return None
        self._searched = held
        if self._discarded + held > self._hopeless_octets:
            return self._finish(LineFault.HOPELESS)
        if held > self._limit_octets:
            # The last octet stays: it may be the CR of the CRLF that ends the line.
            self._discarded += held - 1
            del self._buffer[:-1]
            self._searched = 1
        return None

    def _finish(self, fault: LineFault) -> Line:
        self._finished = True
        self._forget()
        return Line(b"", fault)

    def _forget(self) -> None:
        self._buffer.clear()
        self._searched = self._discarded = self._to_skip = 0


def _name_fault(octets: bytes, *, too_long: bool) -> LineFault:
    if too_long:
        return LineFault.TOO_LONG
    return LineFault.NUL if b"\0" in octets else LineFault.BARE_CR
