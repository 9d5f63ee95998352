"""End of data and newlines as an automaton, octet by octet: slow, and plain enough to be read as the rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a whole input gives: the content that goes on, whether it ended, what is left, and the fault."""

    octets: bytes
    ended: bool
    rest: bytes
    fault: str | None


def read_content(data: bytes, *, normalize: bool) -> Outcome:
    """Walk over ``data``; ``line`` is the raw line so far, ``after`` how the line before it ended."""
    out, line, after, fault = b"", b"", "crlf", None
    for index in range(len(data)):
        octet, before, behind = data[index : index + 1], data[:index][-1:], data[index + 1 : index + 2]
        line += octet
        if octet == b"\r" and behind not in (b"\n", b""):
            fault = fault or "bare-cr"
        elif octet == b"\n" and before == b"\r":
            if line == b".\r\n" and after == "crlf":
                return Outcome(out, ended=True, rest=data[index + 1 :], fault=fault)
            out += (b"." if after == "lf" and line[:1] == b"." else b"") + line
            line, after = b"", "crlf"
        elif octet == b"\n":
            fault = fault if normalize else (fault or "bare-lf")
            text = b"" if line == b".\n" and after == "crlf" else line[:-1]
            out += (b"." if after == "lf" and text[:1] == b"." else b"") + text + b"\r\n"
            line, after = b"", "lf"
    return Outcome(
        out + (b"." if after == "lf" and line[:1] == b"." else b"") + line, ended=False, rest=b"", fault=fault
    )
