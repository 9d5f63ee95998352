"""What was found online, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from smtpproxy.admin.explaining.document import verdict_of
from smtpproxy.admin.explaining.online_words import sorted_addresses, tlsa_texts
from smtpproxy.admin.explaining.words import path_text
from smtpproxy.admin.online.document import document_of as findings_document
from smtpproxy.admin.online.judgement import judge

if TYPE_CHECKING:
    from smtpproxy.admin.explaining.online import Now, RecipientNow
    from smtpproxy.policy.dane import DaneVerdict
    from smtpproxy.policy.knowledge import Knowledge, MailHost
    from smtpproxy.policy.model import TlsProfile
    from smtpproxy.policy.mta_sts import StsVerdict

Document: TypeAlias = dict[str, Any]


def online_document(now: Now, profile: TlsProfile) -> Document:
    """Return what was found."""
    return {
        "upstream": findings_document(now.found, judge(now.found, profile)),
        "recipients": [_recipient(recipient) for recipient in now.recipients],
    }


def _recipient(recipient: RecipientNow) -> Document:
    return {
        "to": path_text(recipient.recipient)[1:-1],
        "published": _published(recipient.knowledge) if recipient.knowledge else None,
        "dane": _verdict(recipient.dane),
        "mta_sts": _verdict(recipient.mta_sts),
        "replies": [
            {"client": "tls" if client_tls else "clear", **verdict_of(verdict)}
            for client_tls, verdict in recipient.verdicts
        ],
    }


def _published(knowledge: Knowledge) -> Document:
    policy = knowledge.sts
    return {
        "domain": knowledge.domain,
        "answer": knowledge.answer.value,
        "secure": knowledge.secure,
        "mx": [_host(host) for host in knowledge.hosts],
        "mta_sts": {"id": policy.id, "mode": policy.mode.value, "mx": list(policy.mx)} if policy else None,
        "mta_sts_answer": knowledge.sts_answer.value,
    }


def _host(host: MailHost) -> Document:
    return {
        "name": host.name,
        "preference": host.preference,
        "addresses": sorted_addresses(host),
        "secure": host.secure,
        "tlsa": {"answer": host.tlsa.answer.value, "secure": host.tlsa.secure, "records": tlsa_texts(host.tlsa)},
    }


def _verdict(verdict: DaneVerdict | StsVerdict | None) -> Document | None:
    if verdict is None:
        return None
    reason = verdict.reason.value if verdict.reason else None
    return {"state": verdict.state.value, "host": verdict.host, "reason": reason}
