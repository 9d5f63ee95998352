"""Two ends of a channel in this process, on a real pair of sockets."""

from __future__ import annotations

import json
import os
import resource
import socket
from typing import Any

import pytest
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from smtpproxy.errors import SmtpProxyError
from smtpproxy.workers.channel import MAX_DESCRIPTORS, NO_ROOM, Channel, Gone, NoAnswer, Refused

reactor: Any = default_reactor
PATIENCE_S = 10.0


class _Made(Factory):
    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, _address: object) -> Channel:  # noqa: N802
        return self._channel


class ChannelTests(TestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer: Any = None
        self.gone: list[str] = []
        self.over: dict[str, Deferred[None]] = {"ours": Deferred(), "theirs": Deferred()}
        self.ours = Channel(reactor, self.serve, lambda: self.lost("ours"))
        self.theirs = Channel(reactor, self.serve, lambda: self.lost("theirs"))
        self.ends = socket.socketpair()
        for end, channel in zip(self.ends, (self.ours, self.theirs), strict=True):
            end.setblocking(False)
            reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, _Made(channel))
            end.close()

    async def hang_up(self) -> None:
        self.ours.close()
        for over in self.over.values():
            await over

    def lost(self, end: str) -> None:
        self.gone.append(end)
        self.over[end].callback(None)

    def serve(self, what: str, body: Any, descriptors: list[int]) -> Any:  # noqa: ANN401
        self.asked.append((what, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        if descriptors:
            return [_read(descriptor) for descriptor in descriptors]
        return self.answer

    async def test_a_question_is_answered(self) -> None:
        self.answer = {"sessions": [1, 2]}
        assert await self.ours.ask("status", {"all": True}, patience_s=PATIENCE_S) == {"sessions": [1, 2]}
        assert await self.theirs.ask("status", None, patience_s=PATIENCE_S) == {"sessions": [1, 2]}
        assert self.asked == [("status", {"all": True}), ("status", None)]
        await self.hang_up()

    async def test_descriptors_arrive_with_their_line_and_in_order(self) -> None:
        pipes = [os.pipe() for _ in range(100)]
        for number, (_, write) in enumerate(pipes):
            os.write(write, b"%d" % number)
            os.close(write)
        first = self.ours.ask("adopt", "x" * 1000, patience_s=PATIENCE_S, descriptors=[r for r, _ in pipes[:1]])
        others = self.ours.ask("adopt", "x" * 1000, patience_s=PATIENCE_S, descriptors=[r for r, _ in pipes[1:]])
        assert await first == ["0"]
        assert await others == [str(number) for number in range(1, 100)]
        for read, _ in pipes:
            os.close(read)
        await self.hang_up()

    async def test_mistakes_come_back_line_by_line(self) -> None:
        self.answer = SmtpProxyError("first\nsecond")
        with pytest.raises(Refused, match="first\nsecond"):
            await self.ours.ask("prepare", patience_s=PATIENCE_S)
        self.answer = PermissionError(13, "Permission denied")
        with pytest.raises(Refused, match="Permission denied"):
            await self.ours.ask("reopen", patience_s=PATIENCE_S)
        await self.hang_up()

    async def test_what_breaks_is_logged_and_told_without_its_text(self) -> None:
        self.answer = ZeroDivisionError("secret")
        with pytest.raises(Refused, match=r"^internal error$"):
            await self.ours.ask("figures", patience_s=PATIENCE_S)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1  # type: ignore[no-untyped-call]
        await self.hang_up()

    async def test_silence_is_no_answer(self) -> None:
        self.answer = Deferred()
        with pytest.raises(NoAnswer, match=r"within 0\.01 s"):
            await self.ours.ask("figures", patience_s=0.01)
        self.answer.callback(None)  # too late, and passed over
        self.answer = 7
        assert await self.ours.ask("figures", patience_s=PATIENCE_S) == 7
        await self.hang_up()

    async def test_whoever_waits_hears_that_the_other_is_gone(self) -> None:
        self.answer = Deferred()
        asked = self.ours.ask("figures", patience_s=PATIENCE_S)
        self.theirs.close()
        with pytest.raises(Gone):
            await asked
        with pytest.raises(Gone):
            await self.ours.ask("figures", patience_s=PATIENCE_S)
        self.ours.tell("stop")
        for over in self.over.values():
            await over
        assert sorted(self.gone) == ["ours", "theirs"]

    async def test_nonsense_ends_it(self) -> None:
        for line in (b"nonsense\n", b"[]\n", json.dumps({"ask": 1, "what": "x", "descriptors": "9a"}).encode() + b"\n"):
            self.theirs.transport.write(line)  # type: ignore[union-attr]
            await self.over["ours"]
            await self.over["theirs"]
            self.setUp()
        await self.hang_up()

    async def test_descriptors_that_there_is_no_room_for_refuse_what_they_were_for(self) -> None:
        read, write = os.pipe()
        os.write(write, b"taken")
        os.close(write)
        await self.ours.ask("figures", patience_s=PATIENCE_S)  # the reactor has what it needs
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(read)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            with pytest.raises(Refused, match=NO_ROOM):
                await self.ours.ask("prepare", patience_s=PATIENCE_S, descriptors=[read, read])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert self.asked == [("figures", None)]
        assert await self.ours.ask("prepare", patience_s=PATIENCE_S, descriptors=[read]) == ["taken"]
        os.close(read)
        await self.hang_up()

    async def test_descriptors_without_a_line_are_bounded(self) -> None:
        with socket.socket() as one:
            for _ in range(MAX_DESCRIPTORS + 1):
                self.theirs.transport.sendFileDescriptor(one.fileno())  # type: ignore[union-attr]
            self.theirs.transport.write(b" " * (MAX_DESCRIPTORS + 1))  # type: ignore[union-attr]
            await self.over["ours"]
            await self.over["theirs"]


def _read(descriptor: int) -> str:
    with open(descriptor) as opened:
        return opened.read()
