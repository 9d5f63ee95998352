"""An upstream on a real socket whose chain is examined before the session hears of its handshake."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import cast

import pytest
from cryptography.x509.ocsp import OCSPCertStatus
from OpenSSL import SSL

from smtpproxy.net.owner import Listener, UpstreamOwner
from smtpproxy.peers.examiner import Examination, Examiner
from smtpproxy.policy.model import Ocsp, SecondOpinion, TlsProfile
from smtpproxy.session.events import Event, Received, Upgraded
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts, TlsReason
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.resumption import TlsSessions
from smtpproxy.transport.stream import Role, Stream
from smtpproxy.transport.upstream_handshake import UpstreamHandshake
from tests.handshakes import plain_server
from tests.peers.chains import lax_root, trust_in
from tests.peers.reactors import on_reactor
from tests.peers.responder import MUST_STAPLE, Says, answer
from tests.pki import Pair, Wanted, make_leaf, make_root
from tests.transport.streams import PEER_TIMEOUT_S, Recorder, StreamCase, reactor

GREETING = b"220 mx.example.net ESMTP\r\n"


class Session(Recorder):
    """A listener that notes the session's events, and lets a test wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def post(self, event: Event) -> None:
        self.events.append(event)
        self._note(type(event).__name__)

    def connected(self, stream: Stream) -> None:
        """Known already."""


class ExaminedUpstreamTests(StreamCase):
    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def setUp(self) -> None:
        super().setUp()
        self.examiner = Examiner(reactor)
        self.addCleanup(self.examiner.stopService)

    async def meet(self, profile: TlsProfile, root: Pair, leaf: Pair, staple: bytes = b"") -> TlsFacts:
        """Shake hands with a server that greets at once; return the facts that the session was told first."""
        session = Session()
        stream, peer = await self.pair(session)
        owner = UpstreamOwner(cast("Listener", session))
        owner.dial_succeeded(stream)
        stream.owner = owner
        trust = trust_in(self.folder, root)
        context = Contexts().client(profile, trust)
        handshake = UpstreamHandshake(TlsSessions(), context, ("192.0.2.1", 465), "mx.example.net", profile.ocsp)
        owner.expect(handshake, Examination(self.examiner, profile, trust))
        stream.start_tls(context, Role.CLIENT, handshake.prepare)
        await self.run_peer(self._greet, peer, leaf, staple)
        await session.saw("Received")
        upgraded, received = session.events
        assert received == Received(Leg.UPSTREAM, GREETING)
        assert isinstance(upgraded, Upgraded)
        stream.owner = session  # which is told of its end
        return upgraded.facts

    @staticmethod
    def _greet(peer: socket.socket, leaf: Pair, staple: bytes) -> None:
        context = plain_server(leaf)
        context.set_ocsp_server_callback(lambda *_: staple)
        peer.settimeout(None)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(PEER_TIMEOUT_S).to_bytes(8, "little") + bytes(8))
        connection = SSL.Connection(context, peer)
        connection.set_accept_state()
        connection.do_handshake()
        connection.sendall(GREETING)

    @on_reactor
    async def test_a_good_staple_is_enough_for_strict(self) -> None:
        root = make_root()
        leaf = make_leaf(root, Wanted(extensions=(MUST_STAPLE,)))
        profile = TlsProfile("test", ocsp=Ocsp.STRICT, chain_second_opinion=SecondOpinion.OFF)
        facts = await self.meet(profile, root, leaf, answer(leaf, root, Says()))
        assert (facts.chain, facts.revocation) == (Chain.VALID, Revocation.GOOD)

    @on_reactor
    async def test_a_bad_one_is_believed(self) -> None:
        root = make_root()
        leaf = make_leaf(root)
        profile = TlsProfile("test", ocsp=Ocsp.LENIENT, chain_second_opinion=SecondOpinion.OFF)
        facts = await self.meet(profile, root, leaf, answer(leaf, root, Says(OCSPCertStatus.REVOKED)))
        assert (facts.chain, facts.reason) == (Chain.INVALID, TlsReason.CERTIFICATE_REVOKED)

    @on_reactor
    async def test_none_is_none(self) -> None:
        root = make_root()
        profile = TlsProfile("test", ocsp=Ocsp.STRICT, chain_second_opinion=SecondOpinion.OFF)
        facts = await self.meet(profile, root, make_leaf(root, Wanted(extensions=(MUST_STAPLE,))))
        assert (facts.chain, facts.revocation) == (Chain.INVALID, Revocation.NOT_STAPLED)

    @on_reactor
    async def test_a_greeting_right_behind_the_handshake_waits_for_the_second_opinion(self) -> None:
        lax = lax_root()
        profile = TlsProfile("test", chain_second_opinion=SecondOpinion.ENFORCE)
        facts = await self.meet(profile, lax, make_leaf(lax))
        assert (facts.chain, facts.second_opinion) == (Chain.INVALID, "critical-extension")
