"""MAIL and RCPT: what they do, and what upstream's replies to them do.

Source: RFC 5321 s3.3 (transactions), s4.1.1.2 and s4.1.1.3 (commands); RFC 2920 s3.1 (RCPT need not wait for MAIL).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.audit import UNJUDGED, Judgement
from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.knowledge import Answer, Knowledge
from smtpproxy.session import timers
from smtpproxy.session.actions import LookUp
from smtpproxy.session.envelope import refuse_mail, refuse_rcpt
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.forwarding import Forwarding
from smtpproxy.session.recipients import ASKED_TIMES, Recipients, trace_of
from smtpproxy.session.ruling import Ruling
from smtpproxy.session.timers import Timer
from smtpproxy.session.transaction import Transaction
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.commands import Mail, Rcpt, Verb
from smtpproxy.smtp.replies import Reply

_TOO_MANY: Final = Refuse(catalogue.TOO_MANY_RECIPIENTS, "too-many-recipients")


class Mailing:
    """The transaction of a session.

    Attributes:
        transaction: the one under way, from MAIL's leaving to its end, ``None`` outside of one.
    """

    __slots__ = ("_action", "_exchange", "_forwarding", "_recipients", "_waiting", "transaction")

    def __init__(self, exchange: Exchange, recipients: Recipients) -> None:
        self.transaction: Transaction | None = None
        self._exchange = exchange
        self._recipients = recipients
        self._forwarding = Forwarding(exchange)
        self._waiting: tuple[Rcpt, LookUp] | None = None  # with what is being looked up
        self._action = exchange.terms.policy.action

    # MAIL

    def mail(self, command: Mail) -> None:
        """Judge MAIL and send it upstream, or refuse it."""
        exchange = self._exchange
        fault = refuse_mail(command, exchange.client.offered, self._action.general)
        if fault is not None:
            self._report_refused(command, fault)
            exchange.refuse(fault.reply, fault.because)
        elif refusal := exchange.judge(command.path):
            # No fault of the client's: a sender that comes again is told again.
            self._report_refused(command, refusal)
            exchange.answer(refusal.reply)
        elif not self._forwarding.begin(command):
            self._begin(command)

    def forwarded(self, reply: Reply) -> None:
        """Upstream has answered what it was told of the client for its log: MAIL may be next."""
        command = self._forwarding.replied(reply)
        if command is not None:
            self._begin(command)

    def _begin(self, command: Mail) -> None:
        exchange = self._exchange
        self._recipients.begin()
        self.transaction = self._make(command)
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
        transaction = self._make(command)
        transaction.refused(refusal)
        transaction.trace = trace_of(self._exchange.rulebook.search(command.path, None))
        self._exchange.journal.transaction_ended(transaction)

    def _make(self, command: Mail) -> Transaction:
        exchange = self._exchange
        rules = tuple(rule.name for rule in exchange.rulebook.for_sender(command.path))
        return Transaction(command, exchange.journal.now(), rules=rules)

    def ruling(self) -> Ruling:
        """Return who judges the content of the message under way."""
        return Ruling(self._exchange, self._recipients, self.under_way)

    # RCPT

    @property
    def has_room(self) -> bool:
        """Whether one recipient more is within the limit, whatever upstream says to those under way."""
        transaction = self.under_way
        return transaction.accepted + transaction.outstanding < self._action.general.max_recipients

    def rcpt(self, command: Rcpt) -> None:
        """Judge RCPT and send it upstream, or refuse it."""
        transaction = self.under_way
        if len(transaction.recipients) >= ASKED_TIMES * self._action.general.max_recipients:
            self._exchange.refuse(_TOO_MANY.reply, _TOO_MANY.because)
            return
        refusal = self._refuse_form(command, transaction)
        if refusal is None:
            self._consider(command, transaction)
        else:  # a long list of recipients is no fault: the client sends the rest in the next transaction
            self._refuse_rcpt(command, refusal)

    def _refuse_form(self, command: Rcpt, transaction: Transaction) -> Refuse | None:
        exchange, general = self._exchange, self._action.general
        if transaction.accepted >= general.max_recipients:
            return _TOO_MANY
        return refuse_rcpt(command, transaction.mail, exchange.client.offered, general)

    def _consider(self, command: Rcpt, transaction: Transaction) -> None:
        """Judge a recipient by the encryption rules, as soon as all is known that they ask for."""
        exchange, recipients = self._exchange, self._recipients
        if (unconcerned := exchange.unconcerned) is not None:
            self._forward(command, transaction, unconcerned)
            return
        asked, legs = recipients.ask(transaction.mail.path, command.path), exchange.legs()
        wanted = recipients.wanted(asked, legs)
        if wanted is not None:
            self._waiting, exchange.looking_up = (command, wanted), True
            exchange.outbox.put(wanted)
            exchange.outbox.set_timer(Timer.LOOK_UP, timers.LOOK_UP_S)
            return
        decision, judgement = recipients.judge(asked, legs)
        if isinstance(decision, Refuse):
            self._refuse_rcpt(command, decision, judgement)
        else:
            self._forward(command, transaction, judgement)

    def _forward(self, command: Rcpt, transaction: Transaction, judgement: Judgement) -> None:
        transaction.ask(command, judgement)
        self._exchange.client.expect(Verb.RCPT)
        self._exchange.forward(command)

    def _refuse_rcpt(self, command: Rcpt, refusal: Refuse, judgement: Judgement = UNJUDGED) -> None:
        self.under_way.refuse_recipient(command, refusal, judgement)
        self._exchange.answer(refusal.reply)

    def learnt(self, knowledge: Knowledge, name: str | None = None) -> None:
        """Go on with the recipient that waited for this; ``name`` is what upstream would be asked for next time."""
        if self._waiting is None or knowledge.domain != self._waiting[1].domain:
            return
        (command, wanted), self._waiting = self._waiting, None
        self._exchange.looking_up = False
        self._exchange.outbox.set_timer(Timer.LOOK_UP, None)
        self._recipients.learn(wanted, knowledge, name)
        if not self._exchange.is_busy:
            self._exchange.client.settle()
            self.settle()
        if self.transaction is not None and self._exchange.client.allows(Verb.RCPT):
            self._consider(command, self.transaction)
        else:  # upstream refused MAIL meanwhile
            self._exchange.refuse(catalogue.OUT_OF_ORDER, "out-of-order")

    def look_up_timed_out(self) -> None:
        """Go on as with a look-up that failed."""
        if self._waiting is not None:
            self.learnt(Knowledge(self._waiting[1].domain, Answer.FAILED, sts_answer=Answer.FAILED))

    def rcpt_replied(self, reply: Reply) -> None:
        """Keep what became of the recipient."""
        self.under_way.answer(reply)
        if reply.is_positive:
            self._exchange.client.step(Verb.RCPT)
        self._exchange.relay(reply)

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
