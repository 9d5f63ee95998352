"""Judge the mail of one recipient against what both legs reached.

Source: RFC 3207 s4 (530); RFC 9525 s6 (names).
"""

from __future__ import annotations

from dataclasses import dataclass

from smtpproxy.policy.decision import ALLOW, Decision, Refuse
from smtpproxy.policy.judged import (
    LOOK_UP_FAILED,
    NAME_LEARNT,
    Destination,
    certificate_refusal,
    may_want_name,
    tls_refusal,
    wants_name,
)
from smtpproxy.policy.knowledge import Answer, Knowledge
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.model import PeerPolicies
from smtpproxy.policy.names import bears_one, recipient_names, sender_names
from smtpproxy.policy.published import judge_by_dane, judge_by_mta_sts
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.rules import NameSources, RecipientEncryption, SenderEncryption
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import Path
from smtpproxy.tls.facts import Chain, TlsFacts


def judge_sender(sender: SenderEncryption, match: NameSources, legs: LegFacts, path: Path) -> Decision:
    """Judge the client leg by what is asked of senders; ``path`` is MAIL's."""
    if not sender.demands_tls:
        return ALLOW
    if legs.client is None:
        return Refuse(catalogue.MUST_STARTTLS, "sender-encryption-required")
    if sender is SenderEncryption.REQUIRED or _vouches_for(legs.client, sender_names(match, path, legs.helo)):
        return ALLOW
    return Refuse(catalogue.SENDER_NOT_VERIFIED, "sender-not-verified")


def judge_upstream(requirement: Requirement, legs: LegFacts) -> Decision:
    """Judge the upstream leg as far as that can be done before a recipient is known."""
    if legs.reached is Reached.CERTIFICATE_REFUSED:  # the profile's demand, which holds for every row
        return tls_refusal(legs.reached, requirement.on_failure)
    if requirement.demands_tls and legs.reached is not Reached.ENCRYPTED:
        return tls_refusal(legs.reached, requirement.on_failure)
    if requirement.asks_for(RecipientEncryption.VERIFIED) and not (_is_valid(legs) or may_want_name(legs)):
        return certificate_refusal("upstream-certificate-not-valid", requirement.on_failure)
    return ALLOW


def judge_recipient(requirement: Requirement, legs: LegFacts, destination: Destination) -> Decision:
    """Judge a recipient by the upstream leg; the client leg has been judged."""
    decision = judge_upstream(requirement, legs)
    if isinstance(decision, Refuse):
        return decision
    for judge in (_judge_certificate, judge_by_dane, judge_by_mta_sts):
        decision = judge(requirement, legs, destination)
        if isinstance(decision, Refuse):
            return decision
    return ALLOW


# What must be known


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be known of a recipient's domain before it can be judged; false if nothing."""

    exchangers: bool
    tlsa: bool
    sts: bool

    def __bool__(self) -> bool:
        return self.exchangers or self.tlsa or self.sts


def needs_of(requirement: Requirement, legs: LegFacts, honoured: PeerPolicies, recipient: Path) -> Needs:
    """Return what must be looked up; of a leg in clear only whether the destination wants it otherwise.

    Args:
        requirement: what is asked for the recipient.
        legs: what both legs reached.
        honoured: what is honoured because the destination publishes it.
        recipient: RCPT's path.
    """
    encrypted = legs.reached is Reached.ENCRYPTED
    verified = encrypted and requirement.asks_for(RecipientEncryption.VERIFIED)
    helps = verified and (requirement.match.needs_look_up or legs.learns_name)
    misses = helps and not (_is_valid(legs) and _bears_name(requirement.match, legs, recipient, None))
    dane = encrypted and requirement.asks_for(RecipientEncryption.DANE)
    mta_sts = encrypted and requirement.asks_for(RecipientEncryption.MTA_STS)
    vouching = misses and requirement.match.mx
    return Needs(misses, tlsa=honoured.dane or dane, sts=honoured.mta_sts or mta_sts or vouching)


# The certificate


def _judge_certificate(requirement: Requirement, legs: LegFacts, destination: Destination) -> Decision:
    """Judge by the chain and by the names that the rule wants."""
    knowledge = destination.knowledge
    if not requirement.asks_for(RecipientEncryption.VERIFIED):
        return ALLOW
    bears_name = _bears_name(requirement.match, legs, destination.recipient, knowledge)
    if bears_name and _is_valid(legs):
        return ALLOW
    if knowledge is not None and knowledge.answer is Answer.FAILED and requirement.match.needs_look_up:
        return LOOK_UP_FAILED
    if wants_name(legs, destination):
        return NAME_LEARNT
    because = "upstream-certificate-name" if _is_valid(legs) else "upstream-certificate-not-valid"
    return certificate_refusal(because, requirement.on_failure)


def _bears_name(match: NameSources, legs: LegFacts, recipient: Path, knowledge: Knowledge | None) -> bool:
    peer = legs.upstream.peer if legs.upstream else None
    return peer is not None and bears_one(peer, recipient_names(match, recipient, knowledge))


def _is_valid(legs: LegFacts) -> bool:
    return legs.upstream is not None and legs.upstream.chain is Chain.VALID


def _vouches_for(facts: TlsFacts, names: tuple[str, ...]) -> bool:
    return facts.peer is not None and facts.chain is Chain.VALID and bears_one(facts.peer, names)
