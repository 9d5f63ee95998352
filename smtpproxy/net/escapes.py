"""What a peer sent as printable text, so that no record can begin a new line or move a terminal's cursor."""

from __future__ import annotations


def escaped(octets: bytes) -> str:
    """Return octets of a peer as printable text; UTF-8 letters stay, all else becomes an escape."""
    return printable(octets.decode("utf-8", "backslashreplace"))


def printable(text: str) -> str:
    """Return text with escapes for whatever cannot be printed."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
