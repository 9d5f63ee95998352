"""Decide about a connection's TLS: the plan, the honest offer, and whether any mail may pass at all.

Encryption rules are keyed on the recipient, but STARTTLS comes before RCPT (RFC 3207 s4). So there is one plan a
connection, made of all rules that can still apply to it, and mail is judged against what the upstream leg reached.
"""

from __future__ import annotations

from collections.abc import Sequence

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.decision import ALLOW, Decision, Refuse
from smtpproxy.policy.judging import judge_sender, judge_upstream
from smtpproxy.policy.legs import LegFacts
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.rules import EncryptionRule, Offer, OnFailure, RecipientEncryption, SenderEncryption
from smtpproxy.smtp.addresses import Path


class Plan(IdentityEnum):
    """When upstream TLS is begun.

    Eager: right after upstream's EHLO, whenever it is offered. Mirror: when the client begins its own. Never: not at
    all.
    """

    EAGER = "eager"
    MIRROR = "mirror"
    NEVER = "never"


def decide_plan(rules: Sequence[EncryptionRule], *, can_be_raised: bool = False, introduces: bool = False) -> Plan:
    """Return the plan, which is that of the rule that asks for most.

    Args:
        rules: those that can apply.
        can_be_raised: whether a message or its destination can ask for more than the rules do.
        introduces: whether upstream is told by XCLIENT who the client is, which must come inside its TLS, and before
            the client's own can be known: then what waits for the client's is begun at once.
    """
    if can_be_raised or any(rule.recipient.is_eager for rule in rules):
        return Plan.EAGER
    if any(rule.recipient is RecipientEncryption.ALLOWED for rule in rules):
        return Plan.EAGER if introduces else Plan.MIRROR
    return Plan.NEVER


def decide_offer(rules: Sequence[EncryptionRule], *, upstream_ready: bool) -> bool:
    """Return whether STARTTLS is offered to the client.

    A sender that insists on TLS must not be given ours and then leave in clear: under ``honest`` the offer stands
    where a rule requires TLS of the sender, where upstream is ready, or where all rules say recipient ``none`` (an
    off-load that the administrator wrote down).

    Args:
        rules: those that can apply.
        upstream_ready: whether upstream is on TLS or, under the plan ``mirror``, offers it.
    """
    willing = [rule for rule in rules if rule.sender is not SenderEncryption.NONE]
    if any(rule.offer is Offer.ALWAYS or rule.sender.demands_tls for rule in willing):
        return True
    off_load = all(rule.recipient is RecipientEncryption.NONE for rule in rules)
    return bool(willing) and (upstream_ready or off_load)


def tolerates_clear(rules: Sequence[EncryptionRule]) -> bool:
    """Return whether every rule that can apply lets mail go in clear: then TLS that broke lately need not be tried."""
    return not any(rule.recipient.demands_tls for rule in rules)


def decide_sender(rules: Sequence[EncryptionRule], legs: LegFacts, sender: Path) -> Decision:
    """Judge MAIL by the client leg: refused if every rule would refuse it."""
    decisions = [judge_sender(rule.sender, rule.sender_match, legs, sender) for rule in rules]
    return ALLOW if any(each is ALLOW for each in decisions) else decisions[0]


def decide_mail(rules: Sequence[EncryptionRule], legs: LegFacts, sender: Path, on_failure: OnFailure) -> Decision:
    """Judge MAIL by both legs: refused, and never sent upstream, if no rule accepts what the upstream leg reached.

    Args:
        rules: those that can apply, at least one.
        legs: what both legs reached.
        sender: MAIL's path.
        on_failure: the proxy action's.
    """
    decision = decide_sender(rules, legs, sender)
    if isinstance(decision, Refuse):
        return decision
    judged = [_judge(rule, legs, sender, on_failure) for rule in rules]
    return ALLOW if any(each is ALLOW for each in judged) else judged[0]


def _judge(rule: EncryptionRule, legs: LegFacts, sender: Path, on_failure: OnFailure) -> Decision:
    decision = judge_sender(rule.sender, rule.sender_match, legs, sender)
    return decision if isinstance(decision, Refuse) else judge_upstream(Requirement.of(rule, on_failure), legs)
