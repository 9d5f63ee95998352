"""Decide what is thought of a valid chain once it has been examined further."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from smtpproxy.policy.model import Ocsp, SecondOpinion
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts, TlsReason

_GOOD_ENOUGH: Final = frozenset({Revocation.GOOD, Revocation.NOT_APPLICABLE})


def judge_revocation(facts: TlsFacts, revocation: Revocation, wanted: Ocsp) -> TlsFacts:
    """Return the facts with what is known of revocation.

    Args:
        facts: of a chain that is valid, by revocation lists too where there are some.
        revocation: what responders say.
        wanted: under ``strict`` the chain is valid no longer unless that is good.
    """
    if revocation is Revocation.NOT_APPLICABLE and facts.revocation is not Revocation.UNCHECKED:
        return facts  # a list has told
    facts = replace(facts, revocation=revocation)
    if revocation is Revocation.REVOKED:
        return replace(facts, chain=Chain.INVALID, reason=TlsReason.CERTIFICATE_REVOKED)
    if wanted is Ocsp.STRICT and revocation not in _GOOD_ENOUGH:
        return replace(facts, chain=Chain.INVALID, reason=TlsReason.VALIDATION_FAILURE)
    return facts


def judge_opinion(facts: TlsFacts, token: str, wanted: SecondOpinion) -> TlsFacts:
    """Return the facts with a second opinion on the chain.

    Args:
        facts: of a chain that is valid.
        token: what another verifier has against it, empty for nothing.
        wanted: what that leads to.
    """
    if not token:
        return facts if facts.second_opinion is None else replace(facts, second_opinion=None)
    if wanted is SecondOpinion.ENFORCE:
        return replace(facts, second_opinion=token, chain=Chain.INVALID, reason=TlsReason.VALIDATION_FAILURE)
    return replace(facts, second_opinion=token)
