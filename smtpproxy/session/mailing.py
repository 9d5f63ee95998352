"""MAIL, RCPT, DATA and the content: what they do, and what upstream's replies to them do.

Source: RFC 5321 s3.3 (transactions), s4.1.1.2 to s4.1.1.4 (commands).

Upstream's own replies go to the client, above all its own 250: the proxy owns no message.
"""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.encryption import decide_recipient
from smtpproxy.session.content import ContentFlow
from smtpproxy.session.envelope import refuse_mail, refuse_rcpt
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.states import ClientStep
from smtpproxy.session.transaction import Transaction
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.commands import Data, Mail, Rcpt, Verb
from smtpproxy.smtp.replies import Reply

_TOO_MANY_TIMES: Final = 2  # so often the limit may be asked for, taken or not, before asking counts as an error
_TOO_MANY: Final = Refuse(catalogue.TOO_MANY_RECIPIENTS, "too-many-recipients")


class Mailing:
    """The transaction of a session.

    Attributes:
        transaction: the one under way, ``None`` outside of one.
        content: its content from 354 to the reply to the end of data, ``None`` otherwise.
    """

    __slots__ = ("_action", "_exchange", "content", "transaction")

    def __init__(self, exchange: Exchange) -> None:
        self.transaction: Transaction | None = None
        self.content: ContentFlow | None = None
        self._exchange = exchange
        self._action = exchange.terms.policy.action

    # MAIL

    def mail(self, command: Mail) -> None:
        """Judge MAIL and send it upstream, or refuse it."""
        exchange = self._exchange
        refusal = refuse_mail(command, exchange.client.offered, self._action.general) or exchange.judge()
        if refusal is None:
            knows_size = exchange.upstream.capabilities.offers("SIZE")
            exchange.forward(command if knows_size else command.without(b"SIZE"))
        else:
            self._report_refused(command, refusal.reply, refusal.because)
            exchange.refuse(refusal.reply, refusal.because)

    def mail_replied(self, command: Mail, reply: Reply) -> None:
        """Begin the transaction if upstream took MAIL."""
        exchange = self._exchange
        if reply.is_positive:
            self.transaction = Transaction(command, exchange.journal.now())
            exchange.client.step(Verb.MAIL)
        else:
            self._report_refused(command, reply)
        exchange.answer(reply)

    def _report_refused(self, command: Mail, reply: Reply, because: str | None = None) -> None:
        transaction = Transaction(command, self._exchange.journal.now(), reply=reply, because=because)
        self._exchange.journal.transaction_ended(transaction)

    # RCPT

    def rcpt(self, command: Rcpt) -> None:
        """Judge RCPT and send it upstream, or refuse it."""
        transaction = self._under_way()
        if len(transaction.recipients) >= _TOO_MANY_TIMES * self._action.general.max_recipients:
            self._exchange.refuse(_TOO_MANY.reply, _TOO_MANY.because)
            return
        refusal = self._judge_rcpt(command, transaction)
        if refusal is None:
            self._exchange.forward(command)
        else:  # a long list of recipients is no fault: the client sends the rest in the next transaction
            transaction.asked(command, refusal.reply, refusal.because)
            self._exchange.answer(refusal.reply)

    def rcpt_replied(self, command: Rcpt, reply: Reply) -> None:
        """Keep what became of the recipient."""
        self._under_way().asked(command, reply)
        if reply.is_positive:
            self._exchange.client.step(Verb.RCPT)
        self._exchange.answer(reply)

    def _judge_rcpt(self, command: Rcpt, transaction: Transaction) -> Refuse | None:
        exchange, general = self._exchange, self._action.general
        if transaction.accepted >= general.max_recipients:
            return _TOO_MANY
        refusal = refuse_rcpt(command, transaction.mail, exchange.client.offered, general)
        if refusal is not None:
            return refusal
        decision = decide_recipient(exchange.terms.rules[0], exchange.legs(), self._action.starttls.on_failure)
        return decision if isinstance(decision, Refuse) else None

    # DATA

    def data(self, command: Data) -> None:
        """Send DATA upstream: in this transaction nothing but size and newlines can refuse the content."""
        self._exchange.forward(command)

    def data_replied(self, reply: Reply) -> None:
        """Begin the content if upstream takes it."""
        if reply.is_intermediate:
            self._begin_content(reply)
            return
        self._under_way().reply = reply
        if self._exchange.client.reader.buffered:  # content that did not wait for 354 is no command
            self._exchange.attack(reply, "octets-behind-refused-data")
        else:
            self._exchange.answer(reply)

    def _begin_content(self, reply: Reply) -> None:
        client = self._exchange.client
        client.step(Verb.DATA)
        self.content = ContentFlow(self._under_way(), self._exchange.upstream, self._action.general)
        self._exchange.answer(reply)
        early = client.reader.take_rest()
        if early:
            self.received(early)

    # Content

    def received(self, data: bytes) -> None:
        """Read content; behind its end the client's commands go on."""
        content = self.content
        rest = content.receive(data) if content is not None else None
        if content is None or rest is None:
            return
        self._exchange.client.step(ClientStep.END_OF_DATA)
        if content.refusal is not None:
            self._exchange.finish(content.refusal.reply, content.refusal.because)
        elif rest:
            self._exchange.client.reader.feed(rest)

    def is_progressing(self) -> bool:
        """Whether content came at the least rate since this was asked last."""
        return self.content is not None and self.content.has_progressed()

    def refuse_content(self, refusal: Refuse) -> None:
        """Let nothing more of the content go upstream; the client hears why at its own end of data."""
        if self.content is not None:
            self.content.refuse(refusal)

    def content_answered(self, reply: Reply) -> None:
        """Pass on upstream's verdict about the message."""
        transaction = self._under_way()
        transaction.reply, transaction.answered = reply, True
        self._exchange.client.step(ClientStep.ANSWERED)
        self._exchange.client.reply(reply)  # before all else: until the client has it, a cut doubles the message
        self.end()
        self._exchange.rest()

    def unanswered(self, farewell: Reply) -> None:
        """Keep what the client is told in place of the verdict that it waits for."""
        if self.content is not None:
            self._under_way().reply = farewell

    # The end

    def end(self) -> None:
        """End the transaction, if there is one, and report it."""
        self.content = None
        if self.transaction is not None:
            self._exchange.journal.transaction_ended(self.transaction)
            self.transaction = None

    def _under_way(self) -> Transaction:
        if self.transaction is None:
            raise AssertionError("the transition table lets RCPT and DATA pass in a transaction only")
        return self.transaction
