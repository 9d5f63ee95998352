from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

import pytest
from twisted.internet.error import CannotListenError

from smtpproxy.transport.stream import Ending, Stream
from smtpproxy.transport.tcp import listen
from tests.transport.streams import HOST, PEER_TIMEOUT_S, Recorder, StreamCase, reactor, read_to_end

IPV6 = "::1"


class ListenTests(StreamCase):
    async def test_a_stream_knows_both_ends(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        assert (stream.peer_host, stream.peer_port) == peer.getsockname()
        assert (stream.local_host, stream.local_port) == peer.getpeername()

    async def test_both_families_may_have_one_port(self) -> None:
        accepted: list[Stream] = []

        def turn_away(stream: Stream) -> None:
            accepted.append(stream)
            stream.close()

        port = self.listen_twice(turn_away)
        for host in (HOST, IPV6):
            with socket.create_connection((host, port), PEER_TIMEOUT_S) as peer:
                assert await self.run_peer(read_to_end, peer) == b""
        assert [stream.peer_host for stream in accepted] == [HOST, IPV6]

    def listen_twice(self, accept: Callable[[Stream], None]) -> int:
        """Take one port in both families; one that is free in the first may be somebody's in the other."""
        for _ in range(9):
            port = self.listen(accept, host="::")
            with contextlib.suppress(CannotListenError):
                return self.listen_again(accept, port)
        return self.listen_again(accept, self.listen(accept, host="::"))

    def listen_again(self, accept: Callable[[Stream], None], port: int) -> int:
        second = listen(reactor, "0.0.0.0", port, accept)  # noqa: S104 - that is what is tested
        self.addCleanup(second.stopListening)
        return port

    async def test_a_taken_port_is_told(self) -> None:
        port = self.listen(Stream.abort)
        with pytest.raises(CannotListenError):
            listen(reactor, HOST, port, Stream.abort)

    async def test_a_stream_that_is_turned_away_needs_no_owner(self) -> None:
        def turn_away(stream: Stream) -> None:
            stream.send(b"421 too many\r\n")
            stream.close()

        with socket.create_connection((HOST, self.listen(turn_away)), PEER_TIMEOUT_S) as peer:
            assert await self.run_peer(read_to_end, peer) == b"421 too many\r\n"

    async def test_a_stream_that_nobody_takes_is_aborted(self) -> None:
        peer = socket.create_connection((HOST, self.listen(lambda _: None)), PEER_TIMEOUT_S)
        with peer, pytest.raises(ConnectionResetError):
            await self.run_peer(peer.recv, 1)

    async def test_an_exception_while_accepting_ends_that_connection_alone(self) -> None:
        owners: list[Recorder] = []

        def accept(stream: Stream) -> None:
            stream.owner = owner = Recorder()
            owners.append(owner)
            if len(owners) == 1:
                raise ZeroDivisionError
            stream.send(b"220 go\r\n")
            stream.close()

        port = self.listen(accept)
        peer = socket.create_connection((HOST, port), PEER_TIMEOUT_S)
        with peer, pytest.raises(ConnectionResetError):
            await self.run_peer(peer.recv, 1)
        assert await owners[0].closed() is Ending.ABORTED
        assert self.logged(ZeroDivisionError) == 1
        with socket.create_connection((HOST, port), PEER_TIMEOUT_S) as peer:
            assert await self.run_peer(read_to_end, peer) == b"220 go\r\n"

    async def test_a_reply_does_not_wait_for_an_acknowledgement(self) -> None:
        owner = Recorder()
        stream, _ = await self.pair(owner)
        with socket.socket(fileno=os.dup(stream._tcp.fileno())) as same:
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def test_a_send_has_left_when_it_returns(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.send(b"220 ")
        stream.send(b"go\r\n")
        peer.setblocking(False)
        assert peer.recv(100) == b"220 go\r\n"
