"""How content goes upstream: straight on, as it comes.

Source: RFC 5321 s4.1.1.10 (after 354 only closing without the dot takes content back); RFC 3030 s2 (RSET does it
between chunks).
"""

from __future__ import annotations

from typing import Protocol

from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.smtp.commands import Bdat


class Passage(Protocol):
    """Takes content that was found fit to pass."""

    @property
    def is_begun(self) -> bool:
        """Whether upstream has begun to take what only closing the connection takes back."""

    def begin_chunk(self, command: Bdat) -> None:
        """The octets of a chunk follow."""

    def take(self, octets: bytes) -> None:
        """Take octets of content."""

    def end_chunk(self) -> bool:
        """The chunk is whole, and was not the last; return whether upstream will answer it."""

    def end(self) -> None:
        """The content is whole."""

    def abandon(self) -> None:
        """The content is refused, or its session ends."""


class StraightData:
    """Behind upstream's 354 to the client's own DATA."""

    __slots__ = ("_upstream",)

    is_begun = True

    def __init__(self, upstream: UpstreamLeg) -> None:
        self._upstream = upstream

    def begin_chunk(self, command: Bdat) -> None:
        """Never: DATA and BDAT do not mix."""
        raise AssertionError(f"{command} behind DATA")

    def take(self, octets: bytes) -> None:
        """Send content."""
        self._upstream.content(octets)

    def end_chunk(self) -> bool:
        """Never: DATA and BDAT do not mix."""
        raise AssertionError("a chunk behind DATA")

    def end(self) -> None:
        """Send the dot."""
        self._upstream.end_content()

    def abandon(self) -> None:
        """Nothing is kept here."""


class StraightChunks:
    """The client's chunks, each as one of ours."""

    __slots__ = ("_upstream", "is_begun")

    def __init__(self, upstream: UpstreamLeg) -> None:
        self._upstream = upstream
        self.is_begun = False

    def begin_chunk(self, command: Bdat) -> None:
        """Send BDAT."""
        self.is_begun = True
        self._upstream.begin_chunk(command)

    def take(self, octets: bytes) -> None:
        """Send octets of the chunk."""
        self._upstream.content(octets)

    def end_chunk(self) -> bool:
        """Wait for upstream's answer to the chunk."""
        self.is_begun = False
        self._upstream.end_chunk(last=False)
        return True

    def end(self) -> None:
        """Wait for upstream's verdict."""
        self._upstream.end_chunk(last=True)

    def abandon(self) -> None:
        """Nothing is kept here."""
