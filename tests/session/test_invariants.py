"""Whatever both sides say and whatever befalls the connections, in any order: what must never happen does not."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smtpproxy.audit import SessionRecord, Status, TransactionRecord
from smtpproxy.policy.messages import Need
from smtpproxy.policy.model import CertificateValidation, PortKind
from smtpproxy.policy.rules import RecipientEncryption, SenderEncryption
from smtpproxy.session.actions import (
    AcceptTls,
    Action,
    Audit,
    Close,
    CollectHello,
    Connect,
    ConnectTls,
    DiscardSpool,
    End,
    PauseReading,
    ReplaySpool,
    ResumeReading,
    Send,
    SetTimer,
    SpoolWrite,
    StartTls,
)
from smtpproxy.session.events import (
    ClientConnected,
    ClientFinished,
    ClientHelloSeen,
    Closed,
    Drain,
    Event,
    Expire,
    Received,
    ReplayDone,
    Spooled,
    SpoolFailed,
    TimedOut,
    TlsFailed,
    Upgraded,
    UpstreamConnected,
    UpstreamFailed,
    WriteBlocked,
    WriteUnblocked,
)
from smtpproxy.session.legs import Leg
from smtpproxy.session.states import ClientState
from smtpproxy.session.timers import Timer
from smtpproxy.tls.facts import Chain, TlsFailure, TlsReason
from tests.session.anything import BAD_LUCK, COMMANDS, CONTENT, HOSTILE, LUCK, NEVER_IN_CLEAR, OCTETS, REPLIES, SETTINGS
from tests.session.playbook import Setting, client_hello, tls_facts
from tests.session.strict_upstream import StrictUpstream

PAUSE, RESUME = PauseReading(Leg.CLIENT), ResumeReading(Leg.CLIENT)


def client_can_begin(machine: AnySession) -> bool:
    return (
        machine.client_can_speak()
        and machine.connected
        and not machine.upstream.waiting
        and machine.session._client.state in {ClientState.GREETED, ClientState.IDENTIFIED}
    )


class AnySession(RuleBasedStateMachine):
    """A session between two peers that do anything."""

    @initialize(setting=SETTINGS, start=st.sampled_from(["content", "greeted", "connected"]))
    def begin(self, setting: Setting, start: str) -> None:
        self.setting = setting
        self.may_hold = setting.terms().need is not Need.NOTHING
        self.session = setting.session()
        self.actions: list[Action] = []
        self.dialling = self.connected = self.collecting = self.client_gone = self.over = False
        self.refused_certificate = self.client_finished = False
        self.shaking: dict[Leg, bool] = dict.fromkeys(Leg, False)
        self.secured: dict[Leg, bool] = dict.fromkeys(Leg, False)
        self.blocked: set[Leg] = set()
        self.armed: set[Timer] = set()
        self.upstream = StrictUpstream()
        self.greeted = False
        self.stream = b""  # everything from the client
        self.data_ends = 0  # in the stream, the last DATA
        self.content_starts: int | None = None  # in the stream, from 354 to the reply to its end
        self.answered_at = 0  # in the stream, the end of the last content
        self.verdicts = 0
        self.spool = b""
        self.unwritten: list[int] = []
        self.replaying = False
        self.happen(ClientConnected())
        if start != "connected":
            self.come_to_greeting()
        if start == "content":
            self.client_comes_to_content(REPLIES[3])

    def come_to_greeting(self) -> None:
        implicit = self.setting.kind is PortKind.SMTPS
        if implicit:
            self.client_says_hello("mx.test", ecdsa=True)
        self.upstream_takes_the_call(0)
        if implicit:
            self.upstream_finishes_its_handshake(("mx.test",), Chain.VALID)
            self.client_finishes_its_handshake()

    # What the session does

    def happen(self, event: Event) -> None:
        over = self.over
        actions = self.session.receive(event)
        assert not (over and actions)
        for action in actions:
            assert not self.over, f"{action} behind the end"
            self.actions.append(action)
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        match action:
            case Send(Leg.CLIENT, data):
                self.sent_to_client(data)
            case Send(Leg.UPSTREAM, data):
                self.sent_upstream(data)
            case SetTimer(timer, seconds):
                (self.armed.discard if seconds is None else self.armed.add)(timer)
            case Close(leg):
                self.closed(leg)
            case End():
                assert self.client_gone
                assert not self.connected
                self.over = True
            case _:
                self.begins(action)

    def begins(self, action: Action) -> None:
        match action:
            case Connect():
                assert not self.connected
                assert not self.refused_certificate, "a way around a refused certificate"
                self.dialling, self.upstream = True, StrictUpstream()
                self.secured[Leg.UPSTREAM] = False
            case CollectHello():
                self.collecting = True
            case SpoolWrite(data):
                assert not self.replaying
                self.spool += data
                self.unwritten.append(len(data))
            case ReplaySpool():
                self.replaying = True
                self.sent_upstream(self.spool)
            case DiscardSpool():
                self.spool, self.replaying = b"", False
                self.unwritten.clear()
            case StartTls(AcceptTls()):
                self.shaking[Leg.CLIENT] = True
            case StartTls(ConnectTls()):
                assert self.connected
                assert not self.secured[Leg.UPSTREAM]
                self.shaking[Leg.UPSTREAM] = True

    def sent_to_client(self, data: bytes) -> None:
        assert not self.client_gone
        assert not self.shaking[Leg.CLIENT]
        assert not self.collecting
        assert data.endswith(b"\r\n")
        self.greeted = True
        if self.secured[Leg.CLIENT] and b"PIPELINING" in data:  # an offer of ours; what is relayed may say anything
            assert b"STARTTLS" not in data, "TLS inside TLS is offered"
        if data.startswith(b"354"):
            assert self.upstream.in_content or self.may_hold
            self.content_starts = self.data_ends if self.upstream.in_content else self.held_data_ends()
        elif self.content_starts is not None:
            self.answered_content(data)
        elif self.upstream.verdict is not None and data.startswith(self.upstream.verdict.to_wire()):
            self.verdicts += self.upstream.verdict.is_positive  # on the last chunk
            self.upstream.verdict = None

    def held_data_ends(self) -> int:
        return self.stream.index(b"DATA\r\n", self.answered_at) + len(b"DATA\r\n")

    def answered_content(self, data: bytes) -> None:
        assert self.client_ended_content, "a reply before the end of data"
        if data.startswith(b"2"):
            assert self.upstream.verdict is not None
            assert data.startswith(self.upstream.verdict.to_wire()), "a success that is not upstream's own"
            self.verdicts += 1
            self.upstream.verdict = None
        end = (b"\r\n" + self.stream).index(b"\r\n.\r\n", self.content_starts or 0)
        self.answered_at, self.content_starts = end + len(b".\r\n"), None

    def sent_upstream(self, data: bytes) -> None:
        if self.setting.message_rules is NEVER_IN_CLEAR and not self.secured[Leg.UPSTREAM]:
            assert b"DATA\r\n" not in data
            assert b"BDAT " not in data
        assert self.connected
        assert not self.shaking[Leg.UPSTREAM]
        was_content = self.upstream.in_content or self.upstream.in_chunk
        self.upstream.take(data)
        if was_content:
            assert not self.in_data or not self.upstream.ended or self.client_ended_content, "a dot of nobody's"
            return
        if b"MAIL FROM" in data:
            self.mail_goes_out()
        if data.endswith(b"DATA\r\n"):
            self.data_ends = len(self.stream) - self.session._client.reader.buffered

    def mail_goes_out(self) -> None:
        implicit = self.setting.kind is PortKind.SMTPS
        if implicit or self.setting.recipient is RecipientEncryption.REQUIRED:
            assert self.secured[Leg.UPSTREAM], "mail in clear to upstream"
        if implicit or self.setting.sender is SenderEncryption.REQUIRED:
            assert self.secured[Leg.CLIENT], "mail in clear from the client"

    @property
    def in_data(self) -> bool:
        return self.content_starts is not None

    @property
    def client_ended_content(self) -> bool:
        assert self.content_starts is not None
        return b"\r\n.\r\n" in b"\r\n" + self.stream[self.content_starts :]

    def closed(self, leg: Leg) -> None:
        self.shaking[leg] = False
        self.blocked.discard(leg)
        if leg is Leg.CLIENT:
            self.client_gone = True
        else:
            self.dialling = self.connected = False

    # What the client does

    def client_can_speak(self) -> bool:
        waits_for_tls = self.setting.kind is PortKind.SMTPS and not self.secured[Leg.CLIENT]
        return not (self.over or self.client_finished or self.collecting or self.shaking[Leg.CLIENT] or waits_for_tls)

    def client_is_in_content(self) -> bool:
        return self.client_can_speak() and self.in_data and not self.client_ended_content

    @precondition(lambda self: self.client_can_speak() and self.greeted and not self.client_is_in_content())
    @rule(command=st.sampled_from(COMMANDS))
    def client_says(self, command: bytes) -> None:
        self.client_sends(command)

    @precondition(client_is_in_content)
    @rule(octets=st.one_of(st.sampled_from(CONTENT), st.lists(st.sampled_from(CONTENT), min_size=1).map(b"".join)))
    def client_sends_content(self, octets: bytes) -> None:
        self.client_sends(octets)

    @precondition(client_is_in_content)
    @rule(behind=st.sampled_from([b"", b"NOOP\r\n", b"MAIL FROM:<>\r\n", b"\r\n"]))
    def client_ends_content(self, behind: bytes) -> None:
        self.client_sends(b"\r\n.\r\n" + behind)

    @precondition(client_can_speak)
    @rule(octets=st.one_of(st.sampled_from(HOSTILE), OCTETS), luck=LUCK)
    def client_attacks(self, octets: bytes, luck: int) -> None:
        if luck == BAD_LUCK:
            self.client_sends(octets)

    def client_sends(self, octets: bytes) -> None:
        self.stream += octets
        self.happen(Received(Leg.CLIENT, octets))

    @precondition(client_can_begin)
    @rule(keywords=st.sampled_from(REPLIES[1:4]))
    def client_comes_to_content(self, keywords: bytes) -> None:
        """The way to the most delicate state, which chance alone seldom finds."""
        for command in (b"EHLO client.test\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<b@mx.test>\r\n", b"DATA\r\n"):
            self.client_sends(command)
            if self.upstream.waiting != command:
                return
            self.upstream_says({b"EHLO": keywords, b"DATA": b"354 go on\r\n"}.get(command[:4], b"250 Ok\r\n"))
            if self.upstream.waiting:
                return  # STARTTLS

    @precondition(client_can_begin)
    @rule(behind=st.sampled_from([b"", b"EHLO client.test\r\n", b"RSET\r\n", b"BDAT 4 LAST\r\n\r\nok"]))
    def client_comes_between_chunks(self, behind: bytes) -> None:
        for command in (b"EHLO client.test\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<b@mx.test>\r\n"):
            self.client_sends(command)
            if self.upstream.waiting != command:
                return
            self.upstream_says({b"EHLO": REPLIES[3]}.get(command[:4], b"250 Ok\r\n"))
        self.client_sends(b"BDAT 6\r\nx: y\r\n" + behind)

    @precondition(lambda self: self.collecting and not self.over)
    @rule(name=st.sampled_from(["mx.test", "other.test", None]), ecdsa=st.booleans())
    def client_says_hello(self, name: str | None, *, ecdsa: bool) -> None:
        self.collecting = False
        self.happen(ClientHelloSeen(client_hello(name, ecdsa=ecdsa)))

    @precondition(lambda self: self.shaking[Leg.CLIENT] and not self.over)
    @rule()
    def client_finishes_its_handshake(self) -> None:
        self.shaking[Leg.CLIENT], self.secured[Leg.CLIENT] = False, True
        self.happen(Upgraded(Leg.CLIENT, tls_facts()))

    # What upstream does

    @precondition(lambda self: self.dialling and not self.over)
    @rule(luck=LUCK)
    def upstream_takes_the_call(self, luck: int) -> None:
        self.dialling = False
        if luck == BAD_LUCK:
            self.happen(UpstreamFailed("connection-refused"))
            return
        self.connected = True
        self.happen(UpstreamConnected())
        if self.setting.kind is PortKind.SMTP:
            self.upstream_says(REPLIES[0])

    @precondition(lambda self: self.connected and not self.shaking[Leg.UPSTREAM] and not self.over)
    @rule(octets=st.one_of(st.sampled_from(REPLIES), OCTETS), luck=LUCK)
    def upstream_says_anything(self, octets: bytes, luck: int) -> None:
        if luck == BAD_LUCK:
            self.upstream_says(octets)

    @precondition(lambda self: self.connected and self.upstream.waiting and not self.over)
    @rule(fits=st.booleans())
    def upstream_answers(self, fits: bool) -> None:  # noqa: FBT001 - drawn
        verb = self.upstream.waiting[:4]
        fitting = {b"EHLO": REPLIES[2], b"STAR": REPLIES[0], b"DATA": b"354 go on\r\n", b"AUTH": b"334 VXNl\r\n"}.get(
            verb, b"250 Ok\r\n"
        )
        self.upstream_says(fitting if fits else b"550 never\r\n")

    @precondition(lambda self: self.connected and self.upstream.ended and not self.over)
    @rule(reply=st.sampled_from([b"250 queued\r\n", b"250-a\r\n250 b\r\n", b"451 later\r\n", b"554 never\r\n"]))
    def upstream_judges(self, reply: bytes) -> None:
        self.upstream_says(reply)

    def upstream_says(self, octets: bytes) -> None:
        self.upstream.say(octets)
        self.happen(Received(Leg.UPSTREAM, octets))

    @precondition(lambda self: self.shaking[Leg.UPSTREAM] and not self.over)
    @rule(names=st.sampled_from([("mx.test",), ("mx.test",), ("other.test",), ()]), chain=st.sampled_from(Chain))
    def upstream_finishes_its_handshake(self, names: tuple[str, ...], chain: Chain) -> None:
        self.shaking[Leg.UPSTREAM], self.secured[Leg.UPSTREAM] = False, True
        enforced = self.setting.validation is CertificateValidation.ENFORCE
        self.refused_certificate = enforced and (names != ("mx.test",) or chain is not Chain.VALID)
        self.happen(Upgraded(Leg.UPSTREAM, tls_facts(*names, chain=chain)))
        if self.setting.kind is PortKind.SMTPS and self.connected:
            self.upstream_says(REPLIES[0])

    @precondition(lambda self: self.shaking[Leg.UPSTREAM] and not self.over)
    @rule(certificate=st.booleans())
    def upstream_fails_its_handshake(self, certificate: bool) -> None:  # noqa: FBT001 - drawn
        self.closed(Leg.UPSTREAM)
        self.refused_certificate = certificate and self.setting.validation is CertificateValidation.ENFORCE
        failure = TlsFailure(TlsReason.CERTIFICATE_EXPIRED, certificate=self.refused_certificate)
        self.happen(TlsFailed(Leg.UPSTREAM, failure))

    # What the disk does

    @precondition(lambda self: self.unwritten and not self.over)
    @rule(luck=LUCK)
    def the_disk_keeps_or_fails(self, luck: int) -> None:
        if luck == BAD_LUCK:
            self.unwritten.clear()
            self.happen(SpoolFailed("spool-full"))
        else:
            self.happen(Spooled(self.unwritten.pop(0)))

    @precondition(lambda self: self.replaying and not self.unwritten and not self.over)
    @rule(luck=LUCK)
    def all_is_replayed(self, luck: int) -> None:
        self.replaying = False
        self.happen(SpoolFailed("spool-failed") if luck == BAD_LUCK else ReplayDone())

    # What befalls both

    @precondition(lambda self: not self.over)
    @rule(what=st.sampled_from([*Timer, Drain(), Expire(), ClientFinished("clean"), *Leg]), luck=LUCK)
    def something_ends(self, what: Timer | Drain | Expire | ClientFinished | Leg, luck: int) -> None:
        if luck != BAD_LUCK:
            return
        match what:
            case Timer():
                self.time_passes(what)
            case Drain():
                self.happen(what)
            case Expire():
                self.happen(what)
                assert self.over
            case ClientFinished():
                self.sends_no_more(what)
            case Leg():
                self.goes(what)

    def time_passes(self, timer: Timer) -> None:
        if timer in self.armed:
            self.armed.discard(timer)
            self.happen(TimedOut(timer))

    def sends_no_more(self, event: ClientFinished) -> None:
        if self.client_can_speak():  # else its handshake fails
            self.client_finished = True
            self.happen(event)

    def goes(self, leg: Leg) -> None:
        if leg is Leg.UPSTREAM and not self.connected:
            return
        shaking = self.shaking[leg] or (leg is Leg.CLIENT and self.collecting)
        self.closed(leg)
        failure = TlsFailure(TlsReason.CONNECTION_CLOSED)
        self.happen(TlsFailed(leg, failure) if shaking else Closed(leg, "reset"))

    @rule(leg=st.sampled_from(Leg))
    def writing_is_blocked_or_goes_on(self, leg: Leg) -> None:
        exists = self.connected if leg is Leg.UPSTREAM else not self.client_gone
        if not exists or self.over:
            return
        if leg in self.blocked:
            self.blocked.discard(leg)
            self.happen(WriteUnblocked(leg))
        else:
            self.blocked.add(leg)
            self.happen(WriteBlocked(leg))

    # What must hold

    @invariant()
    def no_line_is_left_unheard(self) -> None:
        session = self.session
        if session._client.in_dialogue and not session._exchange.is_busy and Leg.CLIENT not in self.blocked:
            assert b"\n" not in session._client.reader._buffer
            assert self.over or not self.client_finished

    @invariant()
    def reading_goes_on_where_nothing_stands_against_it(self) -> None:
        states = [type(action) for action in self.actions if action in (PAUSE, RESUME)]
        paused = bool(states) and states[-1] is PauseReading
        if self.over or self.may_hold:  # held content has reasons of its own
            assert self.over or paused or not self.blocked
        else:
            assert paused is bool(self.blocked)

    @invariant()
    def records_are_whole(self) -> None:
        records = [action.record for action in self.actions if isinstance(action, Audit)]
        sessions = [record for record in records if isinstance(record, SessionRecord)]
        transactions = [record for record in records if isinstance(record, TransactionRecord)]
        assert len(sessions) == self.over
        if sessions:
            assert records[-1] is sessions[0]
            assert sessions[0].transactions == len(transactions)
        accepted = [each for each in transactions if any(to.status is Status.ACCEPTED for to in each.recipients)]
        assert len(accepted) == self.verdicts
        assert all(each.inspected and not each.ambiguous_delivery for each in accepted)


AnySession.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnySession = AnySession.TestCase
