"""The upstream leg: its replies to what was sent, in order, and content as DATA or in chunks.

Source: RFC 5321 s4.1.1.4 (DATA), s4.3.2 (replies); RFC 2920 s3.1 (groups); RFC 3030 s2 (BDAT); RFC 4954 s4 (334).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from smtpproxy.errors import ProtocolError
from smtpproxy.session import timers
from smtpproxy.session.actions import How
from smtpproxy.session.legs import Leg
from smtpproxy.session.opening import GO_AHEAD, UpstreamOpening
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.sent import Sent
from smtpproxy.session.states import UpstreamState, UpstreamStep
from smtpproxy.session.terms import Ends, Terms
from smtpproxy.session.timers import Timer
from smtpproxy.session.upstream_owner import Reporter, UpstreamOwner
from smtpproxy.smtp import catalogue, limits
from smtpproxy.smtp.commands import Bdat, Relayed, Verb
from smtpproxy.smtp.introduction import Xforward
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFailure, TlsReason

_INTERMEDIATE: Final = {Verb.DATA: 354, Verb.AUTH: 334, Verb.RESPONSE: 334}
"""The one intermediate reply that a command may get."""

_PATIENCE_S: Final = {
    Verb.MAIL: limits.MAIL_TIMEOUT_S,
    Verb.RCPT: limits.RCPT_TIMEOUT_S,
    Verb.DATA: limits.DATA_INITIATION_TIMEOUT_S,
    Verb.QUIT: timers.QUIT_S,
}


class UpstreamLeg(UpstreamOpening):
    """One session's connection to upstream."""

    __slots__ = ("_expected",)

    def __init__(
        self, owner: UpstreamOwner, terms: Terms, ends: Ends, rulebook: Rulebook, reporter: Reporter, outbox: Outbox
    ) -> None:
        super().__init__(owner, terms, ends, rulebook, reporter, outbox)
        self._expected: deque[Sent] = deque()

    # What it is at

    @property
    def is_in_content(self) -> bool:
        """Whether content is on its way or its verdict is out: what is unsent must not complete a message."""
        return self.state in _IN_CONTENT

    @property
    def speaks_early(self) -> bool:
        """Whether a reply has begun while content is on its way."""
        return self.state in _TAKES_CONTENT and self._reader.buffered > 0

    @property
    def owes_reply(self) -> bool:
        """Whether it has to answer a command or the end of content."""
        return bool(self._expected) or self.state is UpstreamState.FINAL

    @property
    def owes_verdict(self) -> bool:
        """Whether a whole message has gone to it that it has not judged."""
        return self.state is UpstreamState.FINAL

    @property
    def last_sent(self) -> Sent | None:
        """The last command that it has not answered."""
        return self._expected[-1] if self._expected else None

    @property
    def is_silent(self) -> bool:
        """Whether no reply is due."""
        return self.state in _TAKES_COMMANDS and not self._expected

    # What the session asks of it

    def command(self, command: Relayed | Xforward, *, own: bool = False) -> None:
        """Send a command and expect one reply."""
        if not self._expected:
            self._wait_for(command.verb)
        self._last_said = None
        self._expected.append(Sent(command, own))
        self._outbox.send(Leg.UPSTREAM, command.to_wire())

    def begin_chunk(self, command: Bdat, *, own: bool = False) -> None:
        """Send BDAT, whose octets follow by `content`."""
        self._step(UpstreamStep.CHUNK)
        self.command(command, own=own)

    def content(self, octets: bytes) -> None:
        """Send octets of content."""
        if octets:
            self._outbox.send(Leg.UPSTREAM, octets)

    def end_content(self) -> None:
        """Send the dot; what follows decides about the message."""
        self._step(UpstreamStep.DOT)
        self._outbox.send(Leg.UPSTREAM, b".\r\n")
        self._outbox.set_timer(Timer.UPSTREAM, timers.FINAL_S)

    def end_chunk(self, *, last: bool) -> None:
        """All octets of the chunk were sent; after the last one, what follows decides about the message."""
        self._step(UpstreamStep.DOT if last else UpstreamStep.END_OF_CHUNK)
        self._outbox.set_timer(Timer.UPSTREAM, timers.FINAL_S if last else limits.DATA_BLOCK_TIMEOUT_S)

    # What happens to it

    def received(self, data: bytes) -> None:
        """Read the replies in ``data``."""
        self.octets_in += len(data)
        if self.state in _HANDSHAKING:
            self._broke(catalogue.BEHIND_UPSTREAM_STARTTLS, "octets-in-clear-during-upgrade")
            return
        self._reader.feed(data)
        try:
            while self.is_open and (reply := self._reader.next_reply()) is not None:
                _ON_REPLY.get(self.state, UpstreamLeg._unsolicited)(self, reply)
        except ProtocolError as error:
            self._broke(catalogue.UPSTREAM_BROKE_CLOSING, error.reason)

    def closed(self, how: str) -> None:
        """Upstream ended the connection."""
        if self.state in _UPGRADING:
            self.tls_failed(TlsFailure(TlsReason.CONNECTION_CLOSED, how))
        elif self.is_open:
            self._lost(self._farewell, f"upstream-closed-{how}")

    def timed_out(self) -> None:
        """What was waited for has not come."""
        if self.state in _HANDSHAKING or self.state is UpstreamState.STARTTLS:
            self._break_off(TlsFailure(TlsReason.TIMED_OUT))
        elif self.is_open and not self.is_silent and self.state not in _TAKES_CONTENT:
            self._end(self._farewell, "upstream-timed-out")

    def give_up(self, token: str) -> None:
        """Upstream is of no use any more."""
        if self.is_open:
            self._end(catalogue.UPSTREAM_GONE, token)

    # Replies, by state

    def _command_reply(self, reply: Reply) -> None:
        if not self._expected:
            self._unsolicited(reply)
            return
        sent = self._expected.popleft()
        verb = sent.command.verb
        if reply.is_intermediate:
            self._intermediate(verb, reply)
        elif reply.is_positive and (verb is Verb.DATA or (verb is Verb.STARTTLS and reply.code != GO_AHEAD)):
            raise ProtocolError("unexpected-reply-code")
        if sent.own and reply.is_closing:
            self._end(reply, "upstream-closing")
            return
        if self._expected:
            self._wait_for(self._expected[0].command.verb)
        self._owner.upstream_replied(sent, reply)

    def _intermediate(self, verb: Verb, reply: Reply) -> None:
        if _INTERMEDIATE.get(verb) != reply.code:
            raise ProtocolError("unexpected-reply-code")
        if verb is Verb.DATA:
            self._step(UpstreamStep.CONTENT)

    def _early_reply(self, reply: Reply) -> None:
        if reply.is_positive or reply.is_intermediate:
            raise ProtocolError("reply-before-end-of-data")
        self.close(How.ABORT)
        self._owner.upstream_spoke_early(reply)

    def _final_reply(self, reply: Reply) -> None:
        if reply.is_intermediate:
            raise ProtocolError("unexpected-reply-code")
        self._expected.clear()  # of BDAT LAST
        self._step(UpstreamStep.ANSWERED)
        self._owner.upstream_judged(reply)

    def _unsolicited(self, reply: Reply) -> None:
        if not reply.is_closing:
            raise ProtocolError("unsolicited-reply")
        self._end(reply, "upstream-closing")

    def _wait_for(self, verb: Verb) -> None:
        self._outbox.set_timer(Timer.UPSTREAM, _PATIENCE_S.get(verb, limits.SERVER_TIMEOUT_S))


_HANDSHAKING: Final = frozenset({UpstreamState.OPENING, UpstreamState.SECURING})
_UPGRADING: Final = _HANDSHAKING | {UpstreamState.STARTTLS, UpstreamState.HELLO_AGAIN}
"""TLS may still be refused, by closing too: in TLS 1.3 that shows only after our side of the handshake is done."""

_TAKES_COMMANDS: Final = frozenset({UpstreamState.GREETED, UpstreamState.READY})
_TAKES_CONTENT: Final = frozenset({UpstreamState.CONTENT, UpstreamState.CHUNK})
_IN_CONTENT: Final = _TAKES_CONTENT | {UpstreamState.FINAL}
_ON_REPLY: Final[Mapping[UpstreamState, Callable[[UpstreamLeg, Reply], None]]] = {
    UpstreamState.GREETING: UpstreamLeg._greeting,  # noqa: SLF001 - the table belongs to the class
    UpstreamState.HELLO: UpstreamLeg._hello_reply,  # noqa: SLF001
    UpstreamState.HELLO_ANEW: UpstreamLeg._hello_reply,  # noqa: SLF001
    UpstreamState.HELLO_AGAIN: UpstreamLeg._hello_reply,  # noqa: SLF001
    UpstreamState.STARTTLS: UpstreamLeg._starttls_reply,  # noqa: SLF001
    UpstreamState.INTRODUCING: UpstreamLeg._introduction_reply,  # noqa: SLF001
    UpstreamState.GREETED: UpstreamLeg._command_reply,  # noqa: SLF001 - NOOP and the like need no EHLO
    UpstreamState.READY: UpstreamLeg._command_reply,  # noqa: SLF001
    UpstreamState.CONTENT: UpstreamLeg._early_reply,  # noqa: SLF001
    UpstreamState.CHUNK: UpstreamLeg._early_reply,  # noqa: SLF001
    UpstreamState.FINAL: UpstreamLeg._final_reply,  # noqa: SLF001
}
