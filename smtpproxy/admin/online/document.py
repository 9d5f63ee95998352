"""Findings for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from smtpproxy.admin.online.certificates import links_of, tlsa_of, unused_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpproxy.admin.online.certificates import Link
    from smtpproxy.admin.online.findings import Findings, ShownChain
    from smtpproxy.admin.online.judgement import Judgement, Verdict
    from smtpproxy.authority.description import Description
    from smtpproxy.smtp.capabilities import Capabilities
    from smtpproxy.tls.facts import TlsFacts

Document: TypeAlias = dict[str, Any]


def document_of(found: Findings, judged: Judgement) -> Document:
    """Return findings and judgement; texts of the server are escaped."""
    greeting, failure = found.greeting, found.failure
    return {
        "target": str(found.target),
        "tls": "implicit" if found.target.implicit else "starttls",
        "name": found.target.name,
        "address": found.address,
        "greeting": f"{greeting.code} {greeting.text}" if greeting else None,
        "capabilities": {"clear": _keywords(found.clear), "tls": _keywords(found.secured)},
        "handshake": _handshake(found.facts, resumes=found.resumes) if found.facts else None,
        "chain": _chain(found.chain) if found.chain else None,
        "verdict": {
            "chain": _verdict(judged.chain),
            "name": _verdict(judged.name),
            "gateway": _verdict(judged.gateway),
        },
        "failure": {"stage": failure.stage.value, "reason": failure.token, "detail": failure.detail}
        if failure
        else None,
        "status": int(judged.status),
    }


def _keywords(offered: Capabilities | None) -> dict[str, str] | None:
    if offered is None:
        return None
    return {name: argument.decode("ascii", "backslashreplace") for name, argument in offered.keywords}


def _handshake(facts: TlsFacts, *, resumes: bool | None) -> Document:
    return {
        "version": facts.version.text,
        "cipher": facts.cipher,
        "server_name": facts.server_name,
        "chain": facts.chain.value,
        "reason": facts.reason.value if facts.reason else None,
        "revocation": facts.revocation.value,
        "second_opinion": facts.second_opinion,
        "resumes": resumes,
    }


def _chain(chain: ShownChain) -> Document:
    links = list(reversed(links_of(chain)))
    return {
        "certificates": [{**_certificate(link.described), **_place(link)} for link in links],
        "unused": [_certificate(described) for described in unused_of(chain)],
        "tlsa": tlsa_of(chain.built[0]) if chain.built else None,
    }


def _place(link: Link) -> Document:
    return {"verdict": link.mark.value, "note": link.note or None, "sent": link.sent}


def _certificate(described: Description | None) -> Document:
    if described is None:
        return {"damaged": True}
    return {
        "subject": described.subject,
        "names": _names(described.dns_names, described.ip_addresses),
        "issuer": described.issuer,
        "key": described.key,
        "signature": described.signature,
        "valid_from": described.valid_from.isoformat(),
        "valid_until": described.valid_until.isoformat(),
        "sha256": described.sha256,
    }


def _names(*parts: Iterable[str]) -> list[str]:
    return [name for part in parts for name in part]


def _verdict(verdict: Verdict | None) -> Document | None:
    return None if verdict is None else {"mark": verdict.mark.value, "text": verdict.text}
