"""A process of ours that answers in frames: what it says, what it complains with, and its end at our hand."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol

from smtpproxy.frames import FrameReader

_MAX_WORDS_OCTETS: Final = 2048


class Child(ProcessProtocol):
    """One process, for as long as it lives.

    Attributes:
        has_answered: whether it was of any use.
    """

    def __init__(self) -> None:
        self.has_answered = False
        self._reader = FrameReader()
        self._words = bytearray()

    @property
    def pid(self) -> int | None:
        """Of the process, ``None`` once it is gone."""
        pid: int | None = self._transport.pid
        return pid

    @property
    def words(self) -> str:
        """The last line that it complained with."""
        lines = self._words.decode("utf-8", "backslashreplace").split("\n")
        return next(filter(None, map(str.strip, reversed(lines))), "without a word")

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - Twisted's process transport has no type of its own
        return self.transport

    def complain(self, words: bytes) -> None:
        """Add what is wrong with it to what it says itself."""
        self._words += b"\n" + words

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessExitedAlready):
            self._transport.signalProcess("KILL")

    def errReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """For Twisted: it complains."""
        self._words += data
        del self._words[:-_MAX_WORDS_OCTETS]
