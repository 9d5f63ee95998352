from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from smtpproxy.transport.poller import EVENTS, Poller
from tests.transport.streams import StreamCase, reactor


class Pipe:
    """A descriptor that is ready to read, and who waits for it; the hook answers from inside the call."""

    def __init__(self, heard: list[str], name: str = "") -> None:
        self.reader, self.writer = socket.socketpair()
        self.writer.sendall(b"x")
        self.heard = heard
        self.name = name
        self.on_readable: Callable[[], object] = lambda: None

    @property
    def descriptor(self) -> int:
        return self.reader.fileno()

    def close(self) -> None:
        self.reader.close()
        self.writer.close()

    def readable(self) -> None:
        self.reader.recv(1)
        self.heard.append(f"{self.name}readable")
        self.on_readable()

    def writable(self) -> None:
        self.heard.append(f"{self.name}writable")

    def hung_up(self) -> None:
        self.heard.append(f"{self.name}hung up")

    def crashed(self) -> None:
        self.heard.append(f"{self.name}crashed")


@dataclass
class House:
    """A poller with pipes of its own."""

    case: StreamCase
    poller: Poller = field(default_factory=lambda: Poller(reactor))
    heard: list[str] = field(default_factory=list)
    pipes: list[Pipe] = field(default_factory=list)

    def pipe(self, name: str = "") -> Pipe:
        pipe = Pipe(self.heard, name)
        self.pipes.append(pipe)
        self.case.addCleanup(self._close, pipe)
        return pipe

    def reading(self, name: str = "") -> Pipe:
        pipe = self.pipe(name)
        self.poller.wait_to_read(pipe.descriptor, pipe)
        return pipe

    async def turn(self) -> None:
        """Let the reactor have two turns: one may have begun before there was anything to poll."""
        for _ in range(2):
            turned: Deferred[None] = Deferred()
            reactor.callLater(0, turned.callback, None)
            await turned

    def _close(self, pipe: Pipe) -> None:
        if pipe.descriptor != -1:
            self.poller.forget(pipe.descriptor)
        pipe.close()


def fail() -> None:
    raise KeyError


class PollerTests(StreamCase):
    async def test_more_than_a_turn_can_serve_are_served_by_and_by(self) -> None:
        house = House(self)
        for _ in range(EVENTS + 50):
            house.reading()
        house.poller.doRead()
        assert len(house.heard) == EVENTS
        house.poller.doRead()
        assert len(house.heard) == EVENTS + 50

    async def test_the_reactor_knows_the_poller_only_while_somebody_waits(self) -> None:
        house = House(self)
        first, second = house.reading(), house.reading()
        assert house.poller in reactor.getReaders()
        house.poller.forget(first.descriptor)
        assert house.poller in reactor.getReaders()
        house.poller.stop_writing(second.descriptor)
        house.poller.stop_reading(second.descriptor)
        assert house.poller not in reactor.getReaders()
        await house.turn()
        assert not house.heard

    async def test_reading_and_writing_are_waited_for_apart(self) -> None:
        house = House(self)
        pipe = house.reading()
        house.poller.wait_to_write(pipe.descriptor, pipe)
        house.poller.doRead()
        house.poller.stop_reading(pipe.descriptor)
        pipe.writer.sendall(b"x")
        house.poller.doRead()
        house.poller.stop_writing(pipe.descriptor)
        house.poller.wait_to_read(pipe.descriptor, pipe)
        house.poller.doRead()
        assert house.heard == ["readable", "writable", "writable", "readable"]

    async def test_an_event_never_reaches_who_got_the_descriptor_meanwhile(self) -> None:
        """Both are ready; the first to be served closes the other and lets a third one have its number."""
        house = House(self)
        pair = house.reading("a "), house.reading("b ")

        def replace(old: Pipe) -> None:
            if old.descriptor == -1:
                return
            number = old.descriptor
            house.poller.forget(number)
            old.readable = lambda: house.heard.append("late")  # type: ignore[method-assign]
            new = house.pipe("new ")
            os.dup2(new.descriptor, number)
            new.reader.close()
            new.reader = socket.socket(fileno=old.reader.detach())
            house.poller.wait_to_read(number, new)

        pair[0].on_readable = lambda: replace(pair[1])
        pair[1].on_readable = lambda: replace(pair[0])
        house.poller.doRead()
        assert house.heard in (["a readable", "late"], ["b readable", "late"])
        house.poller.doRead()
        assert house.heard[2:] == ["new readable"]

    async def test_one_that_fails_spoils_no_other(self) -> None:
        house = House(self)
        for name in "abc":
            house.reading(f"{name} ")
        house.pipes[1].on_readable = fail
        house.poller.doRead()
        assert sorted(house.heard) == ["a readable", "b crashed", "b readable", "c readable"]
        assert self.logged(KeyError) == 1

    async def test_who_fails_at_failing_spoils_no_other_either(self) -> None:
        house = House(self)
        for name in "ab":
            pipe = house.reading(f"{name} ")
            pipe.on_readable = fail
            pipe.crashed = fail  # type: ignore[method-assign]
        house.poller.doRead()
        assert sorted(house.heard) == ["a readable", "b readable"]
        assert self.logged(KeyError) == 4

    async def test_a_peer_that_is_gone_is_told_apart_from_one_that_has_said_something(self) -> None:
        house = House(self)
        silent, talking = house.pipe("silent "), house.reading("talking ")
        for pipe in (silent, talking):
            pipe.writer.close()
        silent.reader.recv(1)
        house.poller.wait_to_write(silent.descriptor, silent)
        house.poller.doRead()
        assert sorted(house.heard) == ["silent hung up", "talking readable"]

    async def test_what_is_to_be_done_later_waits_for_the_events_at_hand(self) -> None:
        house = House(self)
        for name in "ab":
            pipe = house.reading(f"{name} ")
            pipe.on_readable = lambda: house.poller.later(house.heard.append, "later")
        house.poller.doRead()
        assert house.heard[2:] == ["later", "later"]

    async def test_what_is_to_be_done_later_is_done_without_any_event(self) -> None:
        house = House(self)
        house.poller.later(house.poller.later, house.heard.append, "later")
        house.poller.later(fail)
        assert not house.heard
        await house.turn()
        assert house.heard == ["later"]
        assert self.logged(KeyError) == 1

    async def test_all_hear_of_the_reactors_end(self) -> None:
        house = House(self)
        for name in "ab":
            pipe = house.reading(f"{name} ")
            pipe.hung_up = lambda: house.poller.later(house.heard.append, "closed")  # type: ignore[method-assign]
        house.poller.connectionLost(Failure(ConnectionDone()))
        assert house.heard == ["closed", "closed"]
