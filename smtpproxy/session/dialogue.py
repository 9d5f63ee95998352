"""What each command of the client does, and what upstream's reply to it does.

Source: RFC 5321 s4.1.1 (commands), s4.3.2 (which reply a command may get); RFC 3207 s4 (STARTTLS).

One command is under way at a time; what the client pipelined waits in its line buffer, so that replies come in order.
"""

from __future__ import annotations

from typing import Final, assert_never

from smtpproxy.policy.encryption import decide_offer
from smtpproxy.session.client import Hold
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.mailing import Mailing
from smtpproxy.session.states import ClientState
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.capabilities import Capabilities, denied, offer
from smtpproxy.smtp.command_parser import CommandError, is_foreign_protocol, parse_command
from smtpproxy.smtp.commands import (
    Command,
    Data,
    Ehlo,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Unknown,
    Unsupported,
    Verb,
    Vrfy,
)
from smtpproxy.smtp.lines import Line, LineFault
from smtpproxy.smtp.replies import Reply

JUNK_LIMIT: Final = 100  # Postfix: smtpd_junk_command_limit 100, since the last message
QUEUE_OCTETS: Final = 65_536  # pipelined commands that wait; 100 RCPTs are 6 KB

_JUNK: Final = frozenset({Verb.NOOP, Verb.VRFY, Verb.HELP, Verb.RSET, Verb.EHLO, Verb.HELO})
_OUTSIDE_THE_TABLE: Final = frozenset({Verb.STARTTLS, Verb.UNKNOWN, Verb.BDAT, Verb.AUTH, Verb.ETRN, Verb.EXPN})
_TOO_LONG: Final = frozenset({LineFault.TOO_LONG, LineFault.HOPELESS})
_CLOSES: Final = frozenset({LineFault.BARE_LF, LineFault.HOPELESS})


class Dialogue:
    """One session's commands and replies; `mailing` has those of its transactions."""

    __slots__ = ("_action", "_exchange", "_junk", "mailing")

    def __init__(self, exchange: Exchange) -> None:
        self.mailing = Mailing(exchange)
        self._exchange = exchange
        self._action = exchange.terms.policy.action
        self._junk = 0

    # Lines

    def received(self, data: bytes) -> None:
        """Read what the client sent: content or commands."""
        if self._exchange.client.state is ClientState.CONTENT:
            self.mailing.received(data)
        else:
            self._exchange.client.reader.feed(data)

    def pump(self) -> None:
        """Hear the client's lines while nothing is under way; what has to wait is bounded in every state."""
        client, exchange = self._exchange.client, self._exchange
        while exchange.awaiting is None and client.in_dialogue and not client.is_blocked:
            if self._is_foreign(client.reader.first_octet):  # another protocol may never send the end of a line
                self._exchange.attack(catalogue.OTHER_PROTOCOL, "other-protocol")
                break
            line = client.reader.next_line()
            if line is None:
                break
            self._hear(line)
        if client.reader.buffered > QUEUE_OCTETS:
            client.hold(Hold.QUEUE)
        else:
            client.release(Hold.QUEUE)

    @staticmethod
    def _is_foreign(first_octet: bytes) -> bool:
        return bool(first_octet) and not first_octet.isalpha()

    def _hear(self, line: Line) -> None:
        if line.fault is not None:
            self._hear_faulty(line.fault)
            return
        try:
            command = parse_command(line.octets)
        except CommandError as error:
            self._exchange.refuse(error.reply, error.reason)
            return
        if isinstance(command, Unknown) and is_foreign_protocol(line.octets):
            self._exchange.attack(catalogue.OTHER_PROTOCOL, "other-protocol")
        else:
            self._obey(command)

    def _hear_faulty(self, fault: LineFault) -> None:
        reply = catalogue.LINE_TOO_LONG if fault in _TOO_LONG else catalogue.BAD_LINE
        if fault in _CLOSES:
            self._exchange.attack(reply, fault.value)
        else:
            self._exchange.refuse(reply, fault.value)

    # Commands

    def _obey(self, command: Command) -> None:
        self._junk += command.verb in _JUNK
        if self._junk > JUNK_LIMIT:
            self._exchange.finish(catalogue.TOO_MANY_ERRORS, "too-many-junk-commands")
        elif command.verb in _OUTSIDE_THE_TABLE or self._exchange.client.allows(command.verb):
            self._dispatch(command)
        else:
            self._out_of_order(command.verb)

    def _dispatch(self, command: Command) -> None:
        match command:
            case Mail():
                self.mailing.mail(command)
            case Rcpt():
                self.mailing.rcpt(command)
            case Data():
                self.mailing.data(command)
            case Ehlo() | Helo():
                self._identify(command)
            case StartTls():
                self._starttls()
            case Rset() | Noop() | Vrfy() | Help():
                self._pass_on(command)
            case Quit():
                self._quit(command)
            case Unsupported():
                self._unsupported(command)
            case Unknown():
                self._exchange.refuse(catalogue.UNKNOWN_COMMAND, "unknown-command")
            case _:
                assert_never(command)

    def _out_of_order(self, verb: Verb) -> None:
        if verb is Verb.DATA:
            self._data_out_of_order()
        else:
            self._exchange.refuse(catalogue.OUT_OF_ORDER, "out-of-order")

    def _data_out_of_order(self) -> None:
        client = self._exchange.client
        reply = catalogue.NO_VALID_RECIPIENTS if client.state is ClientState.SENDER else catalogue.OUT_OF_ORDER
        if client.reader.buffered:  # content that did not wait for 354 is no command
            self._exchange.attack(reply, "octets-behind-refused-data")
        else:
            self._exchange.refuse(reply, "out-of-order")

    def _identify(self, command: Ehlo | Helo) -> None:
        extended = self._action.esmtp.enabled
        if isinstance(command, Ehlo) and not extended:
            self._exchange.refuse(catalogue.NOT_IMPLEMENTED, "esmtp-disabled")
            return
        self._exchange.awaiting = command
        if self._exchange.upstream.is_open:
            self._exchange.upstream.identify(command.name, extended=extended)
        else:
            self.identified()

    def _pass_on(self, command: Rset | Noop | Vrfy | Help) -> None:
        if not self._exchange.upstream.is_open:
            self._answer_alone(command)
        elif isinstance(command, Noop):
            self._exchange.forward(Noop())  # its argument means nothing (RFC 5321 s4.1.1.9) and may be anything
        elif isinstance(command, Rset):
            self._exchange.forward(command)
        elif refusal := self._exchange.judge():  # it may name a recipient
            self._exchange.refuse(refusal.reply, refusal.because)
        else:
            self._exchange.forward(command)

    def _answer_alone(self, command: Rset | Noop | Vrfy | Help) -> None:
        """Upstream's certificate was refused: what changes nothing is granted."""
        if isinstance(command, Rset | Noop):
            self._other_replied(command, catalogue.OK)
        else:
            self._exchange.refuse(catalogue.NOT_IMPLEMENTED, "no-upstream")

    def _quit(self, command: Quit) -> None:
        if self._exchange.upstream.is_open:
            self._exchange.forward(command)
        else:
            self._exchange.finish(catalogue.BYE, "quit")

    def _unsupported(self, command: Unsupported) -> None:
        if command.verb is Verb.BDAT:  # octets of content follow, which must never be taken for commands
            self._exchange.attack(catalogue.NOT_IMPLEMENTED, "bdat-not-offered")
        else:
            self._exchange.refuse(catalogue.NOT_IMPLEMENTED, "command-not-implemented")

    # STARTTLS

    def _starttls(self) -> None:
        client = self._exchange.client
        if client.facts is not None:
            self._exchange.refuse(catalogue.SECOND_STARTTLS, "second-starttls")
        elif not client.allows(Verb.STARTTLS):
            self._exchange.refuse(catalogue.OUT_OF_ORDER, "out-of-order")
        elif not client.offered.offers("STARTTLS"):
            self._exchange.refuse(catalogue.STARTTLS_NOT_OFFERED, "starttls-not-offered")
        elif not self._offers_starttls():
            self._exchange.answer(catalogue.TLS_NOT_READY)
        else:
            self._go_ahead()

    def _go_ahead(self) -> None:
        client = self._exchange.client
        if client.reader.buffered:
            self._exchange.attack(catalogue.PIPELINED_STARTTLS, "octets-behind-starttls")
            return
        client.reply(catalogue.GO_AHEAD_TLS)
        client.step(Verb.STARTTLS)
        client.forget()
        self._exchange.rest()

    def _offers_starttls(self) -> bool:
        encrypted = self._exchange.upstream.facts is not None
        return self._action.starttls.enabled and decide_offer(self._exchange.terms.rules, upstream_encrypted=encrypted)

    # What comes from upstream

    def identified(self) -> None:
        """EHLO or HELO was accepted: tell the client what holds now."""
        command = self._exchange.take()
        if isinstance(command, Ehlo):
            self._answer_hello(command, self._offer(), None)
        elif isinstance(command, Helo):
            greeting = self._exchange.upstream.capabilities.greeting
            self._answer_hello(command, Capabilities(greeting), Reply(_OK, (greeting,)))

    def hello_refused(self, reply: Reply) -> None:
        """EHLO and HELO were refused by upstream."""
        self._exchange.take()
        self._exchange.answer(reply)

    def replied(self, reply: Reply) -> None:
        """Pass upstream's reply on and do what it means."""
        command = self._exchange.take()
        if isinstance(command, Quit):
            self._exchange.finish(reply if reply.code == catalogue.BYE.code else catalogue.BYE, "quit")
            return
        if self.mailing.content is not None:
            self._junk = 0
            self.mailing.content_answered(reply)
        elif isinstance(command, Mail):
            self.mailing.mail_replied(command, reply)
        elif isinstance(command, Rcpt):
            self.mailing.rcpt_replied(command, reply)
        elif isinstance(command, Data):
            self.mailing.data_replied(reply)
        elif command is not None:
            self._other_replied(command, reply)
        if reply.is_closing:
            self._exchange.finish(None, "upstream-closing")

    def _answer_hello(self, command: Ehlo | Helo, offered: Capabilities, reply: Reply | None) -> None:
        client = self._exchange.client
        self.mailing.end()
        client.step(command.verb)
        client.identified(command.name, offered)
        self._exchange.answer(reply or offered.to_reply())

    def _offer(self) -> Capabilities:
        upstream, esmtp = self._exchange.upstream.capabilities, self._action.esmtp
        self._exchange.journal.removed = denied(upstream, esmtp.allow) if esmtp.log_denied else ()
        return offer(
            upstream,
            esmtp.allow,
            starttls=self._exchange.client.facts is None and self._offers_starttls(),
            size_limit=self._action.general.max_message_size,
        )

    def _other_replied(self, command: Command, reply: Reply) -> None:
        if isinstance(command, Rset) and reply.is_positive:
            self.mailing.end()
            self._exchange.client.step(Verb.RSET)
        self._exchange.answer(reply)


_OK: Final = 250
