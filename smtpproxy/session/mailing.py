"""MAIL and RCPT: what they do, and what upstream's replies to them do.

Source: RFC 5321 s3.3 (transactions), s4.1.1.2 and s4.1.1.3 (commands); RFC 2920 s3.1 (RCPT need not wait for MAIL).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.encryption import decide_recipient
from smtpproxy.session.envelope import refuse_mail, refuse_rcpt
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.transaction import Transaction
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.commands import Mail, Rcpt, Verb
from smtpproxy.smtp.replies import Reply

_TOO_MANY_TIMES: Final = 2  # so often the limit may be asked for, taken or not, before asking counts as an error
_TOO_MANY: Final = Refuse(catalogue.TOO_MANY_RECIPIENTS, "too-many-recipients")


class Mailing:
    """The transaction of a session.

    Attributes:
        transaction: the one under way, from MAIL's leaving to its end, ``None`` outside of one.
    """

    __slots__ = ("_action", "_exchange", "transaction")

    def __init__(self, exchange: Exchange) -> None:
        self.transaction: Transaction | None = None
        self._exchange = exchange
        self._action = exchange.terms.policy.action

    # MAIL

    def mail(self, command: Mail) -> None:
        """Judge MAIL and send it upstream, or refuse it."""
        exchange = self._exchange
        fault = refuse_mail(command, exchange.client.offered, self._action.general)
        if fault is not None:
            self._report_refused(command, fault)
            exchange.refuse(fault.reply, fault.because)
        elif refusal := exchange.judge():  # no fault of the client's: a sender that comes again is told again
            self._report_refused(command, refusal)
            exchange.answer(refusal.reply)
        else:
            self._begin(command)

    def _begin(self, command: Mail) -> None:
        exchange = self._exchange
        self.transaction = Transaction(command, exchange.journal.now())
        exchange.client.expect(Verb.MAIL)
        knows_size = exchange.upstream.capabilities.offers("SIZE")
        exchange.forward(command if knows_size else command.without(b"SIZE"))

    def mail_replied(self, reply: Reply) -> None:
        """The transaction stands if upstream took MAIL."""
        transaction = self.under_way
        transaction.granted = reply.is_positive
        if reply.is_positive:
            self._exchange.client.step(Verb.MAIL)
        else:
            transaction.reply = reply
        self._exchange.relay(reply)

    def _report_refused(self, command: Mail, refusal: Refuse) -> None:
        transaction = Transaction(command, self._exchange.journal.now())
        transaction.refused(refusal)
        self._exchange.journal.transaction_ended(transaction)

    # RCPT

    @property
    def has_room(self) -> bool:
        """Whether one recipient more is within the limit, whatever upstream says to those under way."""
        transaction = self.under_way
        return transaction.accepted + transaction.outstanding < self._action.general.max_recipients

    def rcpt(self, command: Rcpt) -> None:
        """Judge RCPT and send it upstream, or refuse it."""
        transaction = self.under_way
        if len(transaction.recipients) >= _TOO_MANY_TIMES * self._action.general.max_recipients:
            self._exchange.refuse(_TOO_MANY.reply, _TOO_MANY.because)
            return
        refusal = self._judge_rcpt(command, transaction)
        if refusal is None:
            transaction.ask(command)
            self._exchange.client.expect(Verb.RCPT)
            self._exchange.forward(command)
        else:  # a long list of recipients is no fault: the client sends the rest in the next transaction
            transaction.refuse_recipient(command, refusal)
            self._exchange.answer(refusal.reply)

    def rcpt_replied(self, reply: Reply) -> None:
        """Keep what became of the recipient."""
        self.under_way.answer(reply)
        if reply.is_positive:
            self._exchange.client.step(Verb.RCPT)
        self._exchange.relay(reply)

    def _judge_rcpt(self, command: Rcpt, transaction: Transaction) -> Refuse | None:
        exchange, general = self._exchange, self._action.general
        if transaction.accepted >= general.max_recipients:
            return _TOO_MANY
        refusal = refuse_rcpt(command, transaction.mail, exchange.client.offered, general)
        if refusal is not None:
            return refusal
        decision = decide_recipient(exchange.terms.rules[0], exchange.legs(), self._action.starttls.on_failure)
        return decision if isinstance(decision, Refuse) else None

    # The end

    def settle(self) -> None:
        """Nothing is under way any more: a transaction whose MAIL was refused is over."""
        if self.transaction is not None and not self.transaction.granted:
            self.end()

    def end(self) -> None:
        """End the transaction, if there is one, and report it."""
        if self.transaction is not None:
            self._exchange.journal.transaction_ended(self.transaction)
            self.transaction = None

    @property
    def under_way(self) -> Transaction:
        """The transaction, where the transition table lets pass only what belongs to one."""
        if self.transaction is None:
            raise AssertionError("the transition table lets RCPT, DATA and BDAT pass in a transaction only")
        return self.transaction
