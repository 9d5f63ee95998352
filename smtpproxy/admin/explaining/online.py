"""What becomes of a message now: what recipients' domains publish, what upstream shows, and the reply to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from smtpproxy.admin.explaining.cases import CLIENT_TLS
from smtpproxy.admin.explaining.verdicts import Judge, Verdict
from smtpproxy.admin.online.findings import Findings, Stage, Target
from smtpproxy.admin.online.publication import Publication, judge_by
from smtpproxy.admin.online.reach import expects_header
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.encryption import Plan
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.names import looked_up_domain
from smtpproxy.smtp import catalogue
from smtpproxy.tls.facts import Chain, TlsFacts
from smtpproxy.tls.names import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smtpproxy.admin.explaining.question import Question
    from smtpproxy.policy.knowledge import Knowledge
    from smtpproxy.policy.selection import Address
    from smtpproxy.session.terms import Terms
    from smtpproxy.smtp.addresses import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientNow:
    """One recipient.

    Args:
        recipient: RCPT's path.
        published: what its domain publishes, and what that says of the upstream; ``None`` for an address literal.
        verdicts: what the sender is told, by whether the client leg is on TLS.
    """

    recipient: Path
    published: Publication | None
    verdicts: tuple[tuple[bool, Verdict], ...]


@dataclass(frozen=True, slots=True)
class Now:
    """What was found.

    Args:
        found: at the upstream.
        recipients: each of them.
    """

    found: Findings
    recipients: tuple[RecipientNow, ...]


def domains_of(recipients: Iterable[Path]) -> list[str]:
    """Return the domains to look up, each once."""
    return list(dict.fromkeys(filter(None, map(looked_up_domain, recipients))))


def target_of(terms: Terms, upstream: Endpoint, known: Iterable[Knowledge]) -> Target:
    """Return the upstream to dial, by the SNI that the gateway would send."""
    server_name = terms.upstream_name or _known_name(upstream.host, known)
    return Target(upstream.host, upstream.port, terms.implicit, server_name, expects_header(terms.policy))


def look(question: Question, terms: Terms, found: Findings, known: Mapping[str, Knowledge]) -> Now:
    """Judge every recipient by what was found."""
    address = ip_address(found.address) if found.address else None
    judge = Judge(terms, question.source, address)
    for knowledge in known.values():
        judge.learn(knowledge)

    def recipient_now(recipient: Path) -> RecipientNow:
        knowledge = known.get(looked_up_domain(recipient) or "")
        return RecipientNow(
            recipient=recipient,
            published=judge_by(knowledge, found, time.time()) if knowledge else None,
            verdicts=tuple(
                (client_tls, _verdict(question, recipient, judge, terms, found, client_tls=client_tls))
                for client_tls in question.client_legs
            ),
        )

    return Now(found, tuple(map(recipient_now, question.recipients)))


def _verdict(
    question: Question, recipient: Path, judge: Judge, terms: Terms, found: Findings, *, client_tls: bool
) -> Verdict:
    if found.failure is not None and found.failure.stage in _NO_SESSION:
        return Verdict("session", catalogue.UPSTREAM_UNREACHABLE, f"upstream-{found.failure.token}")
    if terms.introduces and found.takes_xclient is False:
        return Verdict("session", catalogue.CLIENT_NOT_TOLD, "xclient-not-offered")
    legs = legs_found(found, terms, judge.rulebook.plan, client_tls=client_tls)
    return judge.verdict(judge.ask(question.sender, recipient), legs)


_NO_SESSION = frozenset({Stage.LOOK_UP, Stage.CONNECT, Stage.GREETING})


def legs_found(found: Findings, terms: Terms, plan: Plan, *, client_tls: bool) -> LegFacts:
    """Return what a session's legs would come to at the server that was found."""
    begins = terms.implicit or plan is Plan.EAGER or (plan is Plan.MIRROR and client_tls)
    reached = _reached(found, terms) if begins else Reached.CLEAR
    return LegFacts(
        client=CLIENT_TLS if client_tls else None,
        reached=reached,
        upstream=found.facts if reached is Reached.ENCRYPTED else None,
        address=ip_address(found.address) if found.address else None,
        learns_name=terms.upstream_name is None,
    )


def _reached(found: Findings, terms: Terms) -> Reached:
    if found.facts is None:
        offered = found.clear is not None and found.clear.offers("STARTTLS")
        return Reached.HANDSHAKE_FAILED if offered or terms.implicit else Reached.NOT_OFFERED
    return Reached.CERTIFICATE_REFUSED if terms.enforces and _is_refused(found.facts, terms) else Reached.ENCRYPTED


def _is_refused(facts: TlsFacts, terms: Terms) -> bool:
    if facts.peer is None or facts.chain is not Chain.VALID:
        return True
    return terms.upstream_name is not None and not matches(terms.upstream_name, facts.peer)


def _known_name(host: str, known: Iterable[Knowledge]) -> str | None:
    address = _address(host)
    if address is None:
        return None
    named = (knowledge.host_at(address) for knowledge in known)
    return next((each.name for each in named if each), None)


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
