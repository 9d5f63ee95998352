"""The plan, the honest offer and the judgement of MAIL, for one rule and for several."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.policy.decision import ALLOW, Refuse
from smtpproxy.policy.encryption import (
    Plan,
    decide_mail,
    decide_offer,
    decide_plan,
    decide_sender,
    tolerates_clear,
)
from smtpproxy.policy.judging import judge_sender, judge_upstream
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.requirement import Requirement
from smtpproxy.policy.rules import (
    EncryptionRule,
    Failure,
    Offer,
    OnFailure,
    RecipientEncryption,
    SenderEncryption,
)
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import NULL_PATH
from tests.policy.legs import legs, legs_in_clear, mail, tls

NONE, OPTIONAL, REQUIRED = SenderEncryption.NONE, SenderEncryption.OPTIONAL, SenderEncryption.REQUIRED
VERIFIED = SenderEncryption.VERIFIED
R_NONE, ALLOWED, PREFERRED = RecipientEncryption.NONE, RecipientEncryption.ALLOWED, RecipientEncryption.PREFERRED
R_REQUIRED, R_VERIFIED = RecipientEncryption.REQUIRED, RecipientEncryption.VERIFIED
DANE, MTA_STS = RecipientEncryption.DANE, RecipientEncryption.MTA_STS
ON_FAILURE = OnFailure()
SENDER = mail("a@client.test")
BOTH_ON_TLS = legs(upstream=tls("mx.test"))


def rule(
    sender: SenderEncryption = OPTIONAL, recipient: RecipientEncryption = PREFERRED, offer: Offer = Offer.HONEST
) -> EncryptionRule:
    return EncryptionRule(f"{sender.value} {recipient.value}", sender, recipient, offer)


RULES = st.lists(
    st.builds(rule, st.sampled_from(SenderEncryption), st.sampled_from(RecipientEncryption), st.sampled_from(Offer)),
    min_size=1,
    max_size=4,
)
LEGS = st.builds(
    lambda client, reached: (legs if client else legs_in_clear)(reached), st.booleans(), st.sampled_from(Reached)
)


@pytest.mark.parametrize(
    ("recipients", "plan"),
    [
        ([R_NONE], Plan.NEVER),
        ([ALLOWED], Plan.MIRROR),
        ([PREFERRED], Plan.EAGER),
        ([R_REQUIRED], Plan.EAGER),
        ([R_VERIFIED], Plan.EAGER),
        ([DANE], Plan.EAGER),
        ([MTA_STS], Plan.EAGER),
        ([R_NONE, R_NONE], Plan.NEVER),
        ([R_NONE, ALLOWED], Plan.MIRROR),
        ([R_NONE, R_REQUIRED], Plan.EAGER),
        ([ALLOWED, PREFERRED], Plan.EAGER),
        ([PREFERRED, R_NONE], Plan.EAGER),
    ],
)
def test_the_plan_follows_the_strongest_rule(recipients: list[RecipientEncryption], plan: Plan) -> None:
    assert decide_plan([rule(recipient=each) for each in recipients]) is plan


def test_what_can_raise_a_requirement_makes_the_plan_eager() -> None:
    assert decide_plan([rule(recipient=R_NONE)], can_be_raised=True) is Plan.EAGER


@pytest.mark.parametrize(
    ("rules", "ready", "not_ready"),
    [
        ([rule(NONE)], False, False),
        ([rule(NONE, offer=Offer.ALWAYS)], False, False),
        ([rule(OPTIONAL)], True, False),
        ([rule(OPTIONAL, ALLOWED)], True, False),
        ([rule(OPTIONAL, R_REQUIRED)], True, False),
        ([rule(OPTIONAL, offer=Offer.ALWAYS)], True, True),
        ([rule(OPTIONAL, R_NONE)], True, True),
        ([rule(NONE, R_NONE)], False, False),
        ([rule(REQUIRED)], True, True),
        ([rule(VERIFIED)], True, True),
        ([rule(REQUIRED, R_NONE)], True, True),
        ([rule(NONE, R_NONE), rule(OPTIONAL, R_NONE)], True, True),  # all say none, one of them optional
        ([rule(NONE, PREFERRED), rule(OPTIONAL, R_NONE)], True, False),  # not all say none
        ([rule(OPTIONAL, ALLOWED), rule(OPTIONAL, R_NONE)], True, False),  # nor here
        ([rule(NONE), rule(OPTIONAL)], True, False),
        ([rule(OPTIONAL), rule(REQUIRED)], True, True),  # one such rule lifts honesty for all
        ([rule(OPTIONAL), rule(OPTIONAL, offer=Offer.ALWAYS)], True, True),
    ],
)
def test_the_offer(rules: list[EncryptionRule], ready: bool, not_ready: bool) -> None:  # noqa: FBT001 - columns
    assert decide_offer(rules, upstream_ready=True) is ready
    assert decide_offer(rules, upstream_ready=False) is not_ready


@given(rules=RULES)
def test_an_upstream_that_is_ready_never_takes_an_offer_away(rules: list[EncryptionRule]) -> None:
    assert decide_offer(rules, upstream_ready=True) >= decide_offer(rules, upstream_ready=False)


@pytest.mark.parametrize("recipient", RecipientEncryption)
def test_clear_text_is_tolerated_below_required_only(recipient: RecipientEncryption) -> None:
    assert tolerates_clear([rule(), rule(recipient=recipient)]) is (recipient in {R_NONE, ALLOWED, PREFERRED})


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ([rule(REQUIRED)], True),
        ([rule(VERIFIED)], True),
        ([rule(OPTIONAL)], False),
        ([rule(NONE)], False),
        ([rule(REQUIRED), rule(REQUIRED)], True),
        ([rule(VERIFIED), rule(REQUIRED)], True),
        ([rule(REQUIRED), rule(OPTIONAL)], False),  # another recipient may still be had: RCPT decides
    ],
)
def test_a_sender_in_clear_is_refused_at_mail_if_every_rule_requires_tls(
    rules: list[EncryptionRule],
    refused: bool,  # noqa: FBT001 - a column of the table
) -> None:
    expected = Refuse(catalogue.MUST_STARTTLS, "sender-encryption-required") if refused else ALLOW
    assert decide_sender(rules, legs_in_clear(), SENDER) == expected


def test_any_tls_does_where_it_is_required() -> None:
    assert decide_sender([rule(REQUIRED)], BOTH_ON_TLS, SENDER) == ALLOW


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
@pytest.mark.parametrize("level", [R_REQUIRED, R_VERIFIED, DANE, MTA_STS])
def test_required_and_all_above_it_mean_tls(reached: Reached, level: RecipientEncryption) -> None:
    way, reject, tempfail = REFUSALS[reached]
    because = f"upstream-tls-{reached.value}"
    for failure, reply in ((Failure.REJECT, reject), (Failure.TEMPFAIL, tempfail)):
        requirement = Requirement.of(rule(recipient=level), on_failure(way, failure))
        assert judge_upstream(requirement, legs(reached)) == Refuse(reply, because)


@pytest.mark.parametrize("reached", REFUSALS)
def test_a_rule_of_its_own_says_how_its_failures_are_told(reached: Reached) -> None:
    way, reject, _ = REFUSALS[reached]
    own = EncryptionRule("own", recipient=R_REQUIRED, on_failure=on_failure(way, Failure.REJECT))
    requirement = Requirement.of(own, on_failure(way, Failure.TEMPFAIL))
    assert judge_upstream(requirement, legs(reached)) == Refuse(reject, f"upstream-tls-{reached.value}")


@pytest.mark.parametrize("recipient", [R_NONE, ALLOWED, PREFERRED])
@pytest.mark.parametrize("reached", Reached)
def test_less_than_required_goes_out_in_clear_but_not_past_a_refused_certificate(
    recipient: RecipientEncryption, reached: Reached
) -> None:
    decision = judge_upstream(Requirement.of(rule(recipient=recipient), ON_FAILURE), legs(reached))
    assert isinstance(decision, Refuse) is (reached is Reached.CERTIFICATE_REFUSED)


def test_tls_satisfies_a_rule_that_asks_for_none() -> None:
    assert judge_upstream(Requirement.of(rule(NONE, R_NONE), ON_FAILURE), BOTH_ON_TLS) == ALLOW


def test_a_sender_in_clear_is_told_so_before_upstream_is_judged() -> None:
    decision = decide_mail([rule(REQUIRED, R_REQUIRED)], legs_in_clear(Reached.NOT_OFFERED), SENDER, ON_FAILURE)
    assert decision == Refuse(catalogue.MUST_STARTTLS, "sender-encryption-required")


@pytest.mark.parametrize(("first", "second"), [*product([PREFERRED, R_REQUIRED], repeat=2)])
def test_mail_is_refused_if_no_rule_accepts_what_upstream_reached(
    first: RecipientEncryption, second: RecipientEncryption
) -> None:
    rules = [rule(recipient=first), rule(recipient=second)]
    decision = decide_mail(rules, legs(Reached.NOT_OFFERED), SENDER, ON_FAILURE)
    assert isinstance(decision, Refuse) is (first is second is R_REQUIRED)


@given(rules=RULES, legs=LEGS)
def test_mail_passes_where_some_rule_takes_both_legs(rules: list[EncryptionRule], legs: LegFacts) -> None:
    some = any(
        judge_sender(each.sender, each.sender_match, legs, NULL_PATH) == ALLOW
        and judge_upstream(Requirement.of(each, ON_FAILURE), legs) == ALLOW
        for each in rules
    )
    assert (decide_mail(rules, legs, NULL_PATH, ON_FAILURE) == ALLOW) is some


@given(
    rules=st.lists(
        st.builds(rule, st.sampled_from([NONE, OPTIONAL, REQUIRED]), st.sampled_from(RecipientEncryption)), min_size=1
    )
)
def test_with_both_legs_on_tls_mail_is_heard(rules: list[EncryptionRule]) -> None:
    assert decide_mail(rules, BOTH_ON_TLS, SENDER, ON_FAILURE) == ALLOW
