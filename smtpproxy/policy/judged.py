"""What all judgements of a recipient share: what is judged, and the refusals that may come of it.

Source: RFC 3207 s4.1 (5.7.4 and 4.7.x for what TLS lacks); RFC 9325 s3.7 (SNI is to be sent, once the name is known).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.knowledge import Knowledge
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.model import PeerPolicies
from smtpproxy.policy.rules import Failure, OnFailure
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import Path

LOOK_UP_FAILED: Final = Refuse(catalogue.LOOK_UP_FAILED, "look-up-failed")
NAME_LEARNT: Final = Refuse(catalogue.TLS_REFUSED_TEMPFAIL, "upstream-name-learnt")
"""Deferred whatever the rule says: the next connection asks upstream by the name that is known now."""

_NOT_OFFERED: Final = {
    Failure.REJECT: catalogue.TLS_NOT_OFFERED_REJECT,
    Failure.TEMPFAIL: catalogue.TLS_NOT_OFFERED_TEMPFAIL,
}
_TLS_REFUSED: Final = {
    Failure.REJECT: catalogue.TLS_REFUSED_REJECT,
    Failure.TEMPFAIL: catalogue.TLS_REFUSED_TEMPFAIL,
}


@dataclass(frozen=True, slots=True)
class Destination:
    """A recipient, and what is known of where the mail goes.

    Args:
        recipient: RCPT's path.
        knowledge: of its domain, ``None`` where it was not looked up.
        honoured: what is honoured because the destination publishes it.
        now_s: the time of day, in seconds since the epoch.
        next_name: what the next connection would ask upstream for by SNI; ``None`` if nobody can tell.
    """

    recipient: Path
    knowledge: Knowledge | None
    honoured: PeerPolicies
    now_s: float
    next_name: str | None = None


def wants_name(legs: LegFacts, destination: Destination) -> bool:
    """Return whether upstream may show another certificate when it is asked by the name that is known now.

    An address may be known by another name, and stay so: then a recipient that waits would wait for ever.
    """
    knowledge = destination.knowledge
    if knowledge is None or legs.address is None or legs.upstream is None or not legs.learns_name:
        return False
    host = knowledge.host_at(legs.address)
    if host is None or legs.upstream.server_name == host.name:
        return False
    return destination.next_name in (None, host.name)


def may_want_name(legs: LegFacts) -> bool:
    """Return whether a recipient may bring the name that upstream was not asked by."""
    return legs.learns_name and legs.upstream is not None and legs.upstream.server_name is None


def certificate_refusal(because: str, on_failure: OnFailure) -> Refuse:
    """Return the refusal of mail for an upstream whose certificate does not do."""
    return Refuse(_TLS_REFUSED[on_failure.certificate], because)


def tls_refusal(reached: Reached, on_failure: OnFailure) -> Refuse:
    """Return the refusal of mail that must not go on a leg which reached no more than this."""
    if reached is Reached.LEFT_TO_CLIENT:
        return Refuse(catalogue.MUST_STARTTLS, "starttls-is-the-clients")
    failure, replies = {
        Reached.HANDSHAKE_FAILED: (on_failure.handshake, _TLS_REFUSED),
        Reached.CERTIFICATE_REFUSED: (on_failure.certificate, _TLS_REFUSED),
    }.get(reached, (on_failure.not_offered, _NOT_OFFERED))
    return Refuse(replies[failure], f"upstream-tls-{reached.value}")
