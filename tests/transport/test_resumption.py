"""The cache itself; what goes in and comes out in real handshakes stands in test_upstream_handshake."""

from __future__ import annotations

from typing import cast

from OpenSSL import SSL

from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts, TlsVersion
from smtpproxy.transport.resumption import (
    MAX_SESSIONS,
    MAX_SESSIONS_OF_DESTINATION,
    Destination,
    KeptSession,
    TlsSessions,
)
from smtpproxy.transport.ticket import Ticket

CONTEXT = SSL.Context(SSL.TLS_METHOD)
PEER = PeerCertificate(b"", "", (), (), 1_000_000)


class Times:
    """A cache and its clocks."""

    def __init__(self) -> None:
        self.now_s, self.wall_s = 0.0, 0.0
        self.sessions = TlsSessions(lambda: self.now_s, lambda: self.wall_s)

    @property
    def size(self) -> int:
        return self.sessions.figures.size


def destination(number: int) -> Destination:
    return Destination(CONTEXT, "192.0.2.1", number, None)


def kept(name: str = "", *, until_s: float = 100.0, version: TlsVersion = TlsVersion.TLS1_3) -> KeptSession:
    session = cast("SSL.Session", name)  # the cache never looks at it
    return KeptSession(session, Ticket(b"", 1), TlsFacts(version, "", peer=PEER, chain=Chain.VALID), 0.0, until_s)


def taken(cache: TlsSessions, number: int) -> object:
    found = cache.take(destination(number))
    return None if found is None else found.session


def test_the_newest_is_offered_first_and_each_once() -> None:
    cache = TlsSessions(wall=lambda: 0.0, monotonic=lambda: 0.0)
    for name in ("first", "second"):
        cache.keep(destination(1), kept(name))
    assert [taken(cache, 1) for _ in range(3)] == ["second", "first", None]
    assert cache.figures.size == 0


def test_one_of_tls12_does_for_all() -> None:
    times = Times()
    for name in ("first", "second"):
        times.sessions.keep(destination(1), kept(name, version=TlsVersion.TLS1_2))
    assert [taken(times.sessions, 1) for _ in range(3)] == ["second"] * 3
    assert times.size == 1


def test_a_destination_keeps_a_few() -> None:
    times = Times()
    for number in range(3 * MAX_SESSIONS_OF_DESTINATION):
        times.sessions.keep(destination(1), kept(str(number)))
    assert times.size == MAX_SESSIONS_OF_DESTINATION
    assert taken(times.sessions, 1) == str(3 * MAX_SESSIONS_OF_DESTINATION - 1)


def test_where_it_is_full_the_destination_that_was_not_used_for_the_longest_time_loses() -> None:
    times = Times()
    for number in range(MAX_SESSIONS):
        times.sessions.keep(destination(number), kept("a"))
    times.sessions.keep(destination(0), kept("b"))
    assert times.size == MAX_SESSIONS
    assert taken(times.sessions, 1) is None
    assert [taken(times.sessions, 0) for _ in range(2)] == ["b", "a"]


def test_a_flood_of_destinations_is_bounded() -> None:
    times = Times()
    for number in range(3 * MAX_SESSIONS):
        times.sessions.keep(destination(number), kept())
    assert (times.size, len(times.sessions._pools)) == (MAX_SESSIONS, MAX_SESSIONS)


def test_what_is_over_is_passed_over() -> None:
    times = Times()
    times.sessions.keep(destination(1), kept("long", until_s=50))
    times.sessions.keep(destination(1), kept("short", until_s=10))
    times.now_s = 10
    assert taken(times.sessions, 1) == "long"
    assert times.size == 0


def test_what_is_over_is_neither_kept_nor_left_in_memory() -> None:
    times = Times()
    times.sessions.keep(destination(1), kept(until_s=10))
    times.sessions.keep(destination(2), kept(until_s=10))
    times.now_s = 10
    times.sessions.keep(destination(3), kept(until_s=10))
    assert times.size == 2
    times.sessions.keep(destination(4), kept())
    assert times.size == 1


def test_an_expired_certificate_ends_a_session_whenever_the_clock_is_set() -> None:
    times = Times()
    times.sessions.keep(destination(1), kept(version=TlsVersion.TLS1_2))
    times.wall_s = PEER.not_after - 1
    assert taken(times.sessions, 1) is not None
    times.wall_s = PEER.not_after
    assert taken(times.sessions, 1) is None


def test_a_session_without_a_peer_is_not_kept() -> None:
    times = Times()
    nobody = KeptSession(kept().session, Ticket(b"", 1), TlsFacts(TlsVersion.TLS1_3, ""), 0.0, 100.0)
    times.sessions.keep(destination(1), nobody)
    assert times.size == 0


def test_a_destination_can_be_forgotten() -> None:
    times = Times()
    for number in (1, 1, 2):
        times.sessions.keep(destination(number), kept())
    times.sessions.forget(destination(1))
    times.sessions.forget(destination(3))
    assert times.size == 1


def test_the_figures() -> None:
    times = Times()
    times.sessions.keep(destination(1), kept())
    for number in (1, 1, 2):
        taken(times.sessions, number)
    figures = times.sessions.figures
    assert (figures.size, figures.limit, figures.hits, figures.misses) == (0, MAX_SESSIONS, 1, 2)
