from __future__ import annotations

import select
import socket
import ssl

import pytest

from smtpproxy.tls.collector import MAX_HELLO_OCTETS
from smtpproxy.tls.facts import TlsFailure, TlsReason
from smtpproxy.tls.hello import parse_client_hello
from smtpproxy.transport.stream import Ending, Role, Stream
from tests.transport.streams import NAME, Recorder, StreamCase, peer_client, reset, server_context


class MemoryClient:
    """A TLS client whose octets a test can cut as it likes."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = peer_client().wrap_bio(self.incoming, self.outgoing, server_hostname=NAME)
        self.done = False

    def flight(self) -> bytes:
        """Return what the handshake sends next."""
        try:
            self.tls.do_handshake()
            self.done = True
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def finish(self) -> None:
        """Complete the handshake, flight by flight."""
        while not self.done:
            self.incoming.write(self.peer.recv(65536))
            self.peer.sendall(self.flight())


def in_records(hello: bytes, size: int) -> bytes:
    """Cut the one record of a hello into many."""
    header, message = hello[:3], hello[5:]
    pieces = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(header + len(piece).to_bytes(2) + piece for piece in pieces)


def readable(peer: Stream) -> bool:
    return bool(select.select([peer._tcp.fileno()], [], [], 0)[0])


class HelloTests(StreamCase):
    async def begin(self) -> tuple[Recorder, Stream, socket.socket]:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.collect_hello()
        return owner, stream, peer

    async def complete(self, owner: Recorder, stream: Stream, client: MemoryClient) -> None:
        """Finish the handshake and pass a word each way."""
        await owner.saw("hello")
        stream.start_tls(server_context(), Role.SERVER)
        await self.run_peer(client.finish)
        await owner.saw("upgraded")
        client.tls.write(b"EHLO")
        client.peer.sendall(client.outgoing.read())
        await owner.until(lambda: owner.received == b"EHLO")

    async def test_the_message_comes_without_its_record_header(self) -> None:
        owner, stream, peer = await self.begin()
        client = MemoryClient(peer)
        hello = client.flight()
        peer.sendall(hello)
        await owner.saw("hello")
        assert owner.hello == hello[5:]
        assert parse_client_hello(owner.hello).server_name == NAME
        await self.complete(owner, stream, client)

    async def test_a_hello_octet_by_octet(self) -> None:
        owner, stream, peer = await self.begin()
        client = MemoryClient(peer)
        hello = client.flight()

        def drip() -> None:
            for octet in hello:
                peer.sendall(bytes([octet]))

        await self.run_peer(drip)
        await self.complete(owner, stream, client)
        assert owner.hello == hello[5:]

    async def test_a_hello_in_many_records_cut_anywhere(self) -> None:
        owner, stream, peer = await self.begin()
        client = MemoryClient(peer)
        hello = client.flight()
        cut = in_records(hello, 7)
        for i in range(0, len(cut), 11):
            peer.sendall(cut[i : i + 11])
        await self.complete(owner, stream, client)
        assert owner.hello == hello[5:]

    async def test_a_slow_hello_leaves_nothing_in_the_kernel_to_wake_the_reactor(self) -> None:
        owner, stream, peer = await self.begin()
        client = MemoryClient(peer)
        hello = client.flight()
        peer.sendall(hello[:100])
        for _ in range(100):
            await self.run_peer(lambda: None)  # turns of the reactor
        assert not readable(stream)
        peer.sendall(hello[100:])
        await self.complete(owner, stream, client)

    async def test_nothing_is_read_behind_a_whole_hello(self) -> None:
        owner, stream, peer = await self.begin()
        peer.sendall(MemoryClient(peer).flight())
        await owner.saw("hello")
        peer.sendall(b"x" * 100)
        for _ in range(3):
            await self.run_peer(lambda: None)
        assert readable(stream)
        assert owner.order == ["hello"]

    async def test_a_hello_that_is_declined_gets_an_alert(self) -> None:
        owner, stream, peer = await self.begin()
        client = MemoryClient(peer)
        peer.sendall(client.flight())
        await owner.saw("hello")
        stream.decline()
        client.incoming.write(peer.recv(100))
        with pytest.raises(ssl.SSLError, match=r"(?i)internal.error"):
            client.tls.do_handshake()
        assert peer.recv(100) == b""
        peer.close()
        assert await owner.closed() is Ending.TLS_FAILED

    async def test_what_has_sent_no_hello_is_not_declined(self) -> None:
        owner, stream, peer = await self.begin()
        stream.decline()
        client = MemoryClient(peer)
        peer.sendall(client.flight())
        await self.complete(owner, stream, client)

    async def test_nothing_is_taken_for_plaintext(self) -> None:
        owner, stream, peer = await self.begin()
        client = MemoryClient(peer)
        peer.sendall(client.flight())
        await self.complete(owner, stream, client)
        assert owner.order == ["hello", "upgraded", "received"]
        assert stream.octets_in == 4

    async def test_another_protocol_is_refused_at_its_first_octet_and_not_answered(self) -> None:
        owner, stream, peer = await self.begin()
        peer.sendall(b"G")
        await owner.saw("failed")
        assert owner.failures == [TlsFailure(TlsReason.NOT_TLS)]
        assert stream.failure == TlsFailure(TlsReason.NOT_TLS)
        assert peer.recv(10) == b""
        peer.close()
        assert await owner.closed() is Ending.TLS_FAILED

    async def test_an_endless_hello_is_refused(self) -> None:
        owner, _, peer = await self.begin()
        endless = b"\x01\xff\xff\xff" + bytes(MAX_HELLO_OCTETS)
        peer.sendall(in_records(b"\x16\x03\x01\0\0" + endless, 16384)[: MAX_HELLO_OCTETS + 10])
        await owner.saw("failed")
        assert owner.failures == [TlsFailure(TlsReason.HELLO_TOO_LONG)]

    async def test_an_end_within_the_hello_is_a_failed_handshake(self) -> None:
        owner, _, peer = await self.begin()
        peer.sendall(MemoryClient(peer).flight()[:50])
        peer.close()
        assert await owner.closed() is Ending.TLS_FAILED
        assert owner.failures == [TlsFailure(TlsReason.CONNECTION_CLOSED)]
        assert owner.order == ["failed", "closed"]

    async def test_a_reset_within_the_hello_is_a_failed_handshake(self) -> None:
        owner, _, peer = await self.begin()
        peer.sendall(MemoryClient(peer).flight()[:50])
        await self.run_peer(lambda: None)
        reset(peer)
        assert await owner.closed() is Ending.RESET
        assert [failure.reason for failure in owner.failures if isinstance(failure, TlsFailure)] == [
            TlsReason.CONNECTION_CLOSED
        ]

    async def test_a_hello_is_collected_on_a_stream_that_is_paused(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.pause()
        stream.collect_hello()
        client = MemoryClient(peer)
        peer.sendall(client.flight())
        await owner.saw("hello")
        stream.start_tls(server_context(), Role.SERVER)
        await self.run_peer(client.finish)
        await owner.saw("upgraded")
        client.tls.write(b"EHLO")
        peer.sendall(client.outgoing.read())
        for _ in range(3):
            await self.run_peer(lambda: None)
        assert not owner.received
        assert readable(stream)  # what the peer goes on to send waits in the kernel
        stream.resume()
        await owner.until(lambda: owner.received == b"EHLO")
