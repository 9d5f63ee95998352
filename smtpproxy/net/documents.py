"""Records as JSON documents; `docs/records.md` tells every field."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, TypeAlias

from smtpproxy.audit import (
    Crash,
    Incident,
    InterceptionSuspected,
    Judgement,
    Origin,
    RecipientResult,
    Record,
    SessionRecord,
    TlsRecord,
    TransactionRecord,
)
from smtpproxy.net.escapes import escaped
from smtpproxy.net.lines import verified_how, version_name
from smtpproxy.net.tunnels import refusal_document, tunnel_document
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import TlsFacts, TlsFailure

Document: TypeAlias = dict[str, Any]

SCHEMA = 1
"""Raised when a field changes its meaning or goes; a new field does not raise it."""

MAX_KEPT_FACTS = 1024
"""Facts of handshakes whose JSON is kept, 1 to 3 KiB each with the certificate that they refer to."""

MAX_KEPT_OCTETS = 8 * 1024
"""Of a certificate; OpenSSL takes 100 KiB, which is not worth keeping."""

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def document_of(record: Record, time: str) -> str | None:
    """Return a record as one line of JSON, without a line end; ``None`` for what stands in other documents too.

    Args:
        record: any record.
        time: when it was made, RFC 3339 in UTC.
    """
    if isinstance(record, TlsRecord) and isinstance(record.outcome, TlsFacts):
        return None
    document = _encode(fields_of(record, time))
    if isinstance(record, TransactionRecord | SessionRecord):
        client, upstream = _tls(record.client_tls, "client"), _tls(record.upstream_tls, "upstream")
        legs = f'"client_tls":{client},"upstream_tls":{upstream}'
        return f"{document[:-1]},{legs}}}"
    return document


def fields_of(record: Record, time: str) -> Document:
    """Return a record's fields, without those of the legs' TLS.

    Args:
        record: any record.
        time: when it was made, RFC 3339 in UTC.
    """
    kind, body = _body(record)
    return {"schema": SCHEMA, "time": time, "record": kind, **origin_fields(record.origin), **body}


def _body(record: Record) -> tuple[str, Document]:
    match record:
        case TransactionRecord():
            return "transaction", _transaction(record)
        case SessionRecord():
            return "session", _session(record)
        case TlsRecord(_, leg, outcome):
            return "tls-failure", _tls_failure(leg, outcome)
        case Incident(_, leg, token):
            return "incident", {"leg": leg, "incident": token}
        case InterceptionSuspected():
            return "interception-suspected", _suspected(record)
        case Crash(_, reference, error):
            return "crash", {"reference": reference, "error": error}


def origin_fields(origin: Origin) -> Document:
    """Return who is connected to whom by which policy."""
    return {
        "session": origin.session,
        "policy": origin.policy,
        "proxy_action": origin.proxy_action,
        "direction": origin.direction,
        "port": origin.port,
        "client": origin.client,
        "destination": origin.destination,
        "upstream": origin.upstream,
        "balancer": origin.balancer,
    }


def _transaction(record: TransactionRecord) -> Document:
    return {
        "transaction": record.number,
        "helo": escaped(record.helo),
        "from": escaped(record.sender),
        "recipients": [_recipient(each) for each in record.recipients],
        "rules": list(record.rules),
        **_traced(record.trace),
        "message_rules": list(record.message_rules),
        "asked": list(record.asked),
        "findings": list(record.findings),
        "upstream_address": str(record.upstream_address) if record.upstream_address else None,
        "upstream_tls_failure": _failure(record.upstream_tls_failure),
        "downgraded": record.downgraded,
        "size": record.size_octets,
        "reply": _reply(record.reply),
        "because": record.because,
        "inspected": "yes" if record.inspected else f"no, because {record.not_inspected_because}",
        "normalized": record.normalized,
        "ambiguous_delivery": record.ambiguous_delivery,
        "seconds": round(record.duration_s, 6),
    }


def _recipient(result: RecipientResult) -> Document:
    return {
        "to": escaped(result.address),
        "status": result.status.value,
        "reply": _reply(result.reply),
        "because": result.because,
        **_judgement(result.judgement),
    }


def _judgement(judgement: Judgement) -> Document:
    found: Document = {"rule": judgement.rule}
    if judgement.monitored:
        found["monitored"] = [{"rule": rule, "would_refuse": because} for rule, because in judgement.monitored]
    return {**found, **_traced(judgement.trace)}


def _traced(trace: tuple[tuple[str, str], ...]) -> Document:
    return {"trace": [{"rule": rule, "found": found} for rule, found in trace]} if trace else {}


def _session(record: SessionRecord) -> Document:
    return {
        "ended": record.ended,
        "helo": escaped(record.helo),
        "upstream_tls_failure": _failure(record.upstream_tls_failure),
        "downgraded": record.downgraded,
        "removed": list(record.removed),
        "transactions": record.transactions,
        "faults": dict(record.faults),
        "inspected": "yes" if record.tunnel is None else f"no, because {record.tunnel.because}",
        "tunnel": None if record.tunnel is None else tunnel_document(record.tunnel),
        "refusal": None if record.refusal is None else refusal_document(record.refusal),
        "octets": {
            "client_in": record.client_octets_in,
            "client_out": record.client_octets_out,
            "upstream_in": record.upstream_octets_in,
            "upstream_out": record.upstream_octets_out,
        },
        "seconds": round(record.duration_s, 6),
    }


def _tls_failure(leg: str, outcome: TlsFacts | TlsFailure) -> Document:
    failure = _failure(outcome) if isinstance(outcome, TlsFailure) else None
    return {"leg": leg, **(failure or {})}


def _suspected(record: InterceptionSuspected) -> Document:
    return {
        "evidence": record.evidence.value,
        "alert": record.alert or None,
        "sessions": record.sessions,
        "upstream_valid": record.upstream_valid,
    }


def _failure(failure: TlsFailure | None) -> Document | None:
    return None if failure is None else {"reason": failure.reason.value, "detail": failure.detail}


def _tls(facts: TlsFacts | None, leg: str) -> str:
    """The same few facts come again and again, and stand in two documents of each session."""
    if facts is None:
        return "null"
    if facts.peer is None or len(facts.peer.der) <= MAX_KEPT_OCTETS:
        return _kept_tls(facts, leg)
    return _tls_document(facts, leg)


def _tls_document(facts: TlsFacts, leg: str) -> str:
    return _encode(tls_fields(facts, leg))


def tls_fields(facts: TlsFacts, leg: str) -> Document:
    """Return what a handshake established on a leg."""
    return {
        "version": version_name(facts),
        "cipher": facts.cipher,
        "resumed": facts.resumed,
        "server_name": facts.server_name,
        "verified": verified_how(facts, leg),
        "reason": facts.reason.value if facts.reason else None,
        "revocation": facts.revocation.value,
        "second_opinion": facts.second_opinion,
        "names": list(facts.peer.dns_names + facts.peer.ip_addresses) if facts.peer else [],
        "fingerprint": facts.peer.fingerprint if facts.peer else None,
    }


_kept_tls = lru_cache(maxsize=MAX_KEPT_FACTS)(_tls_document)


def _reply(reply: Reply | None) -> str | None:
    return None if reply is None else f"{reply.code} {reply.text}"
