"""Answer a question: the policy and why no other, the rules and why no other, and the reply in every case."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from smtpproxy.admin.explaining.cases import Case, cases_of, legs_of
from smtpproxy.admin.explaining.verdicts import Judge, Verdict
from smtpproxy.policy.messages import reachable
from smtpproxy.policy.names import recipient_names, sender_names
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.selection import PolicyTried, trace_selection
from smtpproxy.session.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.admin.explaining.question import Question
    from smtpproxy.config.values import Configuration
    from smtpproxy.policy.encryption import Plan
    from smtpproxy.policy.matching import Tried
    from smtpproxy.policy.messages import MessageRule
    from smtpproxy.policy.model import Policy
    from smtpproxy.policy.rules import EncryptionRule
    from smtpproxy.policy.selection import Address
    from smtpproxy.smtp.addresses import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict about a recipient in one case."""

    client_tls: bool
    case: Case
    verdict: Verdict


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
        plan: when upstream TLS is begun.
        offered_on_tls: whether the client is offered STARTTLS while upstream is on TLS, or offers it under ``mirror``.
        offered_in_clear: whether it is while upstream is in clear.
        recipients: each of them.
        message_rules: those that a message can come to, in order.
    """

    terms: Terms
    plan: Plan
    offered_on_tls: bool
    offered_in_clear: bool
    recipients: tuple[RecipientAnswer, ...]
    message_rules: tuple[MessageRule, ...]


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
    judge = Judge(terms, question.source, upstream_address(selected))
    return Explanation(question, tried, _policy_answer(question, terms, judge))


def upstream_address(policy: Policy) -> Address | None:
    """Return the address that a policy's upstream is dialled at, as far as the configuration tells."""
    try:
        return ip_address(policy.upstream.host)
    except ValueError:
        return None


def _policy_answer(question: Question, terms: Terms, judge: Judge) -> PolicyAnswer:
    return PolicyAnswer(
        terms=terms,
        plan=judge.rulebook.plan,
        offered_on_tls=judge.offers(upstream_ready=True),
        offered_in_clear=judge.offers(upstream_ready=False),
        recipients=tuple(_recipient_answer(question, recipient, terms, judge) for recipient in question.recipients),
        message_rules=tuple(reachable(terms.policy.action.message_rules)),
    )


def _recipient_answer(question: Question, recipient: Path, terms: Terms, judge: Judge) -> RecipientAnswer:
    asked = judge.ask(question.sender, recipient)
    *watching, rule = asked.rules
    requirement = Requirement.of(rule, terms.policy.action.starttls.on_failure)
    names = recipient_names(requirement.match, recipient, None)

    def outcomes() -> Iterator[Outcome]:
        for client_tls in question.client_legs:
            for case in cases_of(question.kind, judge.rulebook.plan, client_tls=client_tls):
                legs = legs_of(case, terms, names, judge.rulebook.address, client_tls=client_tls)
                yield Outcome(client_tls, case, judge.verdict(asked, legs))

    return RecipientAnswer(
        recipient=recipient,
        tried=asked.tried,
        rule=rule,
        watching=tuple(watching),
        requirement=requirement,
        names=names,
        sender_names=sender_names(requirement.sender_match, question.sender, b""),
        outcomes=tuple(outcomes()),
    )
