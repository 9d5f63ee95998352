"""The log lines of records: one a recipient result, TLS lines that read like Postfix's.

Whatever a peer sent is escaped: no record can begin a new line or move a terminal's cursor.
"""

from __future__ import annotations

from typing import assert_never

from smtpproxy.audit import (
    Crash,
    Evidence,
    Incident,
    InterceptionSuspected,
    Origin,
    RecipientResult,
    Record,
    SessionRecord,
    TlsRecord,
    TransactionRecord,
)
from smtpproxy.net.escapes import escaped, printable
from smtpproxy.net.tunnels import refusal_words, tunnel_words
from smtpproxy.smtp.replies import Reply
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts, TlsFailure, TlsVersion
from smtpproxy.tls.names import matches

_BRACKETS = {ord("<"): "\\x3c", ord(">"): "\\x3e"}
_DOUBTFUL = frozenset({Revocation.REVOKED, Revocation.UNKNOWN, Revocation.NOT_STAPLED})
_VERSIONS = {version: version.text for version in TlsVersion}


def lines_of(record: Record) -> list[str]:
    """Return the log lines of a record, without line ends."""
    head = record.origin.session
    match record:
        case TlsRecord(origin, leg, outcome):
            return [f"{head}: {_tls(origin, leg, outcome)}"]
        case TransactionRecord():
            return [f"{head}: {line}" for line in _transaction(record)]
        case SessionRecord():
            return [f"{head}: {_session(record)}"]
        case Incident(origin, leg, token):
            warning = f"warning: {token} on the {leg} leg, client={origin.client}, policy={quoted(origin.policy)}"
            return [f"{head}: {warning}"]
        case InterceptionSuspected():
            return [f"{head}: {_suspected(record)}"]
        case Crash(_, reference, error):
            return [f"{head}: error: the session failed with {error}, reference {reference}; both legs are closed"]
        case _:
            assert_never(record)


def _transaction(record: TransactionRecord) -> list[str]:
    tail = f"from={bracketed(record.sender)}, {_facts(record)}"
    if not record.recipients:
        return [f"{tail}, status={_status(record)} ({_reply(record.reply)})"]
    return [f"to={bracketed(result.address)}, {tail}, {_result(result)}" for result in record.recipients]


def _status(record: TransactionRecord) -> str:
    return "refused" if record.reply is not None and not record.reply.is_positive else "abandoned"


def _facts(record: TransactionRecord) -> str:
    inspected = "yes" if record.inspected else f"no, because {record.not_inspected_because}"
    downgraded = ", downgraded" if record.downgraded else ""
    normalized = ", normalized" if record.normalized else ""
    ambiguous = ", ambiguous_delivery" if record.ambiguous_delivery else ""
    return (
        f"client={record.origin.client}, relay={record.origin.upstream}, policy={quoted(record.origin.policy)}, "
        f"tls={_brief(record.client_tls)}/{_brief(record.upstream_tls)}, size={record.size_octets}, "
        f"inspected={inspected}{downgraded}{normalized}{ambiguous}"
    )


def _result(result: RecipientResult) -> str:
    because = f", because={result.because}" if result.because else ""
    return f"status={result.status.value}{because} ({_reply(result.reply)})"


def _session(record: SessionRecord) -> str:
    faults = "".join(f", {token}={count}" for token, count in record.faults)
    balancer = f", balancer={record.origin.balancer}" if record.origin.balancer else ""
    tunnel = tunnel_words(record.tunnel) if record.tunnel else ""
    refusal = refusal_words(record.refusal) if record.refusal else ""
    removed = f", removed={','.join(map(printable, record.removed))}" if record.removed else ""
    return (
        f"ended: {record.ended}, client={record.origin.client}{balancer}, helo={bracketed(record.helo)}, "
        f"relay={record.origin.upstream}, policy={quoted(record.origin.policy)}, "
        f"transactions={record.transactions}, seconds={record.duration_s:.3f}{removed}{faults}{tunnel}{refusal}"
    )


def _suspected(record: InterceptionSuspected) -> str:
    origin = record.origin
    did = f"refused ({printable(record.alert)})" if record.evidence is Evidence.ALERT else "left at once"
    return (
        f"warning: client={origin.client} {did} the certificate shown for relay={origin.upstream}, "
        f"policy={quoted(origin.policy)}, sessions={record.sessions}: it seems to check the server's own, by DANE, "
        "MTA-STS or authorities of its own; 'smtpproxy check' tells what to do"
    )


def _tls(origin: Origin, leg: str, outcome: TlsFacts | TlsFailure) -> str:
    peer = f"to {origin.upstream}" if leg == "upstream" else f"from {origin.client}"
    if isinstance(outcome, TlsFailure):
        return f"TLS handshake failed {peer}: {outcome.reason.value} ({printable(outcome.detail)})"
    reason = f" ({outcome.reason.value})" if outcome.reason else ""
    resumed = ", resumed" if outcome.resumed else ""
    revocation = f", revocation {outcome.revocation.value}" if outcome.revocation in _DOUBTFUL else ""
    opinion = f", second opinion {outcome.second_opinion}" if outcome.second_opinion else ""
    return (
        f"{verified_how(outcome, leg).capitalize()} TLS connection established {peer}: "
        f"{version_name(outcome)} with cipher {outcome.cipher}{resumed}{reason}{revocation}{opinion}"
    )


def verified_how(facts: TlsFacts, leg: str) -> str:
    """Return how far the peer's certificate was verified, in Postfix's words and ``unchecked``.

    A client's SNI is a name of ours, so that its own certificate is never *verified* by that.
    """
    if facts.peer is None:
        return "anonymous"
    if facts.chain is Chain.UNCHECKED:
        return "unchecked"
    if facts.chain is not Chain.VALID:
        return "untrusted"
    is_named = leg == "upstream" and facts.server_name is not None and matches(facts.server_name, facts.peer)
    return "verified" if is_named else "trusted"


def version_name(facts: TlsFacts) -> str:
    """Return the version as OpenSSL and Postfix write it."""
    return _VERSIONS[facts.version]


def _brief(facts: TlsFacts | None) -> str:
    return "none" if facts is None else version_name(facts)


def _reply(reply: Reply | None) -> str:
    return "no reply" if reply is None else f"{reply.code} {reply.text}"


def bracketed(octets: bytes) -> str:
    """Return an address or name in angle brackets that it cannot close itself: a quoted local part can hold ``>``."""
    return f"<{escaped(octets).translate(_BRACKETS)}>"


def quoted(text: str) -> str:
    """Return text in double quotes."""
    return '"' + printable(text).replace('"', "'") + '"'
