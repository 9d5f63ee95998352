"""An upstream that reads as the strictest server would, and fails the test on what it must never be sent."""

from __future__ import annotations

import contextlib

from smtpproxy.errors import ProtocolError
from smtpproxy.smtp.command_parser import parse_auth_response, parse_command
from smtpproxy.smtp.commands import AuthResponse, Bdat, Command, Mail, Rcpt, Unknown
from smtpproxy.smtp.replies import Reply, ReplyReader


class StrictUpstream:
    """One connection to upstream, read as the strictest server would; it fails the test on anything else.

    Attributes:
        pending: the commands that were not answered, in order.
        verdict: the reply to the end of data or to the last chunk, as the client must hear it.
    """

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        self.in_content = self.ended = self.challenged = False
        self.content = b""
        self.verdict: Reply | None = None
        self._chunk: Bdat | None = None
        self._remaining = 0
        self._replies = ReplyReader()

    @property
    def waiting(self) -> bytes:
        """The command that is to be answered next."""
        return self.pending[0] if self.pending else b""

    def take(self, octets: bytes) -> None:
        """One `Send`: a group of commands in their canonical form, or content."""
        assert not self.ended, "octets behind the dot"
        while octets:
            if self.in_content:
                self._take_content(octets)
                return
            if self._chunk is not None:
                octets = self._take_chunk(self._chunk, octets)
            else:
                line, end, octets = octets.partition(b"\r\n")
                self._take_command(line + end)

    def _take_command(self, line: bytes) -> None:
        command = self._parse(line)
        assert not isinstance(command, Unknown)
        assert command.to_wire() == line
        if self.pending:
            before = parse_command(self.pending[-1].removesuffix(b"\r\n"))
            assert isinstance(before, Mail | Rcpt), "nothing may follow this before its reply"
            assert line[:4] in (b"RCPT", b"DATA"), "a command that belongs to no group"
        self.pending.append(line)
        if isinstance(command, Bdat):
            self._chunk, self._remaining = command, command.size
            self._end_chunk(command)

    def _parse(self, line: bytes) -> Command | AuthResponse:
        octets = line.removesuffix(b"\r\n")
        return parse_auth_response(octets) if self.challenged else parse_command(octets)

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

    def _take_chunk(self, chunk: Bdat, octets: bytes) -> bytes:
        taken = octets[: self._remaining]
        self.content += taken
        self._remaining -= len(taken)
        self._end_chunk(chunk)
        return octets[len(taken) :]

    def _end_chunk(self, chunk: Bdat) -> None:
        if not self._remaining:
            self._chunk = None
            self.ended = chunk.last

    @property
    def in_chunk(self) -> bool:
        """Whether octets of a chunk are still to come."""
        return self._chunk is not None

    def _replied(self, reply: Reply) -> None:
        if self.ended:
            self.ended, self.verdict, self.content = False, reply, b""
            self.pending.clear()
            return
        line = self.pending.pop(0) if self.pending else b""
        self.challenged = reply.code == 334
        if line == b"DATA\r\n" and reply.code == 354:
            self.in_content, self.content, self.verdict = True, b"", None
