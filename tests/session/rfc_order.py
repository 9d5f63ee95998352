"""The order of commands as RFC 5321 has it, in one small table, and a server that keeps to it.

Source: RFC 5321 s4.1.4 (order), s4.3.2 (replies); RFC 2920 s3.1 (a server may answer 354 without a recipient); RFC 3030
s2 (BDAT in place of DATA). Nothing of the package is used: a session is held against this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto


class Place(Enum):
    """Where a dialogue is."""

    GREETED = auto()
    IDENTIFIED = auto()
    SENDER = auto()
    RECIPIENTS = auto()
    CHUNKS = auto()
    CONTENT = auto()


_EVERYWHERE = {Place.GREETED, Place.IDENTIFIED, Place.SENDER, Place.RECIPIENTS, Place.CHUNKS}
_ORDER: dict[str, tuple[set[Place], Place | None]] = {
    "EHLO": (_EVERYWHERE, Place.IDENTIFIED),
    "HELO": (_EVERYWHERE, Place.IDENTIFIED),
    "NOOP": (_EVERYWHERE, None),
    "VRFY": (_EVERYWHERE, None),
    "RSET": (_EVERYWHERE, Place.IDENTIFIED),
    "QUIT": (_EVERYWHERE, None),
    "ETRN": ({Place.IDENTIFIED}, None),
    "MAIL": ({Place.IDENTIFIED}, Place.SENDER),
    "RCPT": ({Place.SENDER, Place.RECIPIENTS}, Place.RECIPIENTS),
    "DATA": ({Place.RECIPIENTS}, Place.CONTENT),
    "BDAT": ({Place.RECIPIENTS, Place.CHUNKS}, Place.CHUNKS),
}


@dataclass(frozen=True)
class Said:
    """A command line, and the octets of its chunk."""

    line: str
    octets: bytes = b""

    @property
    def verb(self) -> str:
        return self.line.partition(" ")[0]

    @property
    def last(self) -> bool:
        return self.line.endswith(" LAST")

    @property
    def wire(self) -> bytes:
        return self.line.encode() + b"\r\n" + self.octets


def after(place: Place, said: Said) -> Place:
    """Return where a granted command leads to."""
    if said.verb == "RSET" and place is Place.GREETED:
        return place
    if said.last:
        return Place.IDENTIFIED
    return _ORDER[said.verb][1] or place


def allows(place: Place, said: Said) -> bool:
    """Return whether a command is in order."""
    return said.verb in _ORDER and place in _ORDER[said.verb][0]


@dataclass
class Heard:
    """What the server was told, and the code that it answered."""

    said: Said
    code: int


@dataclass
class Server:
    """A server that refuses what is out of order, and else what ``whims`` tells it to.

    Args:
        keywords: what its EHLO offers.

    Attributes:
        whims: the codes of the next commands that may be refused; without any they are granted.
        eager: whether DATA without a recipient is answered 354 all the same, and then must be sent nothing.
        heard: everything since it was cleared.
        messages: what it took, in order.
    """

    keywords: tuple[str, ...]
    whims: list[int | None] = field(default_factory=list)
    eager: bool = False
    heard: list[Heard] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    place: Place = Place.GREETED
    _for_nobody: bool = False
    _buffer: bytes = b""
    _content: bytes = b""

    def take(self, octets: bytes) -> Iterator[bytes]:
        """Read; yield the replies."""
        self._buffer += octets
        while (reply := self._next()) is not None:
            yield reply

    def _next(self) -> bytes | None:
        if self.place is Place.CONTENT:
            return self._end_of_data()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        size = int(line.split()[1]) if line.startswith(b"BDAT") else 0
        if len(rest) < size:
            return None
        self._buffer = rest[size:]
        return self._answer(Said(line.decode(), rest[:size]))

    def _end_of_data(self) -> bytes | None:
        content, end, rest = (b"\r\n" + self._buffer).partition(b"\r\n.\r\n")
        if not end:
            return None
        self._buffer, self.place = rest, Place.IDENTIFIED
        self._content = (content + b"\r\n")[2:]
        return self._judge(Said("."))

    def _answer(self, said: Said) -> bytes:
        if said.verb == "BDAT":
            self._content = (self._content if self.place is Place.CHUNKS else b"") + said.octets
        if said.last and allows(self.place, said):
            self.place = Place.IDENTIFIED
            return self._judge(said)
        code = self._code(said)
        if code < 400:
            self.place = after(self.place, said)
        self.heard.append(Heard(said, code))
        if said.verb == "EHLO" and code == 250:
            lines = ["mx.test", *self.keywords]
            return "".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode()
        return b"%d so be it\r\n" % code

    def _code(self, said: Said) -> int:
        if said.verb == "DATA" and self.place is Place.SENDER and self.eager:
            self._for_nobody = True
            return 354
        if not allows(self.place, said):
            return 503
        if said.verb in {"RSET", "NOOP", "QUIT"}:  # never refused
            return 221 if said.verb == "QUIT" else 250
        return self._whim(354 if said.verb == "DATA" else 250)

    def _judge(self, said: Said) -> bytes:
        assert not (self._for_nobody and self._content), "content of a message for nobody"
        code = 554 if self._for_nobody else self._whim(250)
        self._for_nobody = False
        if code < 400:
            self.messages.append(self._content)
        self.heard.append(Heard(said, code))
        self._content = b""
        return b"%d so be it\r\n" % code

    def _whim(self, usual: int) -> int:
        return (self.whims.pop(0) if self.whims else None) or usual
