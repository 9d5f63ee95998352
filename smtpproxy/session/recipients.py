"""Judge recipients: the encryption rule that is for each, what its domain publishes, and what both legs reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from smtpproxy.audit import Judgement
from smtpproxy.lru import Lru
from smtpproxy.policy.decision import Decision, Refuse
from smtpproxy.policy.judged import Destination
from smtpproxy.policy.judging import judge_recipient, judge_sender, judge_upstream, needs_of
from smtpproxy.policy.knowledge import Knowledge
from smtpproxy.policy.legs import LegFacts
from smtpproxy.policy.matching import Fit, Tried
from smtpproxy.policy.names import looked_up_domain
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.rules import EncryptionRule, RecipientEncryption
from smtpproxy.session.actions import LookUp
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.terms import Circumstances, Terms
from smtpproxy.smtp.addresses import Path

MAX_KNOWN: Final = 100
"""Domains whose facts a transaction keeps; what goes is looked up anew, in the gateway's cache."""

ASKED_TIMES: Final = 2
"""How often the limit of recipients may be asked for, taken or not, before asking counts as an error."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a look-up found, which is worth nothing to who would have wanted more."""

    wanted: LookUp
    knowledge: Knowledge
    next_name: str | None

    def joined_with(self, wanted: LookUp) -> LookUp:
        """Return what must be looked up so that both have what they want."""
        return replace(wanted, tlsa=wanted.tlsa or self.wanted.tlsa, sts=wanted.sts or self.wanted.sts)


@dataclass(frozen=True, slots=True)
class Asked:
    """A recipient of a sender, and the rules that are for it: those that monitor, then the one that decides."""

    sender: Path
    recipient: Path
    tried: tuple[Tried, ...]
    rules: tuple[EncryptionRule, ...]


class Recipients:
    """What one session's recipients ask for.

    Args:
        terms: what its policy says.
        circumstances: its own facts.
        rulebook: its rules.
    """

    __slots__ = ("_circumstances", "_honoured", "_in_reach", "_known", "_looks", "_on_failure", "_room", "_rulebook")

    def __init__(self, terms: Terms, circumstances: Circumstances, rulebook: Rulebook) -> None:
        self._circumstances = circumstances
        self._rulebook = rulebook
        self._honoured = terms.policy.peer_policies
        self._looks = terms.looks
        self._in_reach = terms.levels_in_reach  # looked up ahead, for the end of a message has no time
        self._on_failure = terms.policy.action.starttls.on_failure
        self._room = _room(terms)
        self._known: Lru[str, _Known] = Lru(self._room)

    def begin(self) -> None:
        """Forget what was found for the last transaction: how long it may be kept, the gateway's cache knows."""
        if len(self._known):
            self._known = Lru(self._room)

    def learn(self, wanted: LookUp, knowledge: Knowledge, next_name: str | None) -> None:
        """Keep what a look-up found, and what the next connection would ask upstream for."""
        self._known.put(wanted.domain, _Known(wanted, knowledge, next_name))

    def ask(self, sender: Path, recipient: Path) -> Asked:
        """Find the rules that are for a recipient."""
        tried = self._rulebook.search(sender, recipient)
        return Asked(sender, recipient, tried, tuple(each.rule for each in tried if each.fit is Fit.YES))

    def wanted(self, asked: Asked, legs: LegFacts) -> LookUp | None:
        """Return what must be looked up before a recipient can be judged, ``None`` if nothing."""
        domain = looked_up_domain(asked.recipient) if self._looks else None
        if domain is None:
            return None
        requirements = [self.requirement(rule).raised(self._in_reach) for rule in asked.rules]
        needs = [needs_of(each, legs, self._honoured, asked.recipient) for each in requirements]
        if not any(needs):
            return None
        wanted = LookUp(domain, tlsa=any(each.tlsa for each in needs), sts=any(each.sts for each in needs))
        known = self._known.get(domain)
        if known is None:
            return wanted
        joined = known.joined_with(wanted)
        return None if joined == known.wanted else joined

    def judge(self, asked: Asked, legs: LegFacts) -> tuple[Decision, Judgement]:
        """Judge a recipient by the rule that decides; the rules that only monitor are judged for the record."""
        *watching, deciding = asked.rules
        decision = self._judge(deciding, asked, legs)
        monitored = tuple((rule.name, _token(self._judge(rule, asked, legs))) for rule in watching)
        trace = trace_of(asked.tried) if isinstance(decision, Refuse) else ()
        return decision, Judgement(deciding.name, monitored, trace)

    def judge_message(
        self, sender: Path, recipients: Iterable[Path], asked: frozenset[RecipientEncryption], legs: LegFacts
    ) -> Refuse | None:
        """Judge a message that asks for more than the rules of its recipients, all of whom were let pass.

        Args:
            sender: MAIL's path.
            recipients: for whom the message is.
            asked: what the message asks for.
            legs: what both legs reached.

        Returns:
            The refusal for one recipient, which must be that for all; one for now if there is one.
        """
        if not asked:
            return None
        judged = [self._judge_asked(sender, recipient, asked, legs) for recipient in recipients]
        refusals = sorted((each for each in judged if isinstance(each, Refuse)), key=lambda each: each.reply.code)
        return refusals[0] if refusals else None

    def _judge_asked(
        self, sender: Path, recipient: Path, asked: frozenset[RecipientEncryption], legs: LegFacts
    ) -> Decision:
        requirement = self.requirement(self.ask(sender, recipient).rules[-1]).raised(asked)
        return judge_recipient(requirement, legs, self.destination(recipient))

    def requirement(self, rule: EncryptionRule) -> Requirement:
        """Return what a rule asks."""
        return Requirement.of(rule, self._on_failure)

    def destination(self, recipient: Path) -> Destination:
        """Return a recipient with what is known of its domain."""
        domain = looked_up_domain(recipient)
        known = None if domain is None else self._known.get(domain)
        now_s = self._circumstances.wall()
        if known is None:
            return Destination(recipient, None, self._honoured, now_s)
        return Destination(recipient, known.knowledge, self._honoured, now_s, known.next_name)

    def _judge(self, rule: EncryptionRule, asked: Asked, legs: LegFacts) -> Decision:
        decision = judge_sender(rule.sender, rule.sender_match, legs, asked.sender)
        if isinstance(decision, Refuse):
            return decision
        if not self._looks:
            return judge_upstream(self.requirement(rule), legs)
        return judge_recipient(self.requirement(rule), legs, self.destination(asked.recipient))


def _room(terms: Terms) -> int:
    """Return for how many domains there is room: where messages may ask for more, for all that one may have."""
    recipients = ASKED_TIMES * terms.policy.action.general.max_recipients
    return max(MAX_KNOWN, recipients) if terms.levels_in_reach else MAX_KNOWN


def trace_of(tried: Sequence[Tried]) -> tuple[tuple[str, str], ...]:
    """Return the search for a rule as it stands in a record."""
    return tuple((each.rule.name, each.fit.value) for each in tried)


def _token(decision: Decision) -> str | None:
    return decision.because if isinstance(decision, Refuse) else None
