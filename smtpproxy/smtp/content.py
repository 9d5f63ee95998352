"""Find the end of DATA content and keep what goes upstream free of anything that could be another end.

Source: RFC 5321 s4.1.1.4 (only CRLF "." CRLF ends), s4.5.2 (transparency), s2.3.8 (bare CR and LF).

Content is looked at chunk by chunk with a few searches in C, never line by line. It stays dot-stuffed, as it came. Only
where a bare LF is met, and normalizing is asked for, is a chunk rewritten: a bare LF becomes CRLF, and dots are stuffed
anew, so that what upstream decodes is what the client's content says with each bare LF read as the end of a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from io import IncrementalNewlineDecoder
from typing import Final

_CRLF: Final = b"\r\n"
_LONE_DOT: Final = b".\r\n"  # with CRLF or nothing in front: the end
_NO_BARE_NEWLINES: Final = (None, "\r\n")


class ContentFault(Enum):
    """Why content is refused."""

    BARE_CR = "bare-cr"
    BARE_LF = "bare-lf"


@dataclass(frozen=True, slots=True)
class ContentChunk:
    """What one feed gave.

    Args:
        octets: dot-stuffed content that may go upstream as it is, without the final dot.
        ended: whether the end of data was met.
        rest: what followed the end of data.
    """

    octets: bytes
    ended: bool = False
    rest: bytes = b""


class ContentReader:
    """Reads the content of one message.

    Args:
        bare_newline_normalize: whether a bare LF is made CRLF; otherwise it is a fault, as a bare CR always is.
    """

    __slots__ = ("_before", "_ended", "_fault", "_held", "_newlines", "_normalize", "_normalized", "_octets_in")

    def __init__(self, bare_newline_normalize: bool) -> None:  # noqa: FBT001 - the reader's one setting
        self._normalize = bare_newline_normalize
        self._before = _CRLF  # the last two octets in front of those held: content begins at the start of a line
        self._held = b""
        self._fault: ContentFault | None = None
        self._normalized = False
        self._octets_in = 0
        self._ended = False
        # Of what was measured the cheapest that tells bare newlines from CRLF: docs/adr/0002-content-scan.md.
        self._newlines = IncrementalNewlineDecoder(None, translate=False)

    @property
    def fault(self) -> ContentFault | None:
        """The first fault met; nothing after it may go upstream."""
        return self._fault

    @property
    def normalized(self) -> bool:
        """Whether content that goes upstream was changed: a bare LF became CRLF."""
        return self._normalized and self._fault is None

    @property
    def octets_in(self) -> int:
        """Octets of content received so far, dot-stuffed, without those held and without the final dot."""
        return self._octets_in

    def feed(self, data: bytes) -> ContentChunk:
        """Take what was received and return what may go on; after the end, everything is ``rest``."""
        if self._ended:
            return ContentChunk(b"", ended=True, rest=data)
        if self._held:
            data = self._held + data
            self._held = b""
        end = self._find_end(data)
        if end >= 0:
            self._ended = True
            return ContentChunk(self._take(data[:end]), ended=True, rest=data[end + len(_LONE_DOT) :])
        self._held = self._begun_end(data)
        return ContentChunk(self._take(data[: -len(self._held)] if self._held else data))

    def _find_end(self, data: bytes) -> int:
        """Return where the final dot stands, or -1."""
        if self._before == _CRLF and data.startswith(_LONE_DOT):
            return 0
        if b"." not in data:  # true of base64, and twenty times cheaper than the search that it saves
            return -1
        found = data.find(_CRLF + _LONE_DOT)
        return found + len(_CRLF) if found >= 0 else -1

    def _begun_end(self, data: bytes) -> bytes:
        """Return the octets to hold back: a dot at the start of a line, with or without a CR, or a CR alone."""
        last = (self._before + data if len(data) < len(_CRLF + _LONE_DOT) else data)[-4:]
        if last == b"\r\n.\r":
            return b".\r"
        if last.endswith(b"\r"):
            return b"\r"
        return b"." if last.endswith(b"\r\n.") else b""

    def _take(self, body: bytes) -> bytes:
        """Count and check octets of content and return what may go upstream of them."""
        octets = b"" if self._fault is not None else self._check(body)
        self._octets_in += len(body)
        self._before = (self._before + body[-2:])[-2:]
        return octets

    def _check(self, body: bytes) -> bytes:
        self._newlines.decode(body.decode("latin-1"), final=True)
        if self._newlines.newlines in _NO_BARE_NEWLINES:
            return b"." + body if self._after_bare_lf and body.startswith(b".") else body
        self._newlines.reset()
        self._fault = self._find_fault(body.replace(_CRLF, b""))
        return b"" if self._fault else self._write_newlines_anew(body)

    def _find_fault(self, without_crlf: bytes) -> ContentFault | None:
        cr, lf = without_crlf.find(b"\r"), without_crlf.find(b"\n")
        if cr >= 0 and (self._normalize or lf < 0 or cr < lf):
            return ContentFault.BARE_CR
        return None if self._normalize else ContentFault.BARE_LF

    def _write_newlines_anew(self, body: bytes) -> bytes:
        """Make each bare LF a CRLF and stuff dots anew; in C, for a hostile body can be nothing but LF."""
        self._normalized = True
        before = b"\n" if self._after_bare_lf else b"\r" if self._before == _CRLF else b""
        octets = before + body.replace(_CRLF, b"\r")  # no bare CR is left: until the end CR stands for a real CRLF
        octets = octets.replace(b"\r.\n", b"\r\n")  # a lone dot was stuffed for the client's line, which is empty
        octets = octets.replace(b"\n.", b"\n..")
        octets = octets.replace(b"\n", b"\r").replace(b"\r", _CRLF)
        return octets[len(_CRLF) :] if before else octets

    @property
    def _after_bare_lf(self) -> bool:
        return self._before.endswith(b"\n") and self._before != _CRLF


def stuff(content: bytes) -> bytes:
    """Return content with the leading dot of each line doubled (RFC 5321 s4.5.2)."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def unstuff(octets: bytes) -> bytes:
    """Return content with the leading dot of each line removed (RFC 5321 s4.5.2)."""
    unstuffed = octets.replace(b"\r\n.", b"\r\n")
    return unstuffed[1:] if octets.startswith(b".") else unstuffed
