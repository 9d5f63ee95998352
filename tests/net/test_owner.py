from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from smtpproxy.net.owner import ClientOwner, Listener, UpstreamOwner
from smtpproxy.session.events import ClientHelloSeen, Closed, Event, Received, TlsFailed, Upgraded
from smtpproxy.session.legs import Leg
from smtpproxy.tls.facts import TlsFacts, TlsFailure, TlsReason, TlsVersion
from smtpproxy.transport.stream import Ending, Stream
from smtpproxy.transport.upstream_handshake import NO_EVIDENCE, Evidence, UpstreamHandshake

FACTS = TlsFacts(TlsVersion.TLS1_3, "suite", resumed=True)
FAILURE = TlsFailure(TlsReason.PEER_ALERT)
CONNECTION = cast("SSL.Connection", object())


class Notes:
    """A listener, a handshake, its examination and its stream, which note in one list what they are told."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.facts = FACTS
        self.kept: TlsFacts | None = None
        self.waits: Deferred[TlsFacts] | None = None
        self.owner: object = None
        self.evidence = NO_EVIDENCE
        self.refusal: TlsFailure | None = None

    def post(self, event: Event) -> None:
        self.seen.append(event)

    def connected(self, stream: Stream) -> None:
        self.seen.append(stream)

    def forget(self, leg: Leg) -> None:
        self.seen.append(leg)

    def refuse_hello(self, failure: TlsFailure) -> None:
        self.seen.append(failure)

    def established(self, _connection: SSL.Connection) -> TlsFacts:
        return self.facts

    def at_once(self, facts: TlsFacts, _evidence: Evidence) -> TlsFacts | None:
        return facts if self.waits is None else None

    def examine(self, _facts: TlsFacts, _evidence: Evidence) -> Deferred[TlsFacts]:
        assert self.waits is not None
        return self.waits

    def examined(self, facts: TlsFacts) -> None:
        self.kept = facts

    def hold(self) -> None:
        self.seen.append("held")

    def let_go(self) -> None:
        self.seen.append("let go")

    def octets_came(self) -> None:
        self.seen.append("session kept")

    def failed(self) -> None:
        self.seen.append("session dropped")

    def refused(self, _detail: str) -> TlsFailure | None:
        return self.refusal


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def upstream(notes: Notes) -> UpstreamOwner:
    return UpstreamOwner(cast("Listener", notes))


def begin(upstream: UpstreamOwner, notes: Notes) -> None:
    upstream.expect(cast("UpstreamHandshake", notes), notes)


def test_what_a_handshake_established_is_told_and_its_session_kept_with_the_first_octets_alone(
    upstream: UpstreamOwner, notes: Notes
) -> None:
    begin(upstream, notes)
    upstream.stream_upgraded(CONNECTION)
    upstream.stream_received(b"1")
    upstream.stream_received(b"2")
    told = [Upgraded(Leg.UPSTREAM, FACTS), "session kept", Received(Leg.UPSTREAM, b"1"), Received(Leg.UPSTREAM, b"2")]
    assert notes.seen == told


def begin_to_wait(upstream: UpstreamOwner, notes: Notes) -> Deferred[TlsFacts]:
    waits: Deferred[TlsFacts] = Deferred()
    notes.waits = waits
    notes.owner = upstream
    upstream.dial_succeeded(cast("Stream", notes))
    notes.seen.clear()
    begin(upstream, notes)
    upstream.stream_upgraded(CONNECTION)
    return waits


def test_nothing_is_read_and_nothing_told_while_an_examination_takes_time(
    upstream: UpstreamOwner, notes: Notes
) -> None:
    waits = begin_to_wait(upstream, notes)
    assert notes.seen == ["held"]
    examined = replace(FACTS, second_opinion="no-path")
    waits.callback(examined)
    assert notes.seen == ["held", Upgraded(Leg.UPSTREAM, examined), "let go"]
    assert notes.kept == examined


def test_an_examination_that_comes_too_late_is_not_told(upstream: UpstreamOwner, notes: Notes) -> None:
    waits = begin_to_wait(upstream, notes)
    upstream.stream_closed(Ending.RESET)
    notes.owner = None
    waits.callback(FACTS)
    assert notes.seen == ["held", "session dropped", Closed(Leg.UPSTREAM, "reset")]


def test_in_clear_there_is_no_session(upstream: UpstreamOwner, notes: Notes) -> None:
    upstream.stream_received(b"220 hello\r\n")
    assert notes.seen == [Received(Leg.UPSTREAM, b"220 hello\r\n")]


def test_a_handshake_that_fails_costs_the_upstream_its_sessions(upstream: UpstreamOwner, notes: Notes) -> None:
    begin(upstream, notes)
    upstream.stream_tls_failed(FAILURE, None)
    assert notes.seen == ["session dropped", Leg.UPSTREAM, TlsFailed(Leg.UPSTREAM, FAILURE)]


@pytest.mark.parametrize(("octets", "dropped"), [(b"", ["session dropped"]), (b"220 hello\r\n", [])])
def test_so_does_a_connection_that_brings_nothing_inside_tls(
    upstream: UpstreamOwner, notes: Notes, octets: bytes, dropped: list[str]
) -> None:
    begin(upstream, notes)
    upstream.stream_upgraded(CONNECTION)
    if octets:
        upstream.stream_received(octets)
    notes.seen.clear()
    upstream.stream_closed(Ending.CLEAN)
    assert notes.seen == [*dropped, Closed(Leg.UPSTREAM, "clean")]


def test_an_upstream_that_misses_our_certificate_has_refused_tls(upstream: UpstreamOwner, notes: Notes) -> None:
    begin(upstream, notes)
    upstream.stream_upgraded(CONNECTION)
    notes.seen.clear()
    notes.refusal = TlsFailure(TlsReason.CLIENT_CERTIFICATE_REQUIRED)
    upstream.stream_closed(Ending.TLS_FAILED)
    assert notes.seen == ["session dropped", Leg.UPSTREAM, TlsFailed(Leg.UPSTREAM, notes.refusal)]


def test_a_handshake_that_nobody_began_is_a_mistake_of_ours(upstream: UpstreamOwner) -> None:
    with pytest.raises(AssertionError, match="nobody began"):
        upstream.stream_upgraded(CONNECTION)


def first_flight(highest: int) -> bytes:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(highest)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)[5:]  # without the record's header


@pytest.mark.parametrize(("highest", "limited"), [(SSL.TLS1_3_VERSION, True), (SSL.TLS1_2_VERSION, False)])
def test_a_client_of_tls13_without_a_session_is_given_no_ticket(notes: Notes, highest: int, *, limited: bool) -> None:
    owner = ClientOwner(cast("Listener", notes))
    owner.stream_hello(first_flight(highest))
    assert isinstance(notes.seen[0], ClientHelloSeen)
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    before = connection.set_options(0)
    owner.prepare(connection)
    assert not before & SSL.OP_NO_TICKET
    assert bool(connection.set_options(0) & SSL.OP_NO_TICKET) is limited
