"""Judge the upstream leg by what the recipient's domain publishes: DANE and MTA-STS.

Source: RFC 7672 s2.2 (what the answers mean); RFC 8461 s4, s5 (applying a policy), s5.1 (none: as without).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.dane import DaneState, judge_dane
from smtpproxy.policy.decision import ALLOW, Decision
from smtpproxy.policy.judged import (
    LOOK_UP_FAILED,
    NAME_LEARNT,
    Destination,
    certificate_refusal,
    tls_refusal,
    wants_name,
)
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.mta_sts import StsState, judge_sts
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.rules import RecipientEncryption

_NO_STS: Final = frozenset({StsState.ABSENT, StsState.UNFETCHED, StsState.TESTING_HELD, StsState.TESTING_BROKEN})
_NO_DANE: Final = frozenset({DaneState.ABSENT, DaneState.INSECURE, DaneState.NO_HOST})


def judge_by_dane(requirement: Requirement, legs: LegFacts, destination: Destination) -> Decision:
    """Judge by TLSA records, if a rule demands them or what is published is honoured."""
    demanded = requirement.asks_for(RecipientEncryption.DANE)
    if not demanded and not destination.honoured.dane:
        return ALLOW
    state = _dane_state(legs, destination)
    if state is DaneState.MATCHED or (not demanded and state in _NO_DANE):
        return ALLOW
    if state is DaneState.UNUSABLE and not demanded and legs.reached is Reached.ENCRYPTED:
        return ALLOW  # TLS is due, be it unauthenticated (RFC 7672 s2.2)
    if state is DaneState.FAILED:
        return LOOK_UP_FAILED
    return _refusal(requirement, legs, destination, f"dane-{state.value}", by_name=state is DaneState.MISMATCHED)


def judge_by_mta_sts(requirement: Requirement, legs: LegFacts, destination: Destination) -> Decision:
    """Judge by an MTA-STS policy, if a rule demands one or what is published is honoured."""
    demanded = requirement.asks_for(RecipientEncryption.MTA_STS)
    if not demanded and not destination.honoured.mta_sts:
        return ALLOW
    state = _sts_state(legs, destination)
    if state is StsState.HELD or (not demanded and state in _NO_STS):
        return ALLOW
    if state is StsState.FAILED:
        return LOOK_UP_FAILED
    return _refusal(requirement, legs, destination, f"mta-sts-{state.value}", by_name=state is StsState.BROKEN)


def _refusal(
    requirement: Requirement, legs: LegFacts, destination: Destination, because: str, *, by_name: bool
) -> Decision:
    """Refuse what is not met; ``by_name``: another name might have brought another certificate."""
    if legs.reached is not Reached.ENCRYPTED:
        return tls_refusal(legs.reached, requirement.on_failure)
    if by_name and wants_name(legs, destination):
        return NAME_LEARNT
    return certificate_refusal(because, requirement.on_failure)


def _sts_state(legs: LegFacts, destination: Destination) -> StsState:
    if destination.knowledge is None or legs.address is None:
        return StsState.ABSENT
    return judge_sts(destination.knowledge, legs.address, legs.upstream).state


def _dane_state(legs: LegFacts, destination: Destination) -> DaneState:
    if destination.knowledge is None or legs.address is None:  # an address literal, or an address that nobody knows
        return DaneState.NO_HOST
    return judge_dane(destination.knowledge, legs.address, legs.upstream, destination.now_s).state
