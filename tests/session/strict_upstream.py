"""An upstream that reads as the strictest server would, and fails the test on what it must never be sent."""

from __future__ import annotations

import contextlib

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.command_parser import parse_command
from smtpproxy.smtp.commands import Unknown, Unsupported
from smtpproxy.smtp.replies import Reply, ReplyReader


class StrictUpstream:
    """One connection to upstream, read as the strictest server would; it fails the test on anything else.

    Attributes:
        waiting: the command that was not answered.
        verdict: the reply to the end of data, as the client must hear it.
    """

    def __init__(self) -> None:
        self.waiting = b""
        self.in_content = self.ended = False
        self.content = b""
        self.verdict: Reply | None = None
        self._replies = ReplyReader()

    def take(self, octets: bytes) -> None:
        """One `Send`: either one command in its canonical form, or content."""
        assert not self.ended, "octets behind the dot"
        if self.in_content:
            self._take_content(octets)
        else:
            assert not self.waiting, "a command before the reply to the last"
            command = parse_command(octets.removesuffix(b"\r\n"))
            assert not isinstance(command, Unknown | Unsupported)
            assert command.to_wire() == octets
            self.waiting = octets

    def say(self, octets: bytes) -> None:
        """Upstream speaks; what it says means something only where a reply is due."""
        self._replies.feed(octets)
        with contextlib.suppress(ProtocolError):
            while (reply := self._replies.next_reply()) is not None:
                self._replied(reply)

    def _take_content(self, octets: bytes) -> None:
        self.content += octets
        end = (b"\r\n" + self.content).find(b"\r\n.\r\n")
        assert end in (-1, len(self.content) - 3), "octets behind the end of data"
        without_crlf = self.content.replace(b"\r\n", b"")
        assert b"\r" not in without_crlf
        assert b"\n" not in without_crlf
        if end >= 0:
            self.in_content, self.ended = False, True

    def _replied(self, reply: Reply) -> None:
        if self.ended:
            self.ended, self.verdict = False, reply
        elif self.waiting == b"DATA\r\n" and reply.code == 354:
            self.in_content, self.content, self.verdict = True, b"", None
        self.waiting = b""
