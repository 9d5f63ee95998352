from __future__ import annotations

import os
import resource
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IResolutionReceiver

from smtpproxy.transport.connecting import loop_error
from smtpproxy.transport.connection import Reactor
from smtpproxy.transport.dial import dial
from smtpproxy.transport.stream import Ending, Stream
from tests.transport.streams import HOST, HeldTime, Recorder, StreamCase, reactor

OTHER_HOST = "127.0.0.2"
DISCARD_PORT = 9


class Dialler(Recorder):
    """An owner that notes how a dial went."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: Stream | None = None
        self.local: tuple[str, int] | None = None
        self.remote: tuple[str, int] | None = None
        self.reasons: list[str] = []
        self.begins: list[tuple[str, int]] = []

    def dial_begins(self, remote: tuple[str, int]) -> AbstractContextManager[None]:
        self.begins.append(remote)
        return nullcontext()

    def dial_begun(self, local: tuple[str, int], remote: tuple[str, int]) -> None:
        self.local, self.remote = local, remote

    def dial_succeeded(self, stream: Stream) -> None:
        self.stream = stream
        self._note("dialled")

    def dial_failed(self, reason: str) -> None:
        self.reasons.append(reason)
        self._note("not dialled")


class Names(HeldTime):
    """The reactor with a name server of the test's; its clock is held."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.addresses = addresses
        self.asked: list[str] = []
        self.receiver: Any = None

    @property
    def nameResolver(self) -> Names:  # noqa: N802 - Twisted's name
        return self

    def resolveHostName(self, receiver: IResolutionReceiver, name: str, _port: int) -> None:  # noqa: N802 - Twisted's
        self.asked.append(name)
        self.receiver = receiver

    def answer(self) -> None:
        for address in self.addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            self.receiver.addressResolved(kind("TCP", address, 0))
        self.receiver.resolutionComplete()


class DialTests(StreamCase):
    def server(self, host: str = HOST, port: int = 0) -> socket.socket:
        listener = socket.create_server((host, port), backlog=10)
        listener.settimeout(20)
        self.addCleanup(listener.close)
        return listener

    def refusing(self) -> int:
        """A port that is taken, so that nobody else listens there, and refuses all."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])

    def deaf(self) -> int:
        """A port whose queue is full: it answers no SYN any more."""
        listener = socket.create_server((HOST, 0), backlog=0)
        self.addCleanup(listener.close)
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
            self.addCleanup(waiting.close)
        return int(listener.getsockname()[1])

    async def end(self, owner: Dialler) -> None:
        assert owner.stream is not None
        owner.stream.abort()
        assert await owner.closed() is Ending.ABORTED

    async def check_greeting(self, owner: Dialler, listener: socket.socket) -> None:
        peer, _ = await self.run_peer(listener.accept)
        with peer:
            peer.sendall(b"220 go\r\n")
            await owner.until(lambda: owner.received == b"220 go\r\n")
            await self.end(owner)

    async def test_an_address(self) -> None:
        owner, listener = Dialler(), self.server()
        port = listener.getsockname()[1]
        dial(reactor, HOST, port, owner)
        assert not owner.order  # never from inside the call
        await owner.saw("dialled")
        assert owner.stream is not None
        assert (owner.stream.peer_host, owner.stream.peer_port) == (HOST, port)
        await self.check_greeting(owner, listener)

    async def test_an_ipv6_address(self) -> None:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.addCleanup(listener.close)
        owner = Dialler()
        dial(reactor, "::1", listener.getsockname()[1], owner)
        await owner.saw("dialled")
        await self.end(owner)

    async def test_what_is_dialled_is_told_as_who_accepts_sees_it(self) -> None:
        for host in ("0.0.0.0", f"::ffff:{HOST}", "::ffff:0.0.0.0"):  # noqa: S104 - dialled, not bound
            owner, listener = Dialler(), self.server()
            dial(reactor, host, listener.getsockname()[1], owner)
            await owner.saw("dialled")
            assert owner.remote == listener.getsockname(), host
            assert owner.begins == [owner.remote]
            await self.check_greeting(owner, listener)

    async def test_a_name_that_the_system_knows(self) -> None:
        owner, listener = Dialler(), self.server()
        dial(reactor, "localhost", listener.getsockname()[1], owner)
        await owner.saw("dialled")
        await self.check_greeting(owner, listener)

    async def test_a_name_that_nobody_knows(self) -> None:
        owner, names = Dialler(), Names()
        dial(cast("Reactor", names), "nowhere.invalid", 25, owner)
        names.answer()
        await owner.saw("not dialled")
        assert owner.reasons == ["host-not-found"]
        assert not names.clock.getDelayedCalls()

    async def test_a_port_that_nobody_listens_on(self) -> None:
        with socket.create_server((HOST, 0)) as listener:
            port = listener.getsockname()[1]
        owner = Dialler()
        dial(reactor, HOST, port, owner)
        assert not owner.order
        await owner.saw("not dialled")
        assert owner.reasons == ["connection-refused"]

    async def test_the_next_address_is_tried(self) -> None:
        port = self.refusing()
        listener = self.server(OTHER_HOST, port)
        owner, names = Dialler(), Names(HOST, OTHER_HOST)
        dial(cast("Reactor", names), "mx.test", port, owner)
        names.answer()
        await owner.saw("dialled")
        assert owner.stream is not None
        assert owner.stream.peer_host == OTHER_HOST
        assert not names.clock.getDelayedCalls()
        await self.check_greeting(owner, listener)

    async def test_an_address_that_does_not_answer_leaves_time_for_the_next(self) -> None:
        port = self.deaf()
        listener = self.server(OTHER_HOST, port)
        owner, names = Dialler(), Names(HOST, OTHER_HOST)
        dial(cast("Reactor", names), "mx.test", port, owner, timeout_s=30)
        names.answer()
        await self.run_peer(lambda: None)
        names.clock.advance(14)
        assert not owner.order
        names.clock.advance(1.5)
        await owner.saw("dialled")
        await self.check_greeting(owner, listener)

    async def test_an_address_that_does_not_answer(self) -> None:
        owner, names = Dialler(), Names()
        dial(cast("Reactor", names), HOST, self.deaf(), owner, timeout_s=5)
        names.clock.advance(4.9)
        assert not owner.order
        names.clock.advance(0.2)
        assert owner.reasons == ["timed-out"]

    async def test_a_name_server_that_does_not_answer(self) -> None:
        owner, names = Dialler(), Names(HOST)
        dial(cast("Reactor", names), "mx.test", 25, owner, timeout_s=5)
        names.clock.advance(5.1)
        assert owner.reasons == ["timed-out"]
        names.answer()  # too late
        await self.run_peer(lambda: None)
        assert owner.order == ["not dialled"]

    async def test_from_a_source_address(self) -> None:
        owner, listener = Dialler(), self.server()
        dial(reactor, HOST, listener.getsockname()[1], owner, source=OTHER_HOST)
        await owner.saw("dialled")
        assert owner.stream is not None
        assert owner.stream.local_host == OTHER_HOST
        assert owner.local == (owner.stream.local_host, owner.stream.local_port)
        assert owner.remote == listener.getsockname()
        await self.check_greeting(owner, listener)

    async def test_a_source_address_leaves_out_the_other_family(self) -> None:
        owner, listener = Dialler(), self.server()
        names = Names("::1", HOST)
        dial(cast("Reactor", names), "mx.test", listener.getsockname()[1], owner, source=OTHER_HOST)
        names.answer()
        await owner.saw("dialled")
        assert owner.stream is not None
        assert owner.stream.peer_host == HOST
        await self.end(owner)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can bind to any address")
    async def test_a_source_that_no_host_can_have_is_not_exchanged_for_ours(self) -> None:
        listener = self.server()
        for source in ("0.0.0.0", "224.0.0.1", "255.255.255.255"):  # noqa: S104 - dialled from, not bound
            owner = Dialler()
            dial(reactor, HOST, listener.getsockname()[1], owner, source=source)
            await owner.saw("not dialled")
            assert owner.reasons == ["source-not-available"], source

    async def test_an_address_that_the_source_cannot_reach(self) -> None:
        owner = Dialler()
        dial(reactor, HOST, 25, owner, source="::1")
        assert not owner.order  # never from inside the call
        await owner.saw("not dialled")
        assert owner.reasons == ["source-of-other-family"]

    async def test_a_cancelled_dial_says_nothing(self) -> None:
        listener = self.server()
        port = listener.getsockname()[1]
        names = Names(HOST)
        for host in (HOST, "mx.test"):
            owner = Dialler()
            dial(cast("Reactor", names), host, port, owner).cancel()
            if host == "mx.test":
                names.answer()
            for _ in range(5):
                await self.run_peer(lambda: None)
            assert not owner.order
            assert not names.clock.getDelayedCalls()

    async def test_a_cancelled_refusal_says_nothing(self) -> None:
        with socket.create_server((HOST, 0)) as listener:
            port = listener.getsockname()[1]
        owner = Dialler()
        begun = dial(reactor, HOST, port, owner)
        begun.cancel()
        begun.cancel()
        for _ in range(5):
            await self.run_peer(lambda: None)
        assert not owner.order

    async def test_a_connection_to_itself_is_refused(self) -> None:
        """TCP connects a socket to itself when its own port is dialled and nobody listens there."""
        with socket.socket() as looped:
            looped.bind((HOST, 0))
            looped.connect(looped.getsockname())
            assert loop_error(looped)

    async def test_an_exception_of_the_owner_ends_the_connection(self) -> None:
        listener = self.server()
        owner = Dialler()
        failed: Deferred[None] = Deferred()

        def fail(stream: Stream) -> None:
            owner.stream = stream
            failed.callback(None)
            raise ZeroDivisionError

        owner.dial_succeeded = fail  # type: ignore[method-assign]
        dial(reactor, HOST, listener.getsockname()[1], owner)
        await failed
        assert await owner.closed() is Ending.ABORTED
        assert self.logged(ZeroDivisionError) == 1

    async def test_no_descriptor_is_a_reason_like_any_other(self) -> None:
        owner, (soft, hard) = Dialler(), resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            dial(reactor, HOST, DISCARD_PORT, owner)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await owner.saw("not dialled")
        assert owner.reasons == ["out-of-descriptors"]
