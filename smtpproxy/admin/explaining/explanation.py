"""Answer a question: the policy and why no other, the rules and why no other, and the reply in every case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from smtpproxy.admin.explaining.cases import Case, cases_of, legs_of
from smtpproxy.admin.explaining.question import address_of
from smtpproxy.admin.explaining.verdicts import Judge, Verdict
from smtpproxy.policy.envelopes import Envelope
from smtpproxy.policy.messages import levels_in_reach, reachable, rules_for
from smtpproxy.policy.model import TlsAction
from smtpproxy.policy.names import recipient_names, sender_names
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.selection import PolicyTried, trace_selection
from smtpproxy.policy.tls_action import TlsCase, possible_tls
from smtpproxy.session.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpproxy.admin.explaining.question import Question
    from smtpproxy.config.values import Configuration
    from smtpproxy.policy.encryption import Plan
    from smtpproxy.policy.matching import Tried
    from smtpproxy.policy.messages import MessageRule
    from smtpproxy.policy.rules import EncryptionRule, RecipientEncryption
    from smtpproxy.smtp.addresses import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict about a recipient in one case.

    Args:
        client_tls: whether the client leg is on TLS.
        case: what became of the upstream leg.
        verdict: what the sender is told.
        asked: what it is told at the end of data, where the message asks for more itself, by what it asks for.
    """

    client_tls: bool
    case: Case
    verdict: Verdict
    asked: tuple[tuple[RecipientEncryption, Verdict], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientAnswer:
    """One recipient.

    Args:
        recipient: RCPT's path.
        tried: every rule, and what was found of it, in order.
        rule: the one that decides.
        watching: those that apply and only monitor.
        requirement: what the one that decides asks.
        names: that the upstream certificate may bear, as far as they are known.
        sender_names: that the client's certificate may bear, where one is asked for.
        outcomes: the verdict in every case.
    """

    recipient: Path
    tried: tuple[Tried, ...]
    rule: EncryptionRule
    watching: tuple[EncryptionRule, ...]
    requirement: Requirement
    names: tuple[str, ...]
    sender_names: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """What the selected policy does.

    Args:
        terms: the policy for this kind of port.
        tls: what may happen to TLS instead of inspection, in the order in which it is looked for.
        plan: when upstream TLS is begun.
        offered_on_tls: whether the client is offered STARTTLS while upstream is on TLS, or offers it under ``mirror``.
        offered_in_clear: whether it is while upstream is in clear.
        recipients: each of them.
        message_rules: those that a message can come to, in order, without what they ask of the envelope.
        levels: what the message may ask for, by those rules or by an honoured field.
    """

    terms: Terms
    tls: tuple[TlsCase, ...]
    plan: Plan
    offered_on_tls: bool
    offered_in_clear: bool
    recipients: tuple[RecipientAnswer, ...]
    message_rules: tuple[MessageRule, ...]
    levels: tuple[RecipientEncryption, ...]

    @property
    def settled_tls(self) -> TlsAction | None:
        """What happens to TLS whatever else is so, ``None`` if that depends."""
        return _settled(self.tls)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer.

    Args:
        question: what was asked.
        policies: those that were looked at; the last one is selected unless it has an obstacle.
        answer: what the selected one does, ``None`` if there is none.
    """

    question: Question
    policies: tuple[PolicyTried, ...]
    answer: PolicyAnswer | None


def explain(question: Question, configuration: Configuration) -> Explanation:
    """Answer a question by the configuration alone."""
    tried = tuple(trace_selection(configuration.policies, question.traffic))
    selected = next((each.policy for each in tried if each.obstacle is None), None)
    if selected is None:
        return Explanation(question, tried, None)
    terms = Terms.of(selected, question.kind, configuration.gateway.name)
    return Explanation(question, tried, _policy_answer(question, terms))


def _policy_answer(question: Question, terms: Terms) -> PolicyAnswer:
    policy = terms.policy
    about = question.tls_question(policy)
    tls = tuple(possible_tls(terms.tls_action, terms.tls_exceptions, about, question.unknown))
    settled = _settled(tls)
    passes = settled is TlsAction.ALLOW and not terms.implicit
    upstream = question.upstream(policy)
    address = address_of(upstream.host) if upstream else None
    judge = Judge(terms, question.source, address, passes_starttls=passes)
    is_read = passes or settled in _READ
    rules = message_rules_for(question, policy.action.message_rules) if is_read else ()
    levels = sorted(levels_in_reach(rules, policy.action.tls_level_header), key=lambda level: level.value)
    demanding = tuple(level for level in levels if level.demands_tls)
    asked = question.recipients if is_read else ()
    return PolicyAnswer(
        terms=terms,
        tls=tls,
        plan=judge.rulebook.plan,
        offered_on_tls=judge.offers(upstream_ready=True),
        offered_in_clear=judge.offers(upstream_ready=False),
        recipients=tuple(_Inquiry(question, each, terms, judge).answer(demanding) for each in asked),
        message_rules=rules,
        levels=tuple(levels) if is_read else (),
    )


def _settled(tls: Sequence[TlsCase]) -> TlsAction | None:
    actions = {case.decision.action for case in tls}
    return actions.pop() if len(actions) == 1 else None


_READ: Final = frozenset({TlsAction.INSPECT, None})
"""What happens to TLS where the gateway reads a session, or may do so."""


def message_rules_for(question: Question, rules: Sequence[MessageRule]) -> tuple[MessageRule, ...]:
    """Return the message rules that the message can come to; a client that was not told may be any."""
    envelope = Envelope(question.sender, question.recipients, question.source)
    asked = rules if question.source else [_for_any_client(rule) for rule in rules]
    return tuple(reachable(rules_for(asked, envelope)))


def _for_any_client(rule: MessageRule) -> MessageRule:
    condition = rule.when.envelope
    if condition is None or condition.client is None:
        return rule
    return replace(rule, when=replace(rule.when, envelope=replace(condition, client=None)))


class _Inquiry:
    """One recipient of a question."""

    def __init__(self, question: Question, recipient: Path, terms: Terms, judge: Judge) -> None:
        self._question = question
        self._terms = terms
        self._judge = judge
        self._asked = judge.ask(question.sender, recipient)
        self._requirement = Requirement.of(self._asked.rules[-1], terms.policy.action.starttls.on_failure)
        self._names = recipient_names(self._requirement.match, recipient, None)

    def answer(self, levels: Sequence[RecipientEncryption]) -> RecipientAnswer:
        *watching, rule = self._asked.rules
        return RecipientAnswer(
            recipient=self._asked.recipient,
            tried=self._asked.tried,
            rule=rule,
            watching=tuple(watching),
            requirement=self._requirement,
            names=self._names,
            sender_names=sender_names(self._requirement.sender_match, self._question.sender, b""),
            outcomes=tuple(self._outcomes(levels)),
        )

    def _outcomes(self, levels: Sequence[RecipientEncryption]) -> Iterator[Outcome]:
        kind, rulebook, address = self._question.kind, self._judge.rulebook, self._judge.rulebook.address
        for client_tls in self._question.client_legs:
            if client_tls and rulebook.passes_starttls:
                continue  # what is said inside is nobody's to judge
            for case in cases_of(kind, rulebook, client_tls=client_tls):
                legs = legs_of(case, self._terms, self._names, address, client_tls=client_tls)
                verdict = self._judge.verdict(self._asked, legs)
                asked = [(level, self._judge.message_verdict(self._asked, level, legs)) for level in levels]
                yield Outcome(client_tls, case, verdict, tuple(asked) if verdict.passes else ())
