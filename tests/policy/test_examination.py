from __future__ import annotations

from dataclasses import replace

import pytest

from smtpproxy.policy.examination import judge_opinion, judge_revocation
from smtpproxy.policy.model import Ocsp, SecondOpinion
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts, TlsReason, TlsVersion

FACTS = TlsFacts(TlsVersion.TLS1_3, "suite", chain=Chain.VALID)


@pytest.mark.parametrize("wanted", SecondOpinion)
def test_agreement_changes_nothing(wanted: SecondOpinion) -> None:
    assert judge_opinion(FACTS, "", wanted) is FACTS


def test_where_no_responder_is_named_a_list_has_told() -> None:
    listed = replace(FACTS, revocation=Revocation.GOOD)
    assert judge_revocation(listed, Revocation.NOT_APPLICABLE, Ocsp.STRICT) == listed


def test_what_a_verifier_no_longer_has_against_a_chain_is_forgotten() -> None:
    assert judge_opinion(replace(FACTS, second_opinion="timed-out"), "", SecondOpinion.LOG) == FACTS


def test_a_disagreement_is_recorded_and_counts_where_it_is_enforced() -> None:
    logged = judge_opinion(FACTS, "no-path", SecondOpinion.LOG)
    assert (logged.chain, logged.reason, logged.second_opinion) == (Chain.VALID, None, "no-path")
    enforced = judge_opinion(FACTS, "no-path", SecondOpinion.ENFORCE)
    assert (enforced.chain, enforced.reason) == (Chain.INVALID, TlsReason.VALIDATION_FAILURE)
    assert enforced.second_opinion == "no-path"


@pytest.mark.parametrize(
    ("revocation", "lenient", "strict"),
    [
        (Revocation.GOOD, None, None),
        (Revocation.NOT_APPLICABLE, None, None),
        (Revocation.REVOKED, TlsReason.CERTIFICATE_REVOKED, TlsReason.CERTIFICATE_REVOKED),
        (Revocation.UNKNOWN, None, TlsReason.VALIDATION_FAILURE),
        (Revocation.NOT_STAPLED, None, TlsReason.VALIDATION_FAILURE),
        (Revocation.UNCHECKED, None, TlsReason.VALIDATION_FAILURE),
    ],
)
def test_what_revocation_leads_to(revocation: Revocation, lenient: TlsReason | None, strict: TlsReason | None) -> None:
    for wanted, reason in ((Ocsp.LENIENT, lenient), (Ocsp.STRICT, strict)):
        judged = judge_revocation(FACTS, revocation, wanted)
        assert (judged.revocation, judged.reason) == (revocation, reason)
        assert judged.chain is (Chain.VALID if reason is None else Chain.INVALID)
