from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtpproxy.audit import Crash, Origin, Record
from smtpproxy.net.driver import Driver
from smtpproxy.net.equipment import Equipment
from smtpproxy.peers.memory import BrokenTls
from smtpproxy.policy.knowledge import Answer, Knowledge
from smtpproxy.policy.selection import Address
from smtpproxy.session.actions import (
    Action,
    DiscardSpool,
    End,
    ForgetBroken,
    LookUp,
    RememberBroken,
    ReplaySpool,
    Send,
    SetTimer,
    SpoolWrite,
)
from smtpproxy.session.events import Drain, Event, PeerFacts, TimedOut, UpstreamConnected
from smtpproxy.session.legs import Leg
from smtpproxy.session.session import Session
from smtpproxy.session.timers import Timer
from smtpproxy.spool import Spools
from smtpproxy.tls.facts import TlsFailure, TlsReason
from smtpproxy.transport.stream import Stream
from tests.session.playbook import ORIGIN


class Script:
    """A session that does what a test says, and breaks where it says nothing."""

    def __init__(self, **actions: list[Action]) -> None:
        self.actions = actions
        self.events: list[str] = []

    def receive(self, event: Event) -> list[Action]:
        self.events.append(type(event).__name__)
        return self.actions[type(event).__name__]


class Line:
    """A stream that notes what is asked of it."""

    def __init__(self) -> None:
        self.owner: object = None
        self.asked: list[object] = []
        self.peer_host, self.peer_port = "192.0.2.25", 25

    def send(self, data: bytes) -> None:
        self.asked.append(data)

    def close(self, last: bytes = b"") -> None:
        self.asked += [last, "close"] if last else ["close"]

    def abort(self) -> None:
        self.asked.append("abort")


class Knowing:
    """A directory whose look-ups a test ends."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, bool, int]] = []
        self.given_up: list[str] = []
        self.looking: list[Deferred[Knowledge]] = []
        self.names: dict[Address, str] = {}

    def look_up(self, domain: str, *, tlsa: bool, sts: bool, port: int) -> Deferred[Knowledge]:
        self.asked.append((domain, tlsa, sts, port))
        looking: Deferred[Knowledge] = Deferred(lambda _: self.given_up.append(domain))
        self.looking.append(looking)
        return looking.addErrback(lambda _: Knowledge(domain, Answer.FAILED))

    def name_of(self, address: Address) -> str | None:
        return self.names.get(address)


class DriverTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.records: list[Record] = []
        self.ended: list[Driver] = []
        self.client, self.upstream = Line(), Line()
        self.directory = Knowing()
        self.broken_tls = BrokenTls(self.clock.seconds)

    # What `Equipment` gives to a driver.

    @property
    def reactor(self) -> Clock:
        return self.clock

    def write(self, record: Record) -> None:
        self.records.append(record)

    def reference(self) -> str:
        return "ref1"

    @property
    def spools(self) -> Spools:
        return Spools(Path("/nowhere"), 1000, 1000)

    def driver(self, script: Script, origin: Origin = ORIGIN) -> Driver:
        session, client = cast("Session", script), cast("Stream", self.client)
        made = Driver(session, client, origin, cast("Equipment", self), self.ended.append)
        made.start()
        made.connected(cast("Stream", self.upstream))
        return made

    def break_down(self, **actions: list[Action]) -> tuple[Driver, Script]:
        """Run a session that breaks when it is drained."""
        script = Script(ClientConnected=[SetTimer(Timer.AGE, 60)], UpstreamConnected=[], **actions)
        driver = self.driver(script)
        driver.drain()
        assert len(cast("list[Any]", self.flushLoggedErrors(KeyError))) == 1  # type: ignore[no-untyped-call]
        return driver, script

    def test_a_crash_tells_the_client_and_lets_nothing_unsent_reach_upstream(self) -> None:
        driver, _ = self.break_down()
        assert self.client.asked == [b"421 4.3.0 Internal error, closing connection\r\n", "close"]
        assert self.upstream.asked == ["abort"]
        assert self.records == [Crash(ORIGIN, "ref1", "KeyError")]
        assert self.ended == [driver]

    def test_a_crashed_session_is_never_entered_again(self) -> None:
        driver, script = self.break_down()
        before = list(script.events)
        driver.post(TimedOut(Timer.AGE))
        driver.post(UpstreamConnected())
        self.clock.advance(120)
        assert script.events == before
        assert self.ended == [driver]
        assert self.clock.getDelayedCalls() == []

    def test_what_a_session_leaves_open_is_closed(self) -> None:
        script = Script(ClientConnected=[], UpstreamConnected=[Send(Leg.UPSTREAM, b"x"), End()])
        self.driver(script)
        assert self.upstream.asked == [b"x", "abort"]
        assert self.client.asked == ["abort"]
        assert len(self.ended) == 1

    def test_an_action_that_posts_an_event_does_not_enter_the_session_again(self) -> None:
        entered: list[int] = []

        class Reentrant(Script):
            def receive(self, event: Event) -> list[Action]:
                assert not entered, "the session was entered while it was at work"
                entered.append(1)
                try:
                    return super().receive(event)
                finally:
                    entered.pop()

        script = Reentrant(ClientConnected=[], UpstreamConnected=[Send(Leg.CLIENT, b"x")], Drain=[])
        driver: list[Driver] = []
        self.client.send = lambda data: driver[0].post(Drain())  # type: ignore[method-assign]  # noqa: ARG005
        session, client = cast("Session", script), cast("Stream", self.client)
        driver.append(Driver(session, client, ORIGIN, cast("Equipment", self), self.ended.append))
        driver[0].connected(cast("Stream", self.upstream))
        assert script.events == ["UpstreamConnected", "Drain"]

    # Look-ups

    def test_a_look_up_ends_in_what_is_known(self) -> None:
        told: list[Event] = []

        class Listening(Script):
            def receive(self, event: Event) -> list[Action]:
                told.append(event)
                return super().receive(event)

        look_up = LookUp("example.org", tlsa=True, sts=False)
        self.driver(Listening(ClientConnected=[], UpstreamConnected=[look_up], PeerFacts=[]))
        assert self.directory.asked == [("example.org", True, False, 25)]
        known = Knowledge("example.org", Answer.FOUND)
        self.directory.names[ip_address("192.0.2.25")] = "mx.example.org"
        self.directory.looking[0].callback(known)
        assert told[-1] == PeerFacts(known, "mx.example.org")

    def test_a_session_that_ends_waits_for_no_look_up(self) -> None:
        look_up = LookUp("example.org", tlsa=True, sts=False)
        script = Script(ClientConnected=[], UpstreamConnected=[look_up], Drain=[End()])
        self.driver(script).drain()
        assert self.directory.given_up == ["example.org"]
        assert script.events == ["ClientConnected", "UpstreamConnected", "Drain"]
        assert len(self.ended) == 1

    def test_the_session_hears_by_which_name_its_upstream_is_known(self) -> None:
        told: list[Event] = []

        class Listening(Script):
            def receive(self, event: Event) -> list[Action]:
                told.append(event)
                return super().receive(event)

        address = ip_address("192.0.2.25")
        self.directory.names[address] = "mx.example.net"
        self.driver(Listening(ClientConnected=[], UpstreamConnected=[]))
        assert told[-1] == UpstreamConnected(address, "mx.example.net")

    def test_what_a_look_up_that_was_given_up_finds_is_not_taken_for_what_the_next_one_finds(self) -> None:
        told: list[Event] = []

        class Listening(Script):
            def receive(self, event: Event) -> list[Action]:
                told.append(event)
                return super().receive(event)

        less, more = LookUp("example.org", tlsa=False, sts=False), LookUp("example.org", tlsa=True, sts=True)
        script = Listening(ClientConnected=[], UpstreamConnected=[less], TimedOut=[more], PeerFacts=[])
        self.driver(script).post(TimedOut(Timer.LOOK_UP))
        assert self.directory.given_up == ["example.org"]
        assert not any(isinstance(each, PeerFacts) for each in told)
        known = Knowledge("example.org", Answer.FOUND)
        self.directory.looking[1].callback(known)
        assert told[-1] == PeerFacts(known)

    # TLS that broke

    def test_broken_tls_is_remembered_for_the_same_server_and_proxy_action_until_it_comes_about(self) -> None:
        failure = TlsFailure(TlsReason.PEER_ALERT)
        script = Script(ClientConnected=[], UpstreamConnected=[RememberBroken(failure, 60)])
        self.driver(script)
        assert self.recalled(ORIGIN) == failure
        assert self.recalled(replace(ORIGIN, proxy_action="another")) is None
        self.driver(Script(ClientConnected=[], UpstreamConnected=[ForgetBroken()]))
        assert self.recalled(ORIGIN) is None

    def recalled(self, origin: Origin) -> TlsFailure | None:
        """What a session hears of the last one's upstream."""
        told: list[TlsFailure | None] = []

        class Listening(Script):
            def receive(self, event: Event) -> list[Action]:
                told.extend([event.broken] if isinstance(event, UpstreamConnected) else [])
                return super().receive(event)

        self.driver(Listening(ClientConnected=[], UpstreamConnected=[]), origin)
        return told[0]

    # Held content

    def test_held_content_is_replayed_upstream_behind_what_was_sent_there(self) -> None:
        script = Script(
            ClientConnected=[SpoolWrite(b"one"), SpoolWrite(b"two")],
            UpstreamConnected=[Send(Leg.UPSTREAM, b"first "), ReplaySpool()],
            Spooled=[],
            ReplayDone=[Send(Leg.UPSTREAM, b" last"), DiscardSpool()],
        )
        self.driver(script)
        self.clock.advance(0)
        assert script.events == ["ClientConnected", "Spooled", "Spooled", "UpstreamConnected", "ReplayDone"]
        assert self.upstream.asked == [b"first ", b"onetwo", b" last"]

    def test_nothing_is_replayed_while_upstream_is_blocked(self) -> None:
        script = Script(
            ClientConnected=[SpoolWrite(b"x")],
            UpstreamConnected=[],
            WriteBlocked=[ReplaySpool()],
            WriteUnblocked=[],
            Spooled=[],
            ReplayDone=[],
        )
        driver = self.driver(script)
        driver.blocked(Leg.UPSTREAM)
        self.clock.advance(0)
        assert self.upstream.asked == []
        driver.unblocked(Leg.UPSTREAM)
        assert self.upstream.asked == [b"x"]
        self.clock.advance(0)
        assert script.events[-3:] == ["WriteBlocked", "WriteUnblocked", "ReplayDone"]

    def test_a_client_that_is_blocked_holds_no_replay_up(self) -> None:
        script = Script(
            ClientConnected=[SpoolWrite(b"x")],
            UpstreamConnected=[],
            WriteBlocked=[ReplaySpool()],
            Spooled=[],
            ReplayDone=[],
        )
        self.driver(script).blocked(Leg.CLIENT)
        assert self.upstream.asked == [b"x"]

    def test_an_upstream_that_was_blocked_before_the_first_octet_is_known(self) -> None:
        script = Script(
            ClientConnected=[],
            UpstreamConnected=[],
            WriteBlocked=[SpoolWrite(b"x"), ReplaySpool()],
            WriteUnblocked=[],
            Spooled=[],
        )
        driver = self.driver(script)
        driver.blocked(Leg.UPSTREAM)
        self.clock.advance(0)
        assert self.upstream.asked == []
        driver.unblocked(Leg.UPSTREAM)
        assert self.upstream.asked == [b"x"]
        driver.expire()
        assert len(cast("list[Any]", self.flushLoggedErrors(KeyError))) == 1  # type: ignore[no-untyped-call]

    def test_the_next_message_begins_anew(self) -> None:
        script = Script(
            ClientConnected=[SpoolWrite(b"old"), DiscardSpool(), DiscardSpool(), SpoolWrite(b"new")],
            UpstreamConnected=[ReplaySpool()],
            Spooled=[],
            ReplayDone=[],
        )
        self.driver(script)
        self.clock.advance(0)
        assert self.upstream.asked == [b"new"]

    def test_a_session_that_ends_or_breaks_holds_nothing(self) -> None:
        endings: tuple[list[Action], ...] = ([End()], [Send(Leg.CLIENT, b"x")])
        for actions in endings:
            script = Script(
                ClientConnected=[], UpstreamConnected=[SpoolWrite(b"x"), ReplaySpool()], Spooled=[], Drain=actions
            )
            driver = self.driver(script)
            driver.drain()
            if driver not in self.ended:
                driver.expire()
                assert len(cast("list[Any]", self.flushLoggedErrors(KeyError))) == 1  # type: ignore[no-untyped-call]
            assert driver in self.ended
            self.clock.advance(1)
            assert "ReplayDone" not in script.events
            assert self.clock.getDelayedCalls() == []
