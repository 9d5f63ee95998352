"""The plan, the honest offer and the judgement of mail, for one rule and for several."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.policy.decision import ALLOW, Refuse
from smtpproxy.policy.encryption import (
    LegFacts,
    Plan,
    Reached,
    decide_mail,
    decide_offer,
    decide_plan,
    decide_recipient,
    decide_sender,
)
from smtpproxy.policy.model import (
    EncryptionRule,
    Failure,
    Offer,
    OnFailure,
    RecipientEncryption,
    SenderEncryption,
)
from smtpproxy.smtp import catalogue

NONE, OPTIONAL, REQUIRED = SenderEncryption.NONE, SenderEncryption.OPTIONAL, SenderEncryption.REQUIRED
R_NONE, PREFERRED = RecipientEncryption.NONE, RecipientEncryption.PREFERRED
R_REQUIRED = RecipientEncryption.REQUIRED
ON_FAILURE = OnFailure()
BOTH_ON_TLS = LegFacts(client_encrypted=True, upstream=Reached.ENCRYPTED)


def rule(
    sender: SenderEncryption = OPTIONAL, recipient: RecipientEncryption = PREFERRED, offer: Offer = Offer.HONEST
) -> EncryptionRule:
    return EncryptionRule(f"{sender.value} {recipient.value}", sender, recipient, offer)


RULES = st.lists(
    st.builds(rule, st.sampled_from(SenderEncryption), st.sampled_from(RecipientEncryption), st.sampled_from(Offer)),
    min_size=1,
    max_size=4,
)
LEGS = st.builds(LegFacts, client_encrypted=st.booleans(), upstream=st.sampled_from(Reached))


@pytest.mark.parametrize(
    ("recipients", "plan"),
    [
        ([R_NONE], Plan.NEVER),
        ([PREFERRED], Plan.EAGER),
        ([R_REQUIRED], Plan.EAGER),
        ([R_NONE, R_NONE], Plan.NEVER),
        ([R_NONE, R_REQUIRED], Plan.EAGER),
        ([PREFERRED, R_NONE], Plan.EAGER),
    ],
)
def test_the_plan_follows_the_strongest_rule(recipients: list[RecipientEncryption], plan: Plan) -> None:
    assert decide_plan([rule(recipient=each) for each in recipients]) is plan


@pytest.mark.parametrize(
    ("rules", "on_tls", "in_clear"),
    [
        ([rule(NONE)], False, False),
        ([rule(NONE, offer=Offer.ALWAYS)], False, False),
        ([rule(OPTIONAL)], True, False),
        ([rule(OPTIONAL, R_REQUIRED)], True, False),
        ([rule(OPTIONAL, offer=Offer.ALWAYS)], True, True),
        ([rule(OPTIONAL, R_NONE)], True, True),
        ([rule(NONE, R_NONE)], False, False),
        ([rule(REQUIRED)], True, True),
        ([rule(REQUIRED, R_NONE)], True, True),
        ([rule(NONE, R_NONE), rule(OPTIONAL, R_NONE)], True, True),  # all say none, one of them optional
        ([rule(NONE, PREFERRED), rule(OPTIONAL, R_NONE)], True, False),  # not all say none
        ([rule(NONE), rule(OPTIONAL)], True, False),
        ([rule(OPTIONAL), rule(REQUIRED)], True, True),  # one such rule lifts honesty for all
        ([rule(OPTIONAL), rule(OPTIONAL, offer=Offer.ALWAYS)], True, True),
    ],
)
def test_the_offer(rules: list[EncryptionRule], on_tls: bool, in_clear: bool) -> None:  # noqa: FBT001 - columns of the table
    assert decide_offer(rules, upstream_encrypted=True) is on_tls
    assert decide_offer(rules, upstream_encrypted=False) is in_clear


@given(rules=RULES)
def test_upstream_on_tls_never_takes_an_offer_away(rules: list[EncryptionRule]) -> None:
    assert decide_offer(rules, upstream_encrypted=True) >= decide_offer(rules, upstream_encrypted=False)


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ([rule(REQUIRED)], True),
        ([rule(OPTIONAL)], False),
        ([rule(NONE)], False),
        ([rule(REQUIRED), rule(REQUIRED)], True),
        ([rule(REQUIRED), rule(OPTIONAL)], False),  # another recipient may still be had: RCPT decides
    ],
)
def test_a_sender_in_clear_is_refused_at_mail_if_every_rule_requires_tls(
    rules: list[EncryptionRule],
    refused: bool,  # noqa: FBT001 - a column of the table
) -> None:
    in_clear = LegFacts(client_encrypted=False, upstream=Reached.ENCRYPTED)
    expected = Refuse(catalogue.MUST_STARTTLS, "sender-encryption-required") if refused else ALLOW
    assert decide_sender(rules, in_clear) == expected
    assert decide_sender(rules, BOTH_ON_TLS) == ALLOW


REFUSALS = {
    Reached.CLEAR: ("not-offered", catalogue.TLS_NOT_OFFERED_REJECT, catalogue.TLS_NOT_OFFERED_TEMPFAIL),
    Reached.NOT_OFFERED: ("not-offered", catalogue.TLS_NOT_OFFERED_REJECT, catalogue.TLS_NOT_OFFERED_TEMPFAIL),
    Reached.HANDSHAKE_FAILED: ("handshake", catalogue.TLS_REFUSED_REJECT, catalogue.TLS_REFUSED_TEMPFAIL),
    Reached.CERTIFICATE_REFUSED: ("certificate", catalogue.TLS_REFUSED_REJECT, catalogue.TLS_REFUSED_TEMPFAIL),
}


def on_failure(way: str, failure: Failure) -> OnFailure:
    """All ways have the other class, so that a mixed-up one shows."""
    other = Failure.TEMPFAIL if failure is Failure.REJECT else Failure.REJECT
    ways = dict.fromkeys(("not_offered", "handshake", "certificate"), other)
    return OnFailure(**{**ways, way.replace("-", "_"): failure})


@pytest.mark.parametrize("reached", REFUSALS)
def test_required_means_tls(reached: Reached) -> None:
    way, reject, tempfail = REFUSALS[reached]
    legs = LegFacts(client_encrypted=True, upstream=reached)
    because = f"upstream-tls-{reached.value}"
    required = rule(recipient=R_REQUIRED)
    assert decide_recipient(required, legs, on_failure(way, Failure.REJECT)) == Refuse(reject, because)
    assert decide_recipient(required, legs, on_failure(way, Failure.TEMPFAIL)) == Refuse(tempfail, because)
    assert decide_recipient(required, BOTH_ON_TLS, ON_FAILURE) == ALLOW


@pytest.mark.parametrize("recipient", [R_NONE, PREFERRED])
def test_less_than_required_goes_out_in_clear_but_not_past_a_refused_certificate(
    recipient: RecipientEncryption,
) -> None:
    for reached in Reached:
        legs = LegFacts(client_encrypted=True, upstream=reached)
        refused = isinstance(decide_recipient(rule(recipient=recipient), legs, ON_FAILURE), Refuse)
        assert refused is (reached is Reached.CERTIFICATE_REFUSED)


def test_tls_satisfies_a_rule_that_asks_for_none() -> None:
    assert decide_recipient(rule(NONE, R_NONE), BOTH_ON_TLS, ON_FAILURE) == ALLOW


def test_a_sender_in_clear_is_told_so_before_upstream_is_judged() -> None:
    legs = LegFacts(client_encrypted=False, upstream=Reached.NOT_OFFERED)
    decision = decide_recipient(rule(REQUIRED, R_REQUIRED), legs, ON_FAILURE)
    assert decision == Refuse(catalogue.MUST_STARTTLS, "sender-encryption-required")


@pytest.mark.parametrize(("first", "second"), [*product([PREFERRED, R_REQUIRED], repeat=2)])
def test_mail_is_refused_if_no_rule_accepts_what_upstream_reached(
    first: RecipientEncryption, second: RecipientEncryption
) -> None:
    legs = LegFacts(client_encrypted=True, upstream=Reached.NOT_OFFERED)
    decision = decide_mail([rule(recipient=first), rule(recipient=second)], legs, ON_FAILURE)
    assert isinstance(decision, Refuse) is (first is second is R_REQUIRED)


@given(rules=RULES, legs=LEGS)
def test_mail_passes_where_some_recipient_can(rules: list[EncryptionRule], legs: LegFacts) -> None:
    some = any(decide_recipient(each, legs, ON_FAILURE) == ALLOW for each in rules)
    assert (decide_mail(rules, legs, ON_FAILURE) == ALLOW) is some


@given(rules=RULES)
def test_with_both_legs_on_tls_nothing_is_refused(rules: list[EncryptionRule]) -> None:
    assert decide_mail(rules, BOTH_ON_TLS, ON_FAILURE) == ALLOW
