"""The session: what becomes of each event on either leg.

The connection's own affairs stand here: greeting, TLS, time, back-pressure and the end. The conversation is in
`dialogue`, the message in `mailing`, the way to upstream in `upstream`.
"""

from __future__ import annotations

from typing import Final, assert_never

from smtpproxy.policy.certificates import CertificateQuestion, decide_certificate
from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.model import CertificateValidation, TlsAction
from smtpproxy.policy.profiles import needs_rsa
from smtpproxy.session import timers
from smtpproxy.session.actions import (
    AcceptTls,
    Action,
    BlockSource,
    How,
    PauseReading,
    ResumeReading,
    StartTls,
)
from smtpproxy.session.client import ClientLeg, Hold
from smtpproxy.session.dialogue import Dialogue
from smtpproxy.session.events import (
    ClientConnected,
    ClientFinished,
    ClientHelloSeen,
    Closed,
    Drain,
    Event,
    Expire,
    NoClientHello,
    PeerFacts,
    Received,
    ReplayDone,
    Spooled,
    SpoolFailed,
    TimedOut,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
    UpstreamFailed,
    UpstreamFinished,
    WriteBlocked,
    WriteUnblocked,
)
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.frame import MUTE, SessionFrame
from smtpproxy.session.journal import Journal
from smtpproxy.session.legs import Leg
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.recipients import Recipients
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.sent import Sent
from smtpproxy.session.standing import Standing
from smtpproxy.session.states import CONTENT, ClientState, ClientStep
from smtpproxy.session.terms import Circumstances, Terms
from smtpproxy.session.timers import Timer
from smtpproxy.session.treatment import ENDED, Treatment
from smtpproxy.session.tunnel import Tunnel
from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFacts, TlsFailure
from smtpproxy.tls.hello import ClientHello


class Session(SessionFrame):
    """One client connection and the upstream connection that is opened anew for it.

    Args:
        terms: what its policy says.
        circumstances: its own facts.
    """

    __slots__ = ()

    def __init__(self, terms: Terms, circumstances: Circumstances) -> None:
        self._terms = terms
        self._general = terms.policy.action.general
        self._outbox = Outbox()
        self._client = ClientLeg(self._outbox)
        self._circumstances = circumstances
        self._treatment = Treatment(terms, circumstances.ends)
        self._rulebook = Rulebook(terms, circumstances.client, passes_starttls=self._treatment.passes_starttls)
        self._journal = Journal(circumstances, self._outbox)
        self._upstream = UpstreamLeg(self, terms, circumstances.ends, self._rulebook, self._journal, self._outbox)
        self._journal.follow(self._client, self._upstream)
        self._exchange = Exchange(
            terms=terms,
            rulebook=self._rulebook,
            ender=self,
            client=self._client,
            upstream=self._upstream,
            journal=self._journal,
            outbox=self._outbox,
        )
        self._dialogue = Dialogue(self._exchange, Recipients(terms, circumstances, self._rulebook))
        self._hello: ClientHello | None = None
        self._greeting: Reply | None = None
        self._ending: tuple[Reply, str] | None = None
        self._tunnel: Tunnel | None = None  # what passes by it is not looked at

    def receive(self, event: Event) -> list[Action]:
        """Take what happened; return what is to be done, in order. Nothing else changes a session."""
        if self._client.state is not ClientState.CLOSED:
            if self._tunnel is None or not self._tunnel.take(event):
                self._handle(event)
            self._go_on()
        return self._outbox.take()

    @property
    def standing(self) -> Standing:
        """How it stands, for who looks on."""
        return self._journal.standing(None if self._tunnel is None else self._tunnel.seen().because)

    def _go_on(self) -> None:
        """Whatever happened may have let the client's next line be heard, or its content be read on."""
        client = self._client
        if client.state is ClientState.CLOSED or client.state is ClientState.TUNNEL:
            return
        if client.is_held:
            if client.waits_for_upstream and not self._upstream.is_connected:
                self._write_unblocked(Leg.UPSTREAM)
            self._dialogue.pump()
        elif self._dialogue.has_waiting:
            self._dialogue.pump()
        if client.finished is not None:
            self._end_if_answered(client.finished)

    def _end_if_answered(self, how: str) -> None:
        """A client that sends no more still hears what it waits for: its 250 above all."""
        state = self._client.state  # what stops in the middle of content will never be whole, nor answered
        waits = state is ClientState.FINISHED or (self._exchange.is_busy and state not in CONTENT)
        if not waits and not self._client.is_blocked:
            self.finish(None, f"client-{how}")

    def _handle(self, event: Event) -> None:  # noqa: C901, PLR0912 - one branch an event, proved whole by assert_never
        match event:
            case Received(leg, data):
                self._received(leg, data)
            case ClientConnected():
                self._client_connected()
            case ClientHelloSeen(hello):
                self._hello_seen(hello)
            case NoClientHello(failure):
                self._no_hello(failure)
            case UpstreamConnected(address, name, broken):
                if self._treatment.passes_implicit_tls:
                    self._upstream.introduced(address)
                    self._begin_tunnel()
                else:
                    self._upstream.connected(address, name, broken)
            case UpstreamFailed(reason):
                self._upstream.unreachable(reason)
            case Upgraded(leg, facts):
                self._upgraded(leg, facts)
            case TlsFailed(leg, failure):
                self._tls_failed(leg, failure)
            case WriteBlocked(leg):
                self._write_blocked(leg)
            case WriteUnblocked(leg):
                self._write_unblocked(leg)
            case TimedOut(timer):
                self._timed_out(timer)
            case Spooled(octets):
                self._dialogue.delivery.spooled(octets)
            case SpoolFailed(reason):
                self._dialogue.delivery.spool_failed(reason)
            case ReplayDone():
                self._dialogue.delivery.replayed()
            case PeerFacts(knowledge, name):
                self._dialogue.mailing.learnt(knowledge, name)
            case Drain():
                self._end_soon(catalogue.SHUTTING_DOWN, "shutting-down")
            case Expire():
                self.finish(catalogue.SHUTTING_DOWN, "drain-deadline")
            case ClientFinished(how):
                self._client.finished = how
            case UpstreamFinished(how):
                self._upstream.closed(how)
            case Closed(leg, how):
                self._closed(leg, how)
            case _:
                assert_never(event)

    # The beginning

    def _client_connected(self) -> None:
        self._outbox.set_timer(Timer.AGE, self._general.max_session_age_s)
        if self._terms.implicit:
            self._collect_hello()
        else:
            self._treat(None)

    def _hello_seen(self, hello: ClientHello) -> None:
        self._hello = hello
        self._client.step(ClientStep.HELLO_SEEN)
        if self._upstream.is_untouched:
            self._outbox.set_timer(Timer.CLIENT, None)
            self._treatment.decide(hello.server_name)
            self._treat(hello.server_name)
        else:
            self._accept_tls(hello)

    def _no_hello(self, failure: TlsFailure) -> None:
        """Without a ClientHello there is no handshake, so that what cannot pass is closed."""
        self._client.step(ClientStep.HELLO_SEEN)
        if self._treatment.decide(None) in _TO_BE_TOLD:
            self._tls_failed(Leg.CLIENT, failure)
        else:
            self._outbox.set_timer(Timer.CLIENT, None)
            self._treat(None)

    def _treat(self, server_name: str | None) -> None:
        """Go on as it was decided: open the connection anew, or refuse it."""
        action, treatment = self._treatment.action, self._treatment
        if action is TlsAction.INSPECT or action is TlsAction.ALLOW:
            self._upstream.dial(server_name)
        elif action is TlsAction.DENY:
            self._deny(ENDED[action])
        else:
            if action is TlsAction.BLOCK:
                host = self._circumstances.ends.client.host
                self._outbox.put(BlockSource(host, treatment.block_time_s, treatment.because))
            self._end(ENDED[action])

    def _deny(self, token: str) -> None:
        if self._hello is None:
            self.finish(catalogue.DENIED, token)
        else:
            self._ending = (catalogue.DENIED, token)
            self._accept_tls(self._hello)

    def _accept_tls(self, hello: ClientHello) -> None:
        question = CertificateQuestion(
            server_name=hello.server_name,
            ecdsa=hello.has_ecdsa and not needs_rsa(self._terms.profile),
            upstream=self._upstream.facts,
            looks=self._terms.profile.certificate_validation is not CertificateValidation.OFF,
            fallback_name=self._terms.fallback_name,
        )
        choice = decide_certificate(self._terms.policy.direction, question)
        self._client.step(ClientStep.ACCEPT_TLS)
        asks = self._rulebook.asks_for_certificate
        self._outbox.put(StartTls(AcceptTls(self._terms.profile, choice, hello.server_name, asks)))
        self._outbox.set_timer(Timer.CLIENT, timers.HANDSHAKE_S)

    def _greet(self, greeting: Reply) -> None:
        if self._client.state is ClientState.CONNECTED:
            self._client.step(ClientStep.GREET)
        self._client.reply(greeting)
        self.rest()

    # Octets

    def _received(self, leg: Leg, data: bytes) -> None:
        self._journal.heard()
        if leg is Leg.UPSTREAM:
            self._upstream.received(data)
        else:
            self._client.octets_in += len(data)
            self._client_spoke(data)

    def _client_spoke(self, data: bytes) -> None:
        if self._client.state is ClientState.CONNECTED:
            self._exchange.attack(catalogue.EARLY_TALK, "early-talk")
        elif self._client.state in MUTE:
            self._exchange.attack(catalogue.PIPELINED_STARTTLS, "octets-in-clear-during-upgrade")
        else:
            self._dialogue.received(data)

    # TLS

    def _upgraded(self, leg: Leg, facts: TlsFacts) -> None:
        if leg is Leg.UPSTREAM:
            self._upstream.secured(facts)
        else:
            self._client_secured(facts)

    def _client_secured(self, facts: TlsFacts) -> None:
        self._client.facts = facts
        self._client.step(ClientStep.SECURED)
        self._journal.tls(Leg.CLIENT, facts)
        if self._ending is not None:
            self.finish(*self._ending)
        elif self._greeting is not None:
            self._greet(self._greeting)
            self._greeting = None
        else:
            self.rest()

    def _tls_failed(self, leg: Leg, failure: TlsFailure) -> None:
        if leg is Leg.UPSTREAM:
            self._upstream.tls_failed(failure)
        else:
            self._journal.tls(Leg.CLIENT, failure)
            self._end(f"client-tls-{failure.reason.value}")

    # What upstream came to

    def upstream_greeted(self, reply: Reply) -> None:
        """Greet the client with upstream's greeting, on implicit TLS behind its handshake."""
        if self._client.state is ClientState.HELD and self._hello is not None:
            self._greeting = reply
            self._accept_tls(self._hello)
        else:
            self._greet(reply)

    def upstream_identified(self) -> None:
        """Answer the client's EHLO."""
        self._dialogue.identified()

    def upstream_hello_refused(self, reply: Reply) -> None:
        """Answer the client's EHLO with upstream's refusal."""
        self._dialogue.hello_refused(reply)

    def upstream_replied(self, sent: Sent, reply: Reply) -> None:
        """Pass on a reply."""
        self._dialogue.replied(sent, reply)

    def upstream_judged(self, reply: Reply) -> None:
        """Pass on the verdict about a message."""
        self._dialogue.judged(reply)

    def upstream_spoke_early(self, reply: Reply) -> None:
        """Let upstream's refusal stand; the client hears it at its end of data."""
        self._dialogue.delivery.refuse_content(Refuse(reply, "upstream-refused-early"))

    def upstream_ended(self, farewell: Reply, token: str) -> None:
        """End the session, as soon as the client can be told."""
        state = self._client.state
        if self._treatment.passes_implicit_tls:  # a handshake of ours is what must not be
            self._end(token)
        elif state is ClientState.HELD and self._hello is not None:
            self._ending = (farewell, token)
            self._accept_tls(self._hello)
        elif state in MUTE:
            self._ending = (farewell, token)
        elif state in CONTENT:
            self._dialogue.delivery.refuse_content(Refuse(_AT_END_OF_DATA.get(farewell, farewell), token))
        elif self._exchange.is_quitting:
            self.finish(catalogue.BYE, "quit")
        else:
            self.finish(farewell, token)

    # Back-pressure

    def _write_blocked(self, leg: Leg) -> None:
        if leg is Leg.UPSTREAM:
            self._client.hold(Hold.UPSTREAM_BLOCKED)
            self._outbox.set_timer(Timer.UPSTREAM_WRITE, timers.WRITE_S)
        else:
            self._client.hold(Hold.CLIENT_BLOCKED)
            self._outbox.put(PauseReading(Leg.UPSTREAM))
            self._outbox.set_timer(Timer.CLIENT_WRITE, timers.WRITE_S)

    def _write_unblocked(self, leg: Leg) -> None:
        if leg is Leg.UPSTREAM:
            self._client.release(Hold.UPSTREAM_BLOCKED)
            self._outbox.set_timer(Timer.UPSTREAM_WRITE, None)
        else:
            self._client.release(Hold.CLIENT_BLOCKED)
            self._outbox.put(ResumeReading(Leg.UPSTREAM))
            self._outbox.set_timer(Timer.CLIENT_WRITE, None)

    # Time

    def _timed_out(self, timer: Timer) -> None:
        match timer:
            case Timer.AGE:
                self._aged()
            case Timer.CLIENT:
                self._client_timed_out()
            case Timer.UPSTREAM:
                self._upstream.timed_out()
            case Timer.CLIENT_WRITE:
                self._end("client-does-not-read")
            case Timer.UPSTREAM_WRITE:
                self._upstream.give_up("upstream-does-not-read")
            case Timer.VERDICT:
                self._upstream.give_up("upstream-timed-out")
            case Timer.LOOK_UP:
                self._dialogue.mailing.look_up_timed_out()
            case Timer.KEEP_AWAKE:
                self._dialogue.delivery.keep_awake()
            case _:
                assert_never(timer)

    def _aged(self) -> None:
        if self._ending == _OLD:
            self._end("session-too-old")
        else:
            self._outbox.set_timer(Timer.AGE, timers.GRACE_S)
            self._end_soon(*_OLD)

    def _client_timed_out(self) -> None:
        state = self._client.state
        if state in CONTENT:
            self._judge_rate()
        elif state in MUTE:
            self._end("client-handshake-timed-out")
        elif self._client.in_dialogue and self._exchange.waits_for_client:
            self.finish(catalogue.IDLE, "client-idle")

    def _judge_rate(self) -> None:
        if self._dialogue.delivery.is_progressing() or self._client.is_held:
            self._outbox.set_timer(Timer.CLIENT, timers.RATE_WINDOW_S)
        else:
            self.finish(catalogue.IDLE, "client-too-slow")

    # The end

    def _closed(self, leg: Leg, how: str) -> None:
        if leg is Leg.UPSTREAM:
            self._upstream.closed(how)
        else:
            self._close(How.ABORT, f"client-{how}", client_gone=True)


_TO_BE_TOLD: Final = frozenset({TlsAction.INSPECT, TlsAction.DENY})
"""What needs a handshake with the client."""

_OLD: Final = (catalogue.TOO_OLD, "session-too-old")

_AT_END_OF_DATA: Final = {
    catalogue.UPSTREAM_GONE: catalogue.UPSTREAM_LOST,
    catalogue.UPSTREAM_BROKE_CLOSING: catalogue.UPSTREAM_BROKE,
}
