"""Carries out what a session decides: its actions on two streams, what happens there as its events.

The driver holds one queue of events; a session is never entered again while it is at work. An unexpected exception
anywhere below is caught here and nowhere else: the client gets 421, both legs are closed, one record bears a reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import assert_never

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.audit import Crash, Origin
from smtpproxy.authority.signing_client import SigningError
from smtpproxy.endpoint import Endpoint
from smtpproxy.net.deadlines import Deadlines
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.owner import ClientOwner, UpstreamOwner
from smtpproxy.net.spooling import Spooling
from smtpproxy.peers.directory import SMTP_PORT
from smtpproxy.peers.memory import Destination
from smtpproxy.policy.knowledge import Knowledge
from smtpproxy.policy.selection import plain_address
from smtpproxy.session.actions import (
    AcceptTls,
    Action,
    Audit,
    BlockSource,
    Close,
    CollectHello,
    Connect,
    ConnectTls,
    DiscardSpool,
    End,
    EndSending,
    ForgetBroken,
    How,
    LookUp,
    PauseReading,
    RememberBroken,
    ReplaySpool,
    ResumeReading,
    Send,
    SetTimer,
    Splice,
    SpoolWrite,
    StartTls,
)
from smtpproxy.session.events import (
    ClientConnected,
    Drain,
    Event,
    Expire,
    PeerFacts,
    TimedOut,
    TlsFailed,
    UpstreamConnected,
    WriteBlocked,
    WriteUnblocked,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.session import Session
from smtpproxy.session.standing import Standing
from smtpproxy.session.timers import Timer
from smtpproxy.smtp import catalogue
from smtpproxy.tls.facts import TlsFailure, TlsReason
from smtpproxy.transport.dial import Dial, dial
from smtpproxy.transport.stream import Role, Stream

_log = Logger()


class Driver:
    """Runs one session.

    Args:
        session: decides.
        client: the client's stream.
        origin: for the record of a crash.
        equipment: what all sessions share.
        on_end: called once, when the session is over.
    """

    __slots__ = (
        "_blocked", "_client", "_client_owner", "_deadlines", "_dial", "_dialled", "_equipment", "_events",
        "_looking", "_made", "_on_end", "_origin", "_session", "_spooling", "_upstream", "_upstream_owner",
        "_working",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        client: Stream,
        origin: Origin,
        equipment: Equipment,
        on_end: Callable[[Driver], None],
    ) -> None:
        self._session = session
        self._origin = origin
        self._equipment = equipment
        self._on_end: Callable[[Driver], None] | None = on_end  # none once the session is over
        self._deadlines = Deadlines(equipment.reactor, self._due)
        self._events: deque[Event] = deque()
        self._working = False
        self._client: Stream | None = client
        self._upstream: Stream | None = None
        self._dial: Dial | None = None
        self._dialled = Destination("", 0, origin.proxy_action)
        self._made: tuple[Endpoint, Endpoint] | None = None
        self._looking: Deferred[Knowledge] | None = None  # a look-up that nobody waits for any more is none of ours
        self._blocked: set[Leg] = set()
        self._spooling: Spooling | None = None  # from the first octet to its end
        self._client_owner = ClientOwner(self)
        self._upstream_owner = UpstreamOwner(self)
        client.owner = self._client_owner

    @property
    def origin(self) -> Origin:
        """Who is connected to whom."""
        return self._origin

    @property
    def standing(self) -> Standing:
        """How the session stands."""
        return self._session.standing

    def start(self) -> None:
        """Begin the session."""
        self.post(ClientConnected())

    def drain(self) -> None:
        """Ask the session to end soon."""
        self.post(Drain())

    def expire(self) -> None:
        """Have the session end now."""
        self.post(Expire())

    def post(self, event: Event) -> None:
        """Hand an event to the session and do what it says; in order, however deep this is called."""
        self._events.append(event)
        if self._working or self._on_end is None:
            return
        self._working = True
        try:
            while self._events:
                self._execute_all(self._session.receive(self._events.popleft()))
        except Exception as error:  # noqa: BLE001 - the one catch: a session's failure ends that session only
            self._crash(error)
        finally:
            self._working = False

    def about_to_dial(self, remote: Endpoint) -> AbstractContextManager[None]:
        """Return what is entered until the connection is known as ours."""
        return self._equipment.loops.beginning(remote)

    def dialling(self, local: Endpoint, remote: Endpoint) -> None:
        """Have it known as ours while the session lasts, or until it dials again."""
        self._forget_made()
        self._made = (local, remote)
        self._equipment.loops.begin(self._made)

    def _forget_made(self) -> None:
        if self._made is not None:
            self._equipment.loops.end(self._made)
            self._made = None

    def connected(self, stream: Stream) -> None:
        """Take the dialled stream."""
        self._upstream, self._dial = stream, None
        self._dialled = Destination(stream.peer_host, stream.peer_port, self._origin.proxy_action)
        address, equipment = plain_address(stream.peer_host), self._equipment
        known_as = equipment.directory.name_of(address)
        self.post(UpstreamConnected(address, known_as, equipment.broken_tls.recall(self._dialled)))

    def forget(self, leg: Leg) -> None:
        """Let go of a stream that ends itself."""
        stream = self._find(leg)
        if stream is not None:
            stream.owner = None
        if leg is Leg.CLIENT:
            self._client = None
        else:
            self._upstream = None

    def blocked(self, leg: Leg) -> None:
        """Replay no more while upstream is blocked, and tell the session."""
        self._blocked.add(leg)
        if leg is Leg.UPSTREAM and self._spooling is not None:
            self._spooling.pause()
        self.post(WriteBlocked(leg))

    def unblocked(self, leg: Leg) -> None:
        """Replay on, and tell the session."""
        self._blocked.discard(leg)
        if leg is Leg.UPSTREAM and self._spooling is not None:
            self._spooling.resume()
        self.post(WriteUnblocked(leg))

    def refuse_hello(self, failure: TlsFailure) -> None:
        """Close on a hello that cannot be understood."""
        self._stream(Leg.CLIENT).abort()
        self.forget(Leg.CLIENT)
        self.post(TlsFailed(Leg.CLIENT, failure))

    # Actions

    def _execute_all(self, actions: list[Action]) -> None:
        if actions and isinstance(actions[-1], End):
            self._execute_last(actions)
            return
        for action in actions:
            self._execute(action)

    def _execute_last(self, actions: list[Action]) -> None:
        """A farewell and the close behind it are one."""
        farewell: Send | None = None
        for action, following in pairwise(actions):
            if isinstance(action, Send) and following == Close(action.leg, How.FLUSH):
                farewell = action
            elif farewell is not None:
                self._close(farewell.leg, How.FLUSH, farewell.data)
                farewell = None
            else:
                self._execute(action)
        self._execute(actions[-1])

    def _execute(self, action: Action) -> None:
        match action:
            case Send(leg, data):
                self._stream(leg).send(data)
            case SetTimer(timer, seconds):
                self._deadlines.set(timer, seconds)
            case Audit(record):
                self._equipment.write(record)
            case StartTls(request):
                self._start_tls(request)
            case PauseReading(leg) | ResumeReading(leg) | EndSending(leg):
                if stream := self._find(leg):
                    _turn(stream, action)
            case SpoolWrite() | ReplaySpool() | DiscardSpool():
                self._spool(action)
            case _:
                self._begin_or_end(action)

    def _spool(self, action: SpoolWrite | ReplaySpool | DiscardSpool) -> None:
        match action:
            case SpoolWrite(data):
                self._held_content().write(data)
            case ReplaySpool():
                self._held_content().replay(self._stream(Leg.UPSTREAM).send)
            case DiscardSpool():
                self._discard_spool()
            case _:
                assert_never(action)

    def _held_content(self) -> Spooling:
        if self._spooling is None:
            self._spooling = Spooling(self._equipment.reactor, self._equipment.spools, self.post)
            if Leg.UPSTREAM in self._blocked:
                self._spooling.pause()
        return self._spooling

    def _discard_spool(self) -> None:
        if self._spooling is not None:
            self._spooling.discard()
            self._spooling = None

    def _begin_or_end(
        self,
        action: Connect | CollectHello | Splice | LookUp | RememberBroken | ForgetBroken | BlockSource | Close | End,
    ) -> None:
        match action:
            case LookUp():
                self._look_up(action)
            case RememberBroken(failure, seconds):
                self._equipment.broken_tls.remember(self._dialled, failure, seconds)
            case ForgetBroken():
                self._equipment.broken_tls.forget(self._dialled)
            case BlockSource(address, seconds, reason):
                self._equipment.blocklist.block(address, seconds, reason)
            case Connect(upstream, source):
                self._connect(upstream, source)
            case CollectHello(forgiving):
                self._client_owner.forgives = forgiving
                self._stream(Leg.CLIENT).collect_hello(forgiving=forgiving)
            case Splice():
                self._upstream_owner.splice()
                self._stream(Leg.CLIENT).give_back_hello()
            case Close(leg, how):
                self._close(leg, how)
            case End():
                self._end()
            case _:
                assert_never(action)

    def _find(self, leg: Leg) -> Stream | None:
        return self._client if leg is Leg.CLIENT else self._upstream

    def _stream(self, leg: Leg) -> Stream:
        stream = self._find(leg)
        if stream is None:
            raise AssertionError(f"the {leg.value} leg has no connection")
        return stream

    def _connect(self, upstream: Endpoint, source: str | None) -> None:
        self._upstream = None
        self._blocked.discard(Leg.UPSTREAM)
        self._upstream_owner = UpstreamOwner(self)
        self._dial = dial(self._equipment.reactor, upstream.host, upstream.port, self._upstream_owner, source=source)

    def _look_up(self, action: LookUp) -> None:
        """TLSA records are those of the port that is really dialled (RFC 7672 s2.2.3)."""
        port = self._dialled.port or SMTP_PORT
        self._give_up_looking()
        looking = self._equipment.directory.look_up(action.domain, tlsa=action.tlsa, sts=action.sts, port=port)
        self._looking = looking
        looking.addCallback(self._learn, looking)

    def _learn(self, knowledge: Knowledge, looking: Deferred[Knowledge]) -> None:
        """Tell what the last look-up found; one before it may have asked less about the same domain."""
        if looking is self._looking:
            self._looking = None
            name = self._equipment.directory.name_of(plain_address(self._dialled.host))
            self.post(PeerFacts(knowledge, name))

    def _give_up_looking(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _start_tls(self, request: AcceptTls | ConnectTls) -> None:
        if isinstance(request, AcceptTls):
            self._accept_tls(request, self._stream(Leg.CLIENT))
        else:
            stream = self._stream(Leg.UPSTREAM)
            handshake = self._equipment.upstream_handshake(request, (stream.peer_host, stream.peer_port))
            self._upstream_owner.expect(handshake, self._equipment.examination(request))
            stream.start_tls(handshake.context, Role.CLIENT, handshake.prepare)

    def _accept_tls(self, request: AcceptTls, stream: Stream) -> None:
        """A certificate may have to be waited for; the client's hello has come, and nothing is read behind it."""
        self._client_owner.server_name = request.server_name
        context = self._equipment.server_context(request)
        if isinstance(context, Deferred):
            context.addCallback(self._show, stream)
            context.addErrback(self._show_nothing, stream)
        else:
            self._show(context, stream)

    def _show(self, context: SSL.Context, stream: Stream) -> None:
        if stream is self._client:  # else one of the two has gone
            stream.start_tls(context, Role.SERVER, self._client_owner.prepare)

    def _show_nothing(self, failure: Failure, stream: Stream) -> None:
        if stream is not self._client:
            return
        if isinstance(failure.value, SigningError):
            stream.decline()
            self.forget(Leg.CLIENT)
            self.post(TlsFailed(Leg.CLIENT, TlsFailure(TlsReason.CERTIFICATE_UNAVAILABLE, failure.value.token)))
        elif isinstance(failure.value, Exception):
            self._crash(failure.value)

    def _close(self, leg: Leg, how: How, last: bytes = b"") -> None:
        if leg is Leg.UPSTREAM and self._dial is not None:
            self._dial.cancel()
            self._dial = None
        stream = self._find(leg)
        if stream is None:
            return
        self.forget(leg)
        if how is How.FLUSH:
            stream.close(last)
        else:
            stream.abort()

    def _end(self) -> None:
        """Whatever the session left open is closed: nobody would hear of it any more."""
        self._deadlines.stop()
        self._forget_made()
        self._give_up_looking()
        self._events.clear()
        self._discard_spool()
        self._close(Leg.CLIENT, How.ABORT)
        self._close(Leg.UPSTREAM, How.ABORT)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            del self._client_owner, self._upstream_owner  # in a circle with them, this would keep an old generation
            on_end(self)

    def _due(self, timer: Timer) -> None:
        self.post(TimedOut(timer))

    def _crash(self, error: Exception) -> None:
        reference = self._equipment.reference()
        _log.failure(
            "session {session} failed, reference {ref}", Failure(error), session=self._origin.session, ref=reference
        )
        if self._client is not None:
            self._client.send(catalogue.INTERNAL.to_wire())
        self._close(Leg.CLIENT, How.FLUSH)
        self._close(Leg.UPSTREAM, How.ABORT)
        try:
            self._equipment.write(Crash(self._origin, reference, type(error).__name__))
        finally:
            self._end()  # with it the generation may end, and its record file be closed


def _turn(stream: Stream, action: PauseReading | ResumeReading | EndSending) -> None:
    match action:
        case PauseReading():
            stream.pause()
        case ResumeReading():
            stream.resume()
        case EndSending():
            stream.end_sending()
        case _:
            assert_never(action)
