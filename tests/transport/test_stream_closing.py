from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from twisted.internet.task import deferLater

from smtpproxy.transport.stream import Ending, Role, Stream
from tests.transport.streams import (
    Recorder,
    StreamCase,
    client_context,
    reactor,
    read_to_end,
    reset,
    secure_client,
    server_context,
)

MIB = 1 << 20
Prepared = tuple[Recorder, Stream, socket.socket]


class EveryState(StreamCase):
    """Each test of an end runs in every state that a stream can be in."""

    async def clear(self) -> Prepared:
        owner = Recorder()
        return owner, *await self.pair(owner)

    async def paused(self) -> Prepared:
        owner, stream, peer = await self.clear()
        stream.pause()
        peer.sendall(b"unread")
        return owner, stream, peer

    async def collecting(self) -> Prepared:
        owner, stream, peer = await self.clear()
        stream.collect_hello()
        peer.sendall(b"\x16\x03\x01\x01\x00\x01")
        return owner, stream, peer

    async def hello(self) -> Prepared:
        owner, stream, peer = await self.clear()
        stream.collect_hello()
        peer.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        await owner.saw("hello")
        return owner, stream, peer

    async def handshaking_as_server(self) -> Prepared:
        owner, stream, peer = await self.clear()
        stream.start_tls(server_context(), Role.SERVER)
        return owner, stream, peer

    async def handshaking_as_client(self) -> Prepared:
        owner, stream, peer = await self.clear()
        stream.start_tls(client_context(), Role.CLIENT)
        return owner, stream, peer

    async def secured(self) -> Prepared:
        owner = Recorder()
        return owner, *await self.secured_pair(owner)

    async def closing(self) -> Prepared:
        owner, stream, peer = await self.clear()
        stream.close()
        return owner, stream, peer

    async def in_every_state(self, check: Callable[[Recorder, Stream, socket.socket], Awaitable[None]]) -> None:
        for prepare in (
            self.clear,
            self.paused,
            self.collecting,
            self.hello,
            self.handshaking_as_server,
            self.handshaking_as_client,
            self.secured,
            self.closing,
        ):
            owner, stream, peer = await prepare()
            try:
                await check(owner, stream, peer)
            except BaseException as error:
                error.add_note(f"in state {prepare.__name__}")
                raise

    @staticmethod
    def gone(stream: Stream) -> bool:
        return stream._tcp.fileno() == -1

    async def test_close(self) -> None:
        async def check(owner: Recorder, stream: Stream, peer: socket.socket) -> None:
            stream.close()
            stream.close()
            stream.send(b"too late")
            stream.start_tls(server_context(), Role.SERVER)
            stream.collect_hello()
            stream.pause()
            stream.resume()
            assert b"too late" not in await self.run_peer(read_to_end, peer)
            peer.close()
            assert await owner.closed() is Ending.CLEAN
            assert owner.endings == [Ending.CLEAN]
            assert not owner.failures
            assert self.gone(stream)

        await self.in_every_state(check)

    async def test_abort(self) -> None:
        async def check(owner: Recorder, stream: Stream, peer: socket.socket) -> None:
            stream.abort()
            assert not owner.endings  # never from inside the call
            stream.abort()
            stream.close()
            assert await owner.closed() is Ending.ABORTED
            assert owner.endings == [Ending.ABORTED]
            assert not owner.failures
            assert self.gone(stream)
            with pytest.raises((ConnectionError, ssl.SSLEOFError)):
                await self.run_peer(self._provoke, peer)

        await self.in_every_state(check)

    @staticmethod
    def _provoke(peer: socket.socket) -> None:
        """Meet the reset, at a write or at a read."""
        read_to_end(peer)
        peer.sendall(b"x")
        read_to_end(peer)
        raise ConnectionResetError

    async def test_the_peers_reset(self) -> None:
        async def check(owner: Recorder, stream: Stream, peer: socket.socket) -> None:
            expected = {"CLOSED": Ending.CLEAN, "HELLO": Ending.TLS_FAILED}.get(stream._state.name, Ending.RESET)
            reset(peer)
            stream.resume()
            if stream._state.name == "HELLO":
                stream.start_tls(server_context(), Role.SERVER)  # else nothing is read; what was collected is none
            assert await owner.closed() is expected
            assert len(owner.endings) == 1
            assert self.gone(stream)

        await self.in_every_state(check)

    async def test_the_peers_end(self) -> None:
        async def check(owner: Recorder, stream: Stream, peer: socket.socket) -> None:
            socket.socket.close(peer)
            stream.resume()
            if stream._state.name == "HELLO":
                stream.start_tls(server_context(), Role.SERVER)
            assert await owner.closed() in {Ending.CLEAN, Ending.TRUNCATED, Ending.TLS_FAILED, Ending.RESET}
            assert len(owner.endings) == 1
            assert self.gone(stream)

        await self.in_every_state(check)

    async def test_an_owner_that_lets_go_when_tls_failed_hears_no_more(self) -> None:
        owner, stream, peer = await self.handshaking_as_client()

        def let_go() -> None:
            stream.owner = None

        owner.on_failed = let_go
        reset(peer)
        await owner.saw("handshake failed")
        await deferLater(reactor, 0)
        assert owner.endings == []
        assert self.gone(stream)
        owner.stream_closed(Ending.RESET)  # for the clean-up, which waits for it

    async def test_an_exception_in_the_owner_ends_that_stream_alone(self) -> None:
        steady = Recorder()
        other, other_peer = await self.pair(steady)
        owner, _, peer = await self.clear()

        def fail(_: bytes) -> None:
            raise ZeroDivisionError

        owner.on_received = fail
        peer.sendall(b"x")
        assert await owner.closed() is Ending.CRASHED
        assert self.logged(ZeroDivisionError) == 1
        other_peer.sendall(b"y")
        await steady.until(lambda: steady.received == b"y")
        assert not steady.endings
        other.close()

    async def test_an_exception_in_a_later_call_ends_the_stream_too(self) -> None:
        owner, stream, _ = await self.clear()

        def fail() -> None:
            raise ZeroDivisionError

        owner.on_blocked = fail
        stream.send(bytes(64 * MIB))
        assert await owner.closed() is Ending.CRASHED
        assert self.logged(ZeroDivisionError) == 1

    async def test_closing_from_inside_each_event(self) -> None:
        for event in ("received", "hello", "upgraded", "blocked", "failed"):
            owner = Recorder()
            stream, peer = await self.pair(owner)
            setattr(owner, f"on_{event}", partial(self._close, stream))
            await self._provoke_event(event, stream, peer)
            await owner.until(partial(bool, owner.order))
            peer.close()
            assert await owner.closed() in {Ending.CLEAN, Ending.TLS_FAILED, Ending.RESET}
            assert len(owner.endings) == 1

    @staticmethod
    def _close(stream: Stream, *_: object) -> None:
        stream.close()

    async def _provoke_event(self, event: str, stream: Stream, peer: socket.socket) -> None:
        if event == "received":
            peer.sendall(b"x")
        elif event == "blocked":
            stream.send(bytes(64 * MIB))
        elif event == "upgraded":
            stream.start_tls(server_context(), Role.SERVER)
            await self.run_peer(self._shake_and_read, peer)
        else:
            stream.collect_hello()
            peer.sendall(b"G" if event == "failed" else b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")

    @staticmethod
    def _shake_and_read(peer: socket.socket) -> None:
        with secure_client(peer) as tls:
            assert read_to_end(tls) == b""
