"""Judge what an upstream server showed by the TLSA records that its host publishes.

Source: RFC 7672 s2.2 (whose records count), s3.1 (usages), s3.2 (names); RFC 7671 s5.1, s5.2, s9.
"""

from __future__ import annotations

from dataclasses import dataclass

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.anchors import anchor_problem
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, Tlsa
from smtpproxy.policy.selection import Address
from smtpproxy.policy.tlsa import DANE_EE, DANE_TA, fits, usable
from smtpproxy.tls.facts import PeerCertificate, TlsFacts, TlsReason


class DaneState(IdentityEnum):
    """What came of it."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    UNUSABLE = "unusable"  # records stand there, none that SMTP can use: TLS is due, whatever the certificate
    ABSENT = "absent"  # nothing is published
    INSECURE = "insecure"  # DNSSEC does not vouch for the way there
    FAILED = "failed"  # nobody knows: mail for which it matters waits
    NO_HOST = "no-host"  # the address is none of the domain's mail exchangers


@dataclass(frozen=True, slots=True)
class DaneVerdict:
    """The verdict.

    Args:
        state: what came of it.
        host: the mail exchanger that was judged by, ``None`` if none is known at the address.
        reason: why nothing matched, ``None`` otherwise.
    """

    state: DaneState
    host: str | None = None
    reason: TlsReason | None = None


def judge_dane(knowledge: Knowledge, address: Address, facts: TlsFacts | None, now_s: float) -> DaneVerdict:
    """Return whether a server is the one that a domain's mail exchangers promise.

    Args:
        knowledge: of the recipient domain, with its TLSA records.
        address: the one really dialled.
        facts: what the handshake with it established; ``None`` while that leg is in clear, which matches nothing.
        now_s: seconds since the epoch.
    """
    if knowledge.answer is Answer.FAILED:
        return DaneVerdict(DaneState.FAILED)
    host = knowledge.host_at(address)
    if not knowledge.secure:
        return DaneVerdict(DaneState.INSECURE, host.name if host else None)
    if host is None:
        return DaneVerdict(DaneState.FAILED if _is_partial(knowledge) else DaneState.NO_HOST)
    state, records = _published(host)
    if state is not None:
        return DaneVerdict(state, host.name)
    reason = _problem(records, facts, _references(knowledge, host), now_s)
    return DaneVerdict(DaneState.MISMATCHED if reason else DaneState.MATCHED, host.name, reason)


def _is_partial(knowledge: Knowledge) -> bool:
    """Return whether the address may be that of a host of which not everything could be had."""
    return any(host.tlsa.answer is Answer.FAILED for host in knowledge.hosts)


def _published(host: MailHost) -> tuple[DaneState | None, tuple[Tlsa, ...]]:
    """Return the records to judge by, or the state that there is without any."""
    if host.tlsa.answer is Answer.FAILED:
        return DaneState.FAILED, ()
    if not host.secure:
        return DaneState.INSECURE, ()
    if host.tlsa.answer is Answer.ABSENT:
        return DaneState.ABSENT, ()
    if not host.tlsa.secure:
        return DaneState.INSECURE, ()
    records = usable(host.tlsa.records)
    return (None if records else DaneState.UNUSABLE), records


def _references(knowledge: Knowledge, host: MailHost) -> tuple[str, ...]:
    """Return the names that count for DANE-TA, all of them vouched for by DNSSEC (RFC 7672 s3.2.2)."""
    names = (host.tlsa_domain, host.name, knowledge.domain, knowledge.alias_of)
    return tuple(dict.fromkeys(name for name in names if name))


def _problem(
    records: tuple[Tlsa, ...], facts: TlsFacts | None, references: tuple[str, ...], now_s: float
) -> TlsReason | None:
    if facts is None:
        return TlsReason.STARTTLS_NOT_SUPPORTED
    if facts.peer is None:
        return TlsReason.VALIDATION_FAILURE
    if _is_named(facts.peer, records):
        return None
    anchors = [record for record in records if record.usage == DANE_TA]
    return anchor_problem(anchors, facts.peer, references, now_s) if anchors else TlsReason.CERTIFICATE_NOT_TRUSTED


def _is_named(peer: PeerCertificate, records: tuple[Tlsa, ...]) -> bool:
    """Return whether a record is of this very certificate or key: then neither names nor dates count (s3.1.1)."""
    return any(record.usage == DANE_EE and fits(record, peer.der) for record in records)
