"""What was found online, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from smtpproxy.admin.explaining.document import verdict_of
from smtpproxy.admin.explaining.words import path_text
from smtpproxy.admin.online.document import document_of as findings_document
from smtpproxy.admin.online.judgement import judge
from smtpproxy.admin.online.publication import publication_document

if TYPE_CHECKING:
    from smtpproxy.admin.explaining.online import Now, RecipientNow
    from smtpproxy.policy.model import TlsProfile

Document: TypeAlias = dict[str, Any]


def online_document(now: Now, profile: TlsProfile) -> Document:
    """Return what was found."""
    return {
        "upstream": findings_document(now.found, judge(now.found, profile)),
        "recipients": [_recipient(recipient) for recipient in now.recipients],
    }


def _recipient(recipient: RecipientNow) -> Document:
    published = recipient.published
    return {
        "to": path_text(recipient.recipient)[1:-1],
        **(publication_document(published) if published else {"published": None, "dane": None, "mta_sts": None}),
        "replies": [
            {"client": "tls" if client_tls else "clear", **verdict_of(verdict)}
            for client_tls, verdict in recipient.verdicts
        ],
    }
