"""Which of the client's lines is heard when, and who answers what.

Source: RFC 5321 s4.1.1 (commands), s4.3.2 (which reply a command may get); RFC 2920 s3.1 (groups of commands).

MAIL, RCPT and DATA that the client pipelined go upstream as a group, where upstream takes groups; every other command
waits until nothing is under way. What waits stays in the line buffer, so that replies come in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from smtpproxy.session.authentication import Authentication
from smtpproxy.session.client import Hold
from smtpproxy.session.delivery import Delivery
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.hello import Hello
from smtpproxy.session.mailing import Mailing
from smtpproxy.session.recipients import Recipients
from smtpproxy.session.sent import Sent
from smtpproxy.session.states import CONTENT, ClientState
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.command_parser import ChunkError, CommandError, is_foreign_protocol, parse_command
from smtpproxy.smtp.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Unknown,
    Verb,
    Vrfy,
)
from smtpproxy.smtp.introduction import Xforward
from smtpproxy.smtp.lines import Line, LineFault
from smtpproxy.smtp.replies import Reply

JUNK_LIMIT: Final = 100  # Postfix: smtpd_junk_command_limit 100, since the last message
QUEUE_OCTETS: Final = 65_536  # pipelined commands that wait; 100 RCPTs are 6 KB

_JUNK: Final = frozenset({Verb.NOOP, Verb.VRFY, Verb.EXPN, Verb.HELP, Verb.RSET, Verb.EHLO, Verb.HELO, Verb.ETRN})
_OUTSIDE_THE_TABLE: Final = frozenset({Verb.STARTTLS, Verb.UNKNOWN, Verb.BDAT})
_TOO_LONG: Final = frozenset({LineFault.TOO_LONG, LineFault.HOPELESS})
_CLOSES: Final = frozenset({LineFault.BARE_LF, LineFault.HOPELESS})
_JOINED: Final = frozenset({Verb.MAIL, Verb.RCPT})
"""Behind one of these, which upstream has not answered, RCPT and DATA may go out."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is not obeyed: an attack costs the session, what is excused costs nothing, all else counts."""

    reply: Reply
    token: str
    attack: bool = False
    excused: bool = False


Heard: TypeAlias = Command | Fault


class Dialogue:
    """One session's commands and replies.

    Attributes:
        mailing: those of a transaction's envelope.
        delivery: its content.
    """

    __slots__ = ("_authentication", "_exchange", "_hello", "_junk", "_next", "delivery", "mailing")

    def __init__(self, exchange: Exchange, recipients: Recipients) -> None:
        self.mailing = Mailing(exchange, recipients)
        self.delivery = Delivery(exchange, self.mailing)
        self._hello = Hello(exchange, self.delivery)
        self._authentication = Authentication(exchange)
        self._exchange = exchange
        self._next: Heard | None = None  # was read, and waits until nothing is under way
        self._junk = 0

    # Lines

    @property
    def has_waiting(self) -> bool:
        """Whether something of the client's waits to be heard."""
        return self._next is not None or self._exchange.client.reader.buffered > 0

    def received(self, data: bytes) -> None:
        """Read what the client sent: content or lines."""
        if self._exchange.client.state in CONTENT:
            self.delivery.received(data)
        else:
            self._exchange.client.reader.feed(data)

    def pump(self) -> None:
        """Hear the client's lines as far as they may be heard; what has to wait is bounded in every state."""
        client = self._exchange.client
        while client.in_dialogue and not client.is_blocked and self._may_hear():
            heard, self._next = self._next, None
            if heard is not None:
                self._hear(heard)
        if client.reader.buffered > QUEUE_OCTETS:
            client.hold(Hold.QUEUE)
        elif client.is_held:
            client.release(Hold.QUEUE)

    def _may_hear(self) -> bool:
        """Whether ``_next`` may be heard; it is read if there is anything that may be looked at now."""
        busy, reader = self._exchange.is_busy, self._exchange.client.reader
        if busy and not self._may_join:  # behind DATA may stand content, which is no line
            return False
        if self._next is None and reader.buffered:
            self._next = self._read_next()
        if self._next is None or reader.is_skipping:
            return False
        return not busy or self._joins()

    def _read_next(self) -> Heard | None:
        client = self._exchange.client
        challenged = client.state is ClientState.CHALLENGED
        first = client.reader.first_octet
        if first and not challenged and not first.isalpha():  # another protocol may never send the end of a line
            return Fault(catalogue.OTHER_PROTOCOL, "other-protocol", attack=True)
        line = client.reader.next_line()
        if line is None:
            return None
        if challenged and line.fault not in _CLOSES:
            return self._authentication.parse(line)
        return _parse(line)

    @property
    def _may_join(self) -> bool:
        if self._exchange.looking_up:  # what follows may depend on the recipient that waits
            return False
        upstream = self._exchange.upstream
        last = upstream.last_sent
        return last is not None and last.command.verb in _JOINED and upstream.capabilities.offers("PIPELINING")

    def _joins(self) -> bool:
        """Whether ``_next`` may follow what is under way without waiting for its reply."""
        command = self._next
        if isinstance(command, Rcpt):
            return self._exchange.client.allows(Verb.RCPT) and self.mailing.has_room
        return isinstance(command, Data) and self._exchange.client.allows(Verb.DATA) and self.delivery.streams

    def _hear(self, heard: Heard) -> None:
        if isinstance(heard, Bdat) and (refusal := self.delivery.refuse_chunk(heard)):
            self._exchange.client.reader.skip(heard.size)  # its octets are never lines; it is answered behind them
            self._next = Fault(refusal.reply, refusal.because, excused=True)  # more of its chunks may be on their way
        elif not isinstance(heard, Fault):
            self._obey(heard)
        elif heard.attack:
            self._exchange.attack(heard.reply, heard.token)
        elif heard.excused:
            self._exchange.excuse(heard.reply, heard.token)
        else:
            self._exchange.refuse(heard.reply, heard.token)

    # Commands

    def _obey(self, command: Command) -> None:
        self._junk += command.verb in _JUNK
        if self._junk > JUNK_LIMIT:
            self._exchange.finish(catalogue.TOO_MANY_ERRORS, "too-many-junk-commands")
        elif command.verb in _OUTSIDE_THE_TABLE or self._exchange.client.allows(command.verb):
            self._dispatch(command)
        else:
            self._out_of_order(command.verb)

    def _dispatch(self, command: Command) -> None:  # noqa: C901 - one branch a command, proved whole by assert_never
        match command:
            case Mail():
                self.mailing.mail(command)
            case Rcpt():
                self.mailing.rcpt(command)
            case Data():
                self.delivery.data(command)
            case Bdat():
                self.delivery.bdat(command)
            case Ehlo() | Helo():
                self._hello.identify(command)
            case StartTls():
                self._hello.starttls()
            case Auth():
                self._authentication.begin(command)
            case AuthResponse():
                self._authentication.respond(command)
            case Rset() | Noop() | Vrfy() | Expn() | Help() | Etrn():
                self._pass_on(command)
            case Quit():
                self._quit(command)
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

    def _pass_on(self, command: Rset | Noop | Vrfy | Expn | Help | Etrn) -> None:
        if not self._exchange.upstream.is_open:
            self._answer_alone(command)
        elif isinstance(command, Noop):
            self._exchange.forward(Noop())  # its argument means nothing (RFC 5321 s4.1.1.9) and may be anything
        elif isinstance(command, Rset):
            self._exchange.forward(command)
        elif self._exchange.upstream.takes_us_for_client:  # which may let us see what is not for the client's eyes
            self._exchange.refuse(catalogue.OUT_OF_ORDER, "out-of-order")
        elif isinstance(command, Etrn) and not self._exchange.client.offered.offers("ETRN"):
            self._exchange.refuse(catalogue.NOT_IMPLEMENTED, "etrn-not-offered")
        elif refusal := self._exchange.judge_names():  # it may name a recipient, of any rule
            self._exchange.refuse(refusal.reply, refusal.because)
        else:
            self._exchange.forward(command)

    def _answer_alone(self, command: Rset | Noop | Vrfy | Expn | Help | Etrn) -> None:
        """Upstream's certificate was refused: what changes nothing is granted."""
        if isinstance(command, Rset):
            self._reset()
        if isinstance(command, Rset | Noop):
            self._exchange.answer(catalogue.OK)
        else:
            self._exchange.refuse(catalogue.NOT_IMPLEMENTED, "no-upstream")

    def _quit(self, command: Quit) -> None:
        if self._exchange.upstream.is_open:
            self._exchange.forward(command)
        else:
            self._exchange.finish(catalogue.BYE, "quit")

    # What comes from upstream

    def identified(self) -> None:
        """EHLO or HELO was accepted: tell the client what holds now."""
        self._hello.identified()

    def hello_refused(self, reply: Reply) -> None:
        """EHLO and HELO were refused by upstream."""
        self._hello.refused(reply)

    def replied(self, sent: Sent, reply: Reply) -> None:
        """Pass upstream's reply on, with those of ours behind it, and do what it means."""
        if isinstance(sent.command, Xforward):
            self.mailing.forwarded(reply)
            return
        if sent.own:
            self.delivery.own_replied(sent.command, reply)
            if isinstance(sent.command, Noop):  # nobody's move: the client, which knows nothing of it, is waited for
                return
        elif isinstance(sent.command, Quit):
            self._exchange.finish(reply if reply.code == catalogue.BYE.code else catalogue.BYE, "quit")
            return
        else:
            self._relay(sent, reply)
        if not reply.is_closing:
            for own in sent.behind:
                self._exchange.client.reply(own)
        self._go_on(reply)

    def _relay(self, sent: Sent, reply: Reply) -> None:
        match sent.command:
            case Mail():
                self.mailing.mail_replied(reply)
            case Rcpt():
                self.mailing.rcpt_replied(reply)
            case Data():
                self.delivery.data_replied(reply)
            case Bdat():
                self.delivery.chunk_replied(reply)
            case Auth() | AuthResponse():
                self._authentication.replied(sent.command, reply)
            case StartTls():
                self._hello.passed(reply)
            case Rset() if reply.is_positive:
                self._reset()
                self._exchange.relay(reply)
            case _:
                self._exchange.relay(reply)

    def judged(self, reply: Reply) -> None:
        """Pass on upstream's verdict about a message."""
        self._junk = 0
        self.delivery.judged(reply)
        self._go_on(reply)

    def _go_on(self, reply: Reply) -> None:
        exchange = self._exchange
        if reply.is_closing:
            exchange.finish(None, "upstream-closing")
        elif not exchange.is_busy:
            exchange.client.settle()
            self.mailing.settle()
            exchange.rest()

    def _reset(self) -> None:
        self.delivery.end()
        self._exchange.client.step(Verb.RSET)


def _parse(line: Line) -> Heard:
    if line.fault is not None:
        reply = catalogue.LINE_TOO_LONG if line.fault in _TOO_LONG else catalogue.BAD_LINE
        return Fault(reply, line.fault.value, attack=line.fault in _CLOSES)
    try:
        command = parse_command(line.octets)
    except CommandError as error:
        return Fault(error.reply, error.reason, attack=isinstance(error, ChunkError))
    if isinstance(command, Unknown) and is_foreign_protocol(line.octets):
        return Fault(catalogue.OTHER_PROTOCOL, "other-protocol", attack=True)
    return command
