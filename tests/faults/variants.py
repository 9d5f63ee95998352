"""The reference dialogue and the ways in which it is spoken: two messages on one session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Way: TypeAlias = Literal["clear", "starttls", "smtps"]
Content: TypeAlias = Literal["DATA", "BDAT"]
Passage: TypeAlias = Literal["stream", "headers", "whole"]

WAYS: Final[tuple[Way, ...]] = ("clear", "starttls", "smtps")
CONTENTS: Final[tuple[Content, ...]] = ("DATA", "BDAT")
HELD: Final[tuple[Passage, ...]] = ("headers", "whole")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to speak it, and how much of the content the gateway holds."""

    way: Way
    content: Content
    pipelined: bool
    passage: Passage = "stream"

    def __str__(self) -> str:
        return f"{self.way}_{self.content}_{'pipelined' if self.pipelined else 'one_by_one'}_{self.passage}"


def _variants() -> Iterator[Variant]:
    for content in CONTENTS:
        for pipelined in (False, True):
            for way in WAYS:
                yield Variant(way, content, pipelined)
            for passage in HELD:
                yield Variant("clear", content, pipelined, passage)


VARIANTS: Final = tuple(_variants())


@dataclass(frozen=True, slots=True)
class Message:
    """What a sender has to deliver; told from others by its sender's address."""

    sender: bytes
    content: bytes

    @property
    def envelope(self) -> tuple[bytes, ...]:
        """The commands before the content."""
        return (
            b"MAIL FROM:<%b> BODY=8BITMIME\r\n" % self.sender,
            b"RCPT TO:<b@mx.test>\r\n",
            b"RCPT TO:<c@mx.test>\r\n",
        )

    @property
    def stuffed(self) -> bytes:
        """The content as DATA sends it, up to its end (RFC 5321 s4.5.2)."""
        lines = (self.content.removesuffix(b"\r\n")).split(b"\r\n")
        return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"

    @property
    def chunks(self) -> tuple[bytes, ...]:
        """The content as BDAT sends it: two chunks, the first of which ends between CR and LF (RFC 3030 s2)."""
        middle = self.content.index(b"\r\n", len(self.content) // 2) + 1
        first, last = self.content[:middle], self.content[middle:]
        return (b"BDAT %d\r\n" % len(first) + first, b"BDAT %d LAST\r\n" % len(last) + last)

    def end(self, content: Content) -> bytes:
        """The octets that end with the last of this message."""
        return self.stuffed if content == "DATA" else self.chunks[-1]


MESSAGES: Final = (
    Message(b"one@client.test", b"Subject: one\r\n\r\n.\r\nRSET\r\n..caf\xe9\r\n"),
    Message(b"two@client.test", b"Subject: two\r\n\r\nDATA\r\n"),
)
"""The first would end early, and run a command, if a dot were taken for the end."""
