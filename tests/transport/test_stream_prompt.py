"""How long a server's first words inside TLS take."""

from __future__ import annotations

import socket
from time import monotonic

from smtpproxy.transport.stream import Role
from tests.transport.streams import NAME, Recorder, StreamCase, client_context, secure_server

GREETING = b"220 mx.test ESMTP\r\n"
DELAYED_ACK_S = 0.04  # TCP_DELACK_MIN of Linux


class PromptTests(StreamCase):
    async def test_words_behind_a_servers_tickets_do_not_wait_for_an_acknowledgement_of_those(self) -> None:
        """The least of several counts, so that a busy machine spoils nothing."""
        assert min([await self.wait_for_greeting() for _ in range(5)]) < DELAYED_ACK_S / 2

    async def wait_for_greeting(self) -> float:
        owner = Recorder()
        stream, peer = await self.pair(owner)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        serving = self.run_peer(_greet, peer)
        stream.start_tls(client_context(), Role.CLIENT, lambda tls: tls.set_tlsext_host_name(NAME.encode()))
        await owner.saw("upgraded")
        begun = monotonic()
        await owner.saw("received")
        assert owner.received == GREETING
        (await serving).close()
        return monotonic() - begun


def _greet(peer: socket.socket) -> socket.socket:
    secured = secure_server(peer)  # sends two tickets at its end
    secured.sendall(GREETING)
    return secured
