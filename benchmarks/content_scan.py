"""Measure ways to see a bare CR or bare LF in a chunk of content.

Run it with ``python benchmarks/content_scan.py``; what was decided is in ``docs/adr/0002-content-scan.md``.
"""

from __future__ import annotations

import io
import re
import time
from typing import TYPE_CHECKING

from smtpproxy.smtp.content import ContentReader

if TYPE_CHECKING:
    from collections.abc import Callable

_MEBIOCTET = 1 << 20
_SIZES = (16 * 1024, 64 * 1024, 256 * 1024)
_ROUNDS = 30
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_ALL_BUT_CR_LF = bytes(octet for octet in range(256) if octet not in b"\r\n")
_BASE64_LINE = b"T3JpZ2luYWwgdGV4dCBvZiBhIHR5cGljYWwgYXR0YWNobWVudCwgYXMgYmFzZTY0IG1ha2VzIGl0IQ==\r\n"
_TEXT_LINES = b"Dear colleague,\r\n\r\nthe figures of last week are better than we thought.\r\n> quoted\r\nRegards\r\n"


def three_counts(chunk: bytes) -> bool:
    """Compare the counts of CR, LF and CRLF."""
    pairs = chunk.count(b"\r\n")
    return chunk.count(b"\n") != pairs or chunk.count(b"\r") != pairs


def replace_and_in(chunk: bytes) -> bool:
    """Take CRLFs out and look for what is left."""
    left = chunk.replace(b"\r\n", b"")
    return b"\n" in left or b"\r" in left


def newline_decoder(chunk: bytes) -> bool:
    """Ask the decoder behind universal newlines which kinds it saw."""
    decoder = io.IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(chunk.decode("latin-1"), final=True)
    return decoder.newlines not in (None, "\r\n")


def translate_unsound(chunk: bytes) -> bool:
    """Take CR x LF for CRLF: no candidate, but what one pass by a table costs."""
    newlines = chunk.translate(None, _ALL_BUT_CR_LF)
    return newlines != b"\r\n" * (len(newlines) // 2)


def regex(chunk: bytes) -> bool:
    """Search with one pattern."""
    return _BARE.search(chunk) is not None


def count_lf_only(chunk: bytes) -> bool:
    """Count one octet: no candidate, but what a pass costs."""
    return chunk.count(b"\n") < 0


def find_dot_only(chunk: bytes) -> bool:
    """Look for a dot, without which there is no end."""
    return b"." in chunk


def find_end_only(chunk: bytes) -> bool:
    """Search for the end of data."""
    return chunk.find(b"\r\n.\r\n") >= 0


def whole_reader(chunk: bytes) -> bool:
    """Do all that the proxy does with a chunk."""
    return ContentReader(bare_newline_normalize=True).feed(chunk).ended


_CANDIDATES = (
    three_counts,
    replace_and_in,
    newline_decoder,
    translate_unsound,
    regex,
    count_lf_only,
    find_dot_only,
    find_end_only,
    whole_reader,
)


def microseconds_per_mebioctet(candidate: Callable[[bytes], bool], chunk: bytes) -> float:
    """Return the best of several rounds, each over about four mebioctets."""
    calls = 4 * _MEBIOCTET // len(chunk)
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        for _ in range(calls):
            candidate(chunk)
        best = min(best, time.perf_counter() - begun)
    return best * 1e6 / (calls * len(chunk) / _MEBIOCTET)


def main() -> None:
    """Print a table: candidates by body and chunk size, and the reader alone on bodies that it must write anew."""
    for name, line in (("base64", _BASE64_LINE), ("text", _TEXT_LINES)):
        for size in _SIZES:
            for candidate in _CANDIDATES:
                report(name, candidate, filled(line, size))
    for name, line in (("lf lines", _TEXT_LINES.replace(b"\r\n", b"\n")), ("lf only", b"\n"), ("lf dots", b"\n.")):
        report(name, whole_reader, filled(line, _SIZES[1]))


def filled(line: bytes, size: int) -> bytes:
    """Return a chunk of ``size`` octets that does not end inside a CRLF."""
    return (line * (size // len(line) + 1))[: size - 2] + b"xx"


def report(name: str, candidate: Callable[[bytes], bool], chunk: bytes) -> None:
    """Measure and print one line."""
    figure = microseconds_per_mebioctet(candidate, chunk)
    print(f"{name:8} {len(chunk) // 1024:4} KiB {candidate.__name__:20} {figure:8.0f} us/MiB")


if __name__ == "__main__":
    main()
