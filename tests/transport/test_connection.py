from __future__ import annotations

import os
import socket
from typing import cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from smtpproxy.tls.facts import TlsFailure, TlsReason
from smtpproxy.transport.connection import (
    DRAIN_LIMIT_OCTETS,
    DRAIN_LIMIT_S,
    FLUSH_LIMIT_S,
    UNBLOCKED_OCTETS,
    Reactor,
    TcpConnection,
)
from smtpproxy.transport.stream import Ending, Stream
from tests.transport.streams import (
    HeldTime,
    Recorder,
    StreamCase,
    reactor,
    read_to_end,
)

MIB = 1 << 20


class FlushTests(StreamCase):
    async def check_megabytes(self, owner: Recorder, stream: Stream, peer: socket.socket) -> None:
        content = os.urandom(8 * MIB)
        stream.send(content)
        stream.close()
        received = await self.run_peer(read_to_end, peer)
        assert received == content
        peer.close()
        assert await owner.closed() is Ending.CLEAN

    async def test_close_sends_all_that_is_unsent_in_clear(self) -> None:
        owner = Recorder()
        await self.check_megabytes(owner, *await self.pair(owner))

    async def test_close_sends_all_that_is_unsent_and_ends_tls(self) -> None:
        owner = Recorder()
        await self.check_megabytes(owner, *await self.secured_pair(owner))

    async def test_a_last_reply_reaches_a_peer_that_was_still_sending(self) -> None:
        """Closing with octets unread would reset the connection before the peer has read the reply."""
        owner = Recorder()
        stream, peer = await self.pair(owner)

        def refuse(_: bytes) -> None:
            stream.send(b"552 5.3.4 too big\r\n")
            stream.close()

        owner.on_received = refuse

        def send_on() -> bytes:
            for _ in range(32):
                peer.sendall(bytes(65536))
            return read_to_end(peer)

        assert await self.run_peer(send_on) == b"552 5.3.4 too big\r\n"
        peer.close()
        assert await owner.closed() is Ending.CLEAN

    async def test_a_last_reply_of_a_peer_that_went_is_still_read(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        peer.sendall(b"421 4.3.2 closing\r\n")
        peer.close()
        stream.send(b"EHLO\r\n")
        stream.send(b"EHLO\r\n")
        assert await owner.closed() in {Ending.RESET, Ending.CLEAN}
        assert owner.received == b"421 4.3.2 closing\r\n"

    async def test_what_was_said_before_a_half_close_is_answered(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        answer = os.urandom(4 * MIB)
        owner.on_received = lambda _: stream.send(answer)
        peer.sendall(b"QUIT\r\n")
        peer.shutdown(socket.SHUT_WR)
        assert await self.run_peer(read_to_end, peer) == answer
        assert await owner.closed() is Ending.CLEAN


class HalfCloseTests(StreamCase):
    """A peer that has said all, to an owner that has not."""

    async def check_late_answer(self, owner: Recorder, stream: Stream, peer: socket.socket, expected: Ending) -> None:
        await owner.saw("finished")
        stream.pause()
        stream.resume()  # the other leg's back-pressure knows nothing of ends
        for _ in range(3):
            await self.run_peer(lambda: None)
        assert owner.finished == [expected]
        stream.send(b"250 ok\r\n")
        stream.close()
        assert await self.run_peer(read_to_end, peer) == b"250 ok\r\n"
        assert await owner.closed() is Ending.CLEAN
        assert owner.order == [*owner.order[:-2], "finished", "closed"]

    async def test_a_late_answer_in_clear(self) -> None:
        owner = Recorder(answers_the_end=True)
        stream, peer = await self.pair(owner)
        peer.sendall(b"QUIT\r\n")
        peer.shutdown(socket.SHUT_WR)
        await self.check_late_answer(owner, stream, peer, Ending.CLEAN)

    async def test_a_late_answer_inside_tls(self) -> None:
        owner = Recorder(answers_the_end=True)
        stream, tls = await self.secured_pair(owner)
        tls.sendall(b"QUIT\r\n")
        socket.socket.shutdown(tls, socket.SHUT_WR)  # of TCP: an SSLSocket can read no more after its own
        await self.check_late_answer(owner, stream, tls, Ending.TRUNCATED)

    async def test_the_end_of_tls_is_told_once_though_the_end_of_tcp_follows(self) -> None:
        owner = Recorder(answers_the_end=True)
        stream, tls = await self.secured_pair(owner)
        ended = self.run_peer(tls.unwrap)
        await owner.saw("finished")
        stream.pause()
        stream.resume()
        stream.close()
        (await ended).close()
        assert await owner.closed() is Ending.CLEAN
        assert owner.finished == [Ending.CLEAN]

    async def test_an_owner_that_never_closes_can_still_abort(self) -> None:
        owner = Recorder(answers_the_end=True)
        stream, peer = await self.pair(owner)
        peer.shutdown(socket.SHUT_WR)
        await owner.saw("finished")
        stream.abort()
        assert await owner.closed() is Ending.ABORTED


class BoundTests(StreamCase):
    async def held(self) -> tuple[HeldTime, Recorder, Stream, socket.socket]:
        time, owner = HeldTime(), Recorder()
        return time, owner, *await self.pair(owner, cast("Reactor", time))

    async def test_a_peer_that_takes_nothing_is_given_up(self) -> None:
        time, owner, stream, _ = await self.held()
        stream.send(bytes(64 * MIB))
        stream.close()
        await self.run_peer(lambda: None)
        time.clock.advance(FLUSH_LIMIT_S - 0.1)
        await self.run_peer(lambda: None)
        assert not owner.endings
        time.clock.advance(0.2)
        assert await owner.closed() is Ending.TIMED_OUT

    async def test_a_peer_that_keeps_its_half_open_is_given_up(self) -> None:
        time, owner, stream, peer = await self.held()
        stream.close()
        assert await self.run_peer(read_to_end, peer) == b""
        assert not owner.endings
        time.clock.advance(DRAIN_LIMIT_S + 0.1)
        assert await owner.closed() is Ending.CLEAN

    async def test_a_peer_that_goes_on_sending_is_given_up(self) -> None:
        _, owner, stream, peer = await self.held()
        stream.close()

        def flood() -> int:
            sent = 0
            try:
                while True:
                    sent += peer.send(bytes(65536))
            except OSError:
                return sent

        assert await self.run_peer(flood) > DRAIN_LIMIT_OCTETS
        assert await owner.closed() is Ending.CLEAN

    async def test_no_timer_is_left(self) -> None:
        time, owner, stream, peer = await self.held()
        stream.close()
        peer.close()
        await owner.closed()
        assert not time.clock.getDelayedCalls()


class BackPressureTests(StreamCase):
    async def test_a_peer_that_reads_nothing_blocks_once_and_unblocks_once(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        unsent: list[int] = []
        owner.on_unblocked = lambda: unsent.append(len(stream._tcp._unsent))
        for _ in range(100):
            stream.send(bytes(128 * 1024))
        assert not owner.order  # never from inside send
        await owner.saw("blocked")
        assert owner.order == ["blocked"]
        stream.send(b"end")
        drained: Deferred[int] = self.run_peer(count_until_end_word, peer)
        await owner.saw("unblocked")
        assert await drained == 100 * 128 * 1024 + 3
        assert owner.order == ["blocked", "unblocked"]
        assert unsent[0] < UNBLOCKED_OCTETS

    async def test_the_reactor_is_asked_to_write_only_after_a_short_write(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.send(b"220 go\r\n")
        assert not self.writers()
        stream.send(bytes(16 * MIB) + b"end")
        assert self.writers()
        await self.run_peer(count_until_end_word, peer)
        for _ in range(3):
            await self.run_peer(lambda: None)
        assert not self.writers()

    @staticmethod
    def writers() -> list[object]:
        return [each for each in reactor.getWriters() if isinstance(each, TcpConnection)]

    async def test_a_stalled_reader_holds_up_the_sender_within_bounds(self) -> None:
        """One stream's octets go to another whose peer reads nothing: what is held between them stays bounded."""
        source, target = Recorder(), Recorder()
        incoming, sender = await self.secured_pair(source)
        outgoing, _ = await self.secured_pair(target)
        source.on_received = outgoing.send
        target.on_blocked = incoming.pause
        sender.settimeout(0.5)

        def push() -> int:
            sent = 0
            try:
                while sent < 256 * MIB:
                    sent += sender.send(bytes(65536))
            except TimeoutError:
                return sent
            return sent

        assert await self.run_peer(push) < 64 * MIB
        assert len(outgoing._tcp._unsent) < 4 * 256 * 1024

    async def test_a_pause_stops_the_reading_and_a_resume_goes_on(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.pause()
        stream.pause()
        peer.sendall(b"NOOP\r\n")
        for _ in range(5):
            await self.run_peer(lambda: None)
        assert not owner.received
        stream.resume()
        stream.resume()
        await owner.until(lambda: owner.received == b"NOOP\r\n")


def count_until_end_word(peer: socket.socket) -> int:
    octets, tail = 0, b""
    while not tail.endswith(b"end"):
        data = peer.recv(65536)
        octets += len(data)
        tail = (tail + data)[-3:]
    return octets


class DescriptorTests(StreamCase):
    async def test_no_octet_ends_up_on_a_connection_that_got_the_descriptor(self) -> None:
        """Storms of opening and closing, with writers that write on after the end of their own connection."""
        late: list[tuple[Stream, SSL.Connection | None]] = []
        for number in range(60):
            owner, mark = Recorder(), b"%04d" % number
            stream, peer = await (self.secured_pair(owner) if number % 3 == 0 else self.pair(owner))
            for old, connection in late:
                old.send(b"from another connection")
                old.close()
                if connection is not None:
                    connection.sendall(b"from another connection")
            stream.send(mark)
            assert await self.run_peer(peer.recv, 100) == mark
            end = (stream.abort, stream.close, peer.close)[number % 3]
            end()
            peer.close()
            await owner.closed()
            late = [*late[-5:], (stream, owner.connection)]
        assert TlsReason.NOT_TLS not in {f.reason for s, _ in late if isinstance(f := s.failure, TlsFailure)}
