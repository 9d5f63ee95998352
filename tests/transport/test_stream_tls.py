from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess

import pytest
import trustme
from OpenSSL import SSL

from smtpproxy.tls.facts import TlsFailure, TlsReason
from smtpproxy.transport.stream import Ending, Role, Stream
from tests.transport.streams import (
    NAME,
    Recorder,
    StreamCase,
    authority,
    client_context,
    peer_client,
    peer_server,
    read_exactly,
    read_to_end,
    reset,
    secure_client,
    secure_server,
    server_context,
)

MIB = 1 << 20
CONTENT = os.urandom(MIB) * 20
DIGEST = hashlib.sha256(CONTENT).digest()
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class UpgradeTests(StreamCase):
    async def test_as_server_in_the_middle_of_a_connection(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)

        def upgrade(data: bytes) -> None:
            if data == b"STARTTLS\r\n":
                stream.send(b"220 go\r\n")
                stream.start_tls(server_context(), Role.SERVER)

        owner.on_received = upgrade

        def converse() -> bytes:
            peer.sendall(b"STARTTLS\r\n")
            assert read_exactly(peer, 8) == b"220 go\r\n"
            with secure_client(peer) as tls:
                tls.sendall(b"EHLO\r\n")
                return tls.recv(100)

        answer = self.run_peer(converse)
        await owner.until(lambda: owner.received.endswith(b"EHLO\r\n"))
        assert stream.secured
        stream.send(b"250 ok\r\n")
        assert await answer == b"250 ok\r\n"
        assert owner.chunks == [b"STARTTLS\r\n", b"EHLO\r\n"]
        assert (stream.octets_in, stream.octets_out) == (16, 16)

    async def test_as_client_in_the_middle_of_a_connection(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)

        def upgrade(data: bytes) -> None:
            if data.startswith(b"220 "):
                stream.start_tls(client_context(), Role.CLIENT, lambda tls: tls.set_tlsext_host_name(NAME.encode()))

        owner.on_received = upgrade
        owner.on_upgraded = lambda _: stream.send(b"EHLO\r\n")

        def converse() -> tuple[bytes, bytes]:
            peer.sendall(b"220 go\r\n")
            with secure_server(peer) as tls:
                data = tls.recv(100)
                tls.sendall(b"250 ok\r\n")
                return data, read_to_end(tls)

        answer = self.run_peer(converse)
        await owner.until(lambda: owner.received.endswith(b"250 ok\r\n"))
        stream.close()
        assert await answer == (b"EHLO\r\n", b"")
        assert await owner.closed() is Ending.CLEAN

    async def test_octets_behind_the_upgrade_point_come_before_it_in_clear(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        owner.on_received = lambda _: stream.start_tls(server_context(), Role.SERVER)
        peer.sendall(b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n")
        await owner.saw("received")
        secured = await self.run_peer(secure_client, peer)
        self.addCleanup(secured.close)
        await owner.saw("upgraded")
        secured.sendall(b"EHLO\r\n")
        await owner.until(lambda: len(owner.chunks) == 2)
        assert owner.chunks == [b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n", b"EHLO\r\n"]

    async def test_octets_in_clear_after_the_upgrade_point_fail_the_handshake(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.start_tls(server_context(), Role.SERVER)
        peer.sendall(b"MAIL FROM:<evil@x.test>\r\n")
        assert await owner.closed() is Ending.TLS_FAILED
        assert not owner.received
        assert isinstance(owner.failures[0], SSL.Error)
        assert stream.octets_in == 0

    async def test_no_octet_leaves_while_an_upgrade_is_under_way(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.collect_hello()
        stream.send(b"250 in clear\r\n")
        stream.close()
        assert await self.run_peer(read_to_end, peer) == b""

    async def test_what_the_owner_says_first_leaves_behind_the_handshake(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        owner.on_upgraded = lambda _: stream.send(b"220 greeting\r\n")
        stream.start_tls(server_context(), Role.SERVER)
        tls = await self.run_peer(secure_client, peer)
        assert await self.run_peer(tls.recv, 100) == b"220 greeting\r\n"
        tls.close()

    async def test_plaintext_right_behind_the_handshake_waits_for_a_paused_owner(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        owner.on_upgraded = lambda _: stream.pause()
        await self._shake_and_say_hello(stream, owner, peer)
        stream.resume()
        stream.pause()  # before the reactor's next turn
        await self._turn()
        assert not owner.received
        stream.resume()
        await owner.until(lambda: owner.received == b"EHLO\r\n")

    async def test_a_stream_that_is_held_delivers_nothing_whatever_its_owner_wishes(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        owner.on_upgraded = lambda _: stream.hold()
        await self._shake_and_say_hello(stream, owner, peer)
        stream.pause()
        stream.resume()
        peer.sendall(self._said(b"MAIL\r\n"))
        await self._turn()
        assert not owner.received
        stream.let_go()
        await owner.until(lambda: owner.received == b"EHLO\r\nMAIL\r\n")

    async def test_one_that_is_let_go_stays_paused_if_its_owner_wishes(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        owner.on_upgraded = lambda _: stream.hold()
        await self._shake_and_say_hello(stream, owner, peer)
        stream.pause()
        stream.let_go()
        await self._turn()
        assert not owner.received
        stream.resume()
        await owner.until(lambda: owner.received == b"EHLO\r\n")

    async def _shake_and_say_hello(self, stream: Stream, owner: Recorder, peer: socket.socket) -> None:
        """Have the peer send its first words with the end of its handshake, and see that they wait."""
        stream.start_tls(server_context(), Role.SERVER)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = peer_client().wrap_bio(incoming, outgoing, server_hostname=NAME)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            peer.sendall(outgoing.read())
        await self.run_peer(self._finish_with_data, peer, tls, incoming, outgoing)
        await owner.saw("upgraded")
        await self._turn()
        assert not owner.received
        self._tls, self._outgoing = tls, outgoing

    def _said(self, words: bytes) -> bytes:
        self._tls.write(words)
        return self._outgoing.read()

    async def _turn(self) -> None:
        for _ in range(3):
            await self.run_peer(lambda: None)

    @staticmethod
    def _finish_with_data(
        peer: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        while True:
            incoming.write(peer.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        tls.write(b"EHLO\r\n")
        peer.sendall(outgoing.read())


class VolumeTests(StreamCase):
    async def carry(self, version: ssl.TLSVersion | None) -> None:
        """20 MiB each way from one stream to another, the receiver beginning only when its stream is blocked."""
        owners = Recorder(), Recorder()
        streams, peers = [], []
        for owner in owners:
            stream, peer = await (self.pair(owner) if version is None else self.secured_pair(owner, version))
            streams.append(stream)
            peers.append(peer)
        for source, target in ((0, 1), (1, 0)):
            owners[source].on_received = streams[target].send
            owners[target].on_blocked = streams[source].pause
            owners[target].on_unblocked = streams[source].resume
            sent = self.run_peer(peers[source].sendall, CONTENT)
            await owners[target].saw("blocked")
            assert hashlib.sha256(await self.run_peer(read_exactly, peers[target], len(CONTENT))).digest() == DIGEST
            await sent
            assert streams[source].octets_in == streams[target].octets_out == len(CONTENT)
            assert max(map(len, owners[source].chunks)) <= 256 * 1024

    async def test_20_mib_both_ways_in_clear(self) -> None:
        await self.carry(None)

    async def test_20_mib_both_ways_over_tls_1_2(self) -> None:
        await self.carry(TLS12)

    async def test_20_mib_both_ways_over_tls_1_3(self) -> None:
        await self.carry(TLS13)

    async def test_one_large_send_arrives_whole(self) -> None:
        owner = Recorder()
        stream, peer = await self.secured_pair(owner)
        content = os.urandom(3 * MIB)
        stream.send(content)
        assert await self.run_peer(read_exactly, peer, len(content)) == content

    async def test_one_wake_up_gives_one_call(self) -> None:
        owner = Recorder()
        stream, peer = await self.secured_pair(owner)
        content = os.urandom(40_000)
        stream.pause()
        await self.run_peer(peer.sendall, content)  # three records that wait in the kernel
        stream.resume()
        await owner.until(lambda: len(owner.received) == len(content))
        assert list(map(len, owner.chunks)) == [len(content)]


class LongChainTests(StreamCase):
    """Flights over 32 KiB, which a handshake over a bounded buffer never gets through."""

    def long_chain(self) -> trustme.LeafCert:
        many = [f"name-{number:05}.some-rather-long-domain-name.test" for number in range(1000)]
        return authority.issue_cert(NAME, *many)

    async def test_ours(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        context = SSL.Context(SSL.TLS_METHOD)
        self.long_chain().configure_cert(context)
        stream.start_tls(context, Role.SERVER)
        tls = await self.run_peer(secure_client, peer)
        assert len(tls.getpeercert(binary_form=True) or b"") > 32 * 1024
        tls.close()

    async def test_the_servers(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.start_tls(client_context(), Role.CLIENT)
        context = peer_server()
        self.long_chain().configure_cert(context)
        tls = await self.run_peer(secure_server, peer, context)
        await owner.saw("upgraded")
        tls.close()

    async def test_the_clients(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        context = server_context()
        authority.configure_trust(context)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        stream.start_tls(context, Role.SERVER)
        client = peer_client()
        self.long_chain().configure_cert(client)
        tls = await self.run_peer(secure_client, peer, client)
        await owner.saw("upgraded")
        assert owner.connection is not None
        assert owner.connection.get_peer_certificate(as_cryptography=True) is not None
        tls.close()


class FailureTests(StreamCase):
    async def test_our_alert_reaches_the_peer(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        context = server_context()
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        stream.start_tls(context, Role.SERVER)
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            await self.run_peer(secure_client, peer, peer_client(TLS12))
        assert await owner.closed() is Ending.TLS_FAILED
        assert isinstance(owner.failures[0], SSL.Error)
        assert owner.order == ["handshake failed", "closed"]
        assert stream.failure is owner.failures[0]

    async def test_a_failure_inside_start_tls_is_told_later(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.collect_hello()
        context = server_context()
        context.set_min_proto_version(SSL.TLS1_3_VERSION)

        def refuse(_hello: bytes) -> None:
            stream.start_tls(context, Role.SERVER)
            assert not owner.failures

        owner.on_hello = refuse
        with pytest.raises(ssl.SSLError):
            await self.run_peer(secure_client, peer, peer_client(TLS12))
        assert await owner.closed() is Ending.TLS_FAILED
        assert len(owner.failures) == 1

    async def test_a_certificate_that_we_refuse(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER)
        stream.start_tls(context, Role.CLIENT)
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
            await self.run_peer(secure_server, peer)
        assert await owner.closed() is Ending.TLS_FAILED

    async def test_a_certificate_that_the_peer_refuses(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.start_tls(server_context(), Role.SERVER)
        with pytest.raises(ssl.SSLCertVerificationError):
            await self.run_peer(secure_client, peer, ssl.create_default_context())
        assert await owner.closed() is Ending.TLS_FAILED
        assert "unknown ca" in str(owner.failures[0])

    async def test_an_end_within_the_handshake(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.start_tls(client_context(), Role.CLIENT)
        peer.recv(10000)
        peer.shutdown(socket.SHUT_WR)
        assert await owner.closed() is Ending.TLS_FAILED
        assert owner.failures == [TlsFailure(TlsReason.CONNECTION_CLOSED)]

    async def test_a_reset_within_the_handshake(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.start_tls(client_context(), Role.CLIENT)
        reset(peer)
        assert await owner.closed() is Ending.RESET
        assert owner.failures == [TlsFailure(TlsReason.CONNECTION_CLOSED, "reset")]
        assert owner.order == ["handshake failed", "closed"]

    async def test_a_tls_1_3_refusal_of_our_client_certificate_shows_after_the_handshake(self) -> None:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        stream.start_tls(client_context(), Role.CLIENT)
        context = peer_server()
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        with pytest.raises(ssl.SSLError):
            await self.run_peer(secure_server, peer, context)
        assert await owner.closed() is Ending.TLS_FAILED
        assert owner.order == ["upgraded", "closed"]
        assert "certificate required" in str(stream.failure)

    async def test_octets_that_are_no_record_end_it(self) -> None:
        owner = Recorder()
        stream, secured = await self.secured_pair(owner)
        peer = socket.socket(fileno=os.dup(secured.fileno()))
        peer.settimeout(10)
        peer.sendall(b"RSET\r\n" * 10)
        assert await owner.closed() is Ending.TLS_FAILED
        assert isinstance(stream.failure, SSL.Error)
        assert not owner.received
        peer.close()

    async def test_one_failed_handshake_leaves_no_trace_in_the_next(self) -> None:
        """OpenSSL's queue of errors is the thread's, not the connection's."""
        steady = Recorder()
        stream, tls = await self.secured_pair(steady)
        for number in range(20):
            owner = Recorder()
            bad, peer = await self.pair(owner)
            bad.start_tls(server_context(), Role.SERVER)
            peer.sendall(b"\x16\x03\x01\0\x05nonsense")
            await owner.saw("handshake failed")
            tls.sendall(b"NOOP\r\n")
            await steady.until(lambda expected=6 * number + 6: len(steady.received) == expected)  # type: ignore[misc]
        assert stream.secured


class RecordTests(StreamCase):
    async def say_with_openssl(self, owner: Recorder, said: dict[bytes, bytes], *options: str) -> None:
        """Have `openssl s_client` say each key and wait for its value; it has commands for what libraries hide."""

        def accept(stream: Stream) -> None:
            stream.owner = owner
            owner.on_received = stream.send
            stream.start_tls(server_context(), Role.SERVER)

        command = ["openssl", "s_client", "-brief", *options, "-connect", f"127.0.0.1:{self.listen(accept)}"]

        def run() -> None:
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as client:
                assert client.stdin
                assert client.stdout
                for word, answer in said.items():
                    client.stdin.write(word)
                    client.stdin.flush()
                    while answer not in (line := client.stdout.readline()):
                        assert line
                client.kill()

        await self.run_peer(run)
        await owner.closed()

    async def test_a_key_update_is_answered(self) -> None:
        owner = Recorder()
        await self.say_with_openssl(owner, {b"EHLO\n": b"EHLO", b"K\n": b"KEYUPDATE", b"NOOP\n": b"NOOP"})
        assert owner.received == b"EHLO\nNOOP\n"

    async def test_renegotiation_is_refused(self) -> None:
        owner = Recorder()
        await self.say_with_openssl(
            owner, {b"EHLO\n": b"EHLO", b"R\n": b"RENEGOTIATING", b"": b"no renegotiation"}, "-tls1_2"
        )
        assert owner.order.count("upgraded") == 1
        assert owner.connection is not None
        assert owner.connection.total_renegotiations() == 0

    async def test_a_session_is_resumed(self) -> None:
        context, session = server_context(), None
        resumed = []
        for _ in range(2):
            owner = Recorder()
            stream, peer = await self.pair(owner)
            stream.start_tls(context, Role.SERVER)
            client = self.client
            tls = await self.run_peer(self._resume, peer, client, session)
            await owner.saw("upgraded")
            stream.send(b"220 with the tickets\r\n")
            await self.run_peer(tls.recv, 100)
            session = tls.session
            resumed.append(tls.session_reused)
            tls.close()
        assert resumed == [False, True]

    client = peer_client()

    @staticmethod
    def _resume(peer: socket.socket, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
        return context.wrap_socket(peer, server_hostname=NAME, session=session)

    async def test_close_notify_is_a_clean_end(self) -> None:
        owner = Recorder()
        _, tls = await self.secured_pair(owner)

        def end() -> None:
            tls.sendall(b"QUIT\r\n")
            tls.unwrap().close()

        await self.run_peer(end)  # unwrap waits for our close_notify
        assert await owner.closed() is Ending.CLEAN
        assert owner.received == b"QUIT\r\n"

    async def test_an_end_of_tcp_alone_is_told_apart(self) -> None:
        owner = Recorder()
        _, tls = await self.secured_pair(owner)
        tls.sendall(b"DATA")
        tls.shutdown(socket.SHUT_WR)
        assert await owner.closed() is Ending.TRUNCATED
        assert owner.received == b"DATA"
