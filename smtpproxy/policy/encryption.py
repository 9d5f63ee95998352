"""Decide who must speak TLS with whom: the plan of a connection, the honest offer, and the judgement of mail.

Encryption rules are keyed on the recipient, but STARTTLS comes before RCPT (RFC 3207 s4). So there is one plan a
connection, made of all rules that can still apply to it, and mail is judged against what the upstream leg reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from smtpproxy.policy.decision import ALLOW, Decision, Refuse
from smtpproxy.policy.model import (
    EncryptionRule,
    Failure,
    Offer,
    OnFailure,
    RecipientEncryption,
    SenderEncryption,
)
from smtpproxy.smtp import catalogue


class Plan(Enum):
    """When upstream TLS is begun. Eager: right after upstream's EHLO, whenever it is offered. Never: not at all."""

    EAGER = "eager"
    NEVER = "never"


class Reached(Enum):
    """What the upstream leg came to, and, where that is short of TLS, why."""

    ENCRYPTED = "encrypted"
    CLEAR = "clear"  # by plan
    NOT_OFFERED = "not-offered"
    HANDSHAKE_FAILED = "handshake-failed"
    CERTIFICATE_REFUSED = "certificate-refused"


@dataclass(frozen=True, slots=True)
class LegFacts:
    """What mail is judged against.

    Args:
        client_encrypted: whether the client leg is on TLS.
        upstream: what the upstream leg reached.
    """

    client_encrypted: bool
    upstream: Reached


def decide_plan(rules: Sequence[EncryptionRule]) -> Plan:
    """Return the plan: eager as soon as one rule can ask for ``preferred`` or more."""
    if any(rule.recipient is not RecipientEncryption.NONE for rule in rules):
        return Plan.EAGER
    return Plan.NEVER


def decide_offer(rules: Sequence[EncryptionRule], *, upstream_encrypted: bool) -> bool:
    """Return whether STARTTLS is offered to the client.

    A sender that insists on TLS must not be given ours and then leave in clear: under ``honest`` the offer stands
    where a rule requires TLS of the sender, where upstream is on TLS, or where all rules say recipient ``none`` (an
    off-load that the administrator wrote down).
    """
    willing = [rule for rule in rules if rule.sender is not SenderEncryption.NONE]
    if any(rule.offer is Offer.ALWAYS or rule.sender is SenderEncryption.REQUIRED for rule in willing):
        return True
    return bool(willing) and (upstream_encrypted or decide_plan(rules) is Plan.NEVER)


def decide_sender(rules: Sequence[EncryptionRule], legs: LegFacts) -> Decision:
    """Judge MAIL by the client leg: refused in clear if every rule requires TLS of the sender."""
    if legs.client_encrypted or not all(rule.sender is SenderEncryption.REQUIRED for rule in rules):
        return ALLOW
    return Refuse(catalogue.MUST_STARTTLS, "sender-encryption-required")


def decide_mail(rules: Sequence[EncryptionRule], legs: LegFacts, on_failure: OnFailure) -> Decision:
    """Judge MAIL by both legs: refused, and never sent upstream, if no rule accepts what the upstream leg reached."""
    decision = decide_sender(rules, legs)
    if isinstance(decision, Refuse):
        return decision
    judged = [decide_recipient(rule, legs, on_failure) for rule in rules]
    if any(not isinstance(each, Refuse) for each in judged):
        return ALLOW
    return judged[0]


def decide_recipient(rule: EncryptionRule, legs: LegFacts, on_failure: OnFailure) -> Decision:
    """Judge a recipient to whom ``rule`` applies, by both legs."""
    if rule.sender is SenderEncryption.REQUIRED and not legs.client_encrypted:
        return Refuse(catalogue.MUST_STARTTLS, "sender-encryption-required")
    if legs.upstream is Reached.CERTIFICATE_REFUSED:  # the profile's demand, which holds for every row
        return _refusal(legs.upstream, on_failure)
    if rule.recipient is RecipientEncryption.REQUIRED and legs.upstream is not Reached.ENCRYPTED:
        return _refusal(legs.upstream, on_failure)
    return ALLOW


def _refusal(reached: Reached, on_failure: OnFailure) -> Refuse:
    failure, replies = {
        Reached.HANDSHAKE_FAILED: (on_failure.handshake, _TLS_REFUSED),
        Reached.CERTIFICATE_REFUSED: (on_failure.certificate, _TLS_REFUSED),
    }.get(reached, (on_failure.not_offered, _NOT_OFFERED))
    return Refuse(replies[failure], f"upstream-tls-{reached.value}")


_NOT_OFFERED = {
    Failure.REJECT: catalogue.TLS_NOT_OFFERED_REJECT,
    Failure.TEMPFAIL: catalogue.TLS_NOT_OFFERED_TEMPFAIL,
}
_TLS_REFUSED = {
    Failure.REJECT: catalogue.TLS_REFUSED_REJECT,
    Failure.TEMPFAIL: catalogue.TLS_REFUSED_TEMPFAIL,
}
