"""What becomes of one message: the message rules for its envelope, what its header asks for, and what the legs reached.

A message has one reply for all its recipients, so what it asks for must be met for each of them.
"""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.envelopes import Envelope
from smtpproxy.policy.messages import MessageFacts, Need, judge_message, need_of, rules_for, still_needs_size
from smtpproxy.policy.tls_level import read_tls_level
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.recipients import Recipients
from smtpproxy.session.transaction import Transaction
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.headers import Headers

_DENIED: Final = Refuse(catalogue.RULE_DENIED, "message-rule")


class Ruling:
    """Judges one message, whose recipients are all answered, and keeps for its record what it came to.

    Args:
        exchange: both legs.
        recipients: judges each recipient.
        transaction: the message's own.

    Attributes:
        need: how much of the content must be held before it can be judged.
    """

    __slots__ = ("_exchange", "_header", "_recipients", "_rules", "_transaction", "need")

    def __init__(self, exchange: Exchange, recipients: Recipients, transaction: Transaction) -> None:
        action = exchange.terms.policy.action
        envelope = Envelope(transaction.mail.path, transaction.standing, exchange.rulebook.client)
        self._exchange = exchange
        self._recipients = recipients
        self._transaction = transaction
        self._rules = rules_for(action.message_rules, envelope)
        self._header = action.tls_level_header
        self.need = need_of(self._rules, self._header)

    def still_needs_size(self, headers: Headers) -> bool:
        """Return whether, with the headers known, the size may still matter."""
        return self.need is Need.WHOLE and still_needs_size(self._rules, headers)

    def judge(self, headers: Headers, size_octets: int | None) -> Headers | Refuse:
        """Return the headers as they are to go on, or why the message is refused."""
        decision = judge_message(self._rules, MessageFacts(headers, size_octets))
        self._transaction.message_rules = decision.fired
        if decision.denied_by is not None:
            return _DENIED
        found = read_tls_level(self._header, decision.headers)
        asked = decision.levels if found.level is None else decision.levels | {found.level}
        self._transaction.asked = tuple(sorted(level.value for level in asked))
        self._transaction.findings = tuple(finding.value for finding in found.findings)
        transaction = self._transaction
        refusal = self._recipients.judge_message(
            transaction.mail.path, transaction.standing, asked, self._exchange.legs()
        )
        return refusal or found.headers
