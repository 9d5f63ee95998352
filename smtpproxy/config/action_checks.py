"""Find what the keys of a proxy action make of each other.

Source: RFC 3207 s2 (STARTTLS is an extension, so there is none without EHLO).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.config.action_file import EncryptionRuleSection, EsmtpSection, StartTlsSection
from smtpproxy.config.section import part
from smtpproxy.policy.model import ActionKind
from smtpproxy.policy.rules import Offer, RecipientEncryption, SenderEncryption

if TYPE_CHECKING:
    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report


def check_action(document: Document, report: Report) -> None:
    """Report rules that cannot be kept, and notice those that promise more than they keep."""
    starttls = part(StartTlsSection, document, "starttls")
    esmtp = part(EsmtpSection, document, "esmtp")
    if starttls is None or esmtp is None:
        return
    if not starttls.enabled:
        _check_unmet(document, starttls, "starttls.enabled is false", report)
    elif not esmtp.enabled:
        message = "no ESMTP, no STARTTLS: false switches starttls.enabled off on both legs"
        report.notice(document.problem(("esmtp", "enabled"), message))
        _check_unmet(document, starttls, "esmtp.enabled is false", report)
    elif document.get("kind") == ActionKind.CLIENT.value:
        for number, rule in enumerate(starttls.rules):
            _notice_dishonesty(document, number, rule, report)


def _check_unmet(document: Document, starttls: StartTlsSection, why: str, report: Report) -> None:
    for number, rule in enumerate(starttls.rules):
        sides = {
            "sender": rule.sender is SenderEncryption.REQUIRED,
            "recipient": rule.recipient is RecipientEncryption.REQUIRED,
        }
        for side in (side for side, required in sides.items() if required):
            message = (
                f"required cannot be met: {why}, so port 25 has no TLS and would refuse all mail; "
                f"enable it, or use {side}: none"
            )
            report.problem(document.problem(("starttls", "rules", number, side), message))


def _notice_dishonesty(document: Document, number: int, rule: EncryptionRuleSection, report: Report) -> None:
    """Outbound, a client that insists on TLS should not be given it and then have its mail leave in clear."""
    if rule.recipient is RecipientEncryption.REQUIRED or rule.sender is SenderEncryption.NONE:
        return
    key = "offer" if rule.offer is Offer.ALWAYS else "sender" if rule.sender is SenderEncryption.REQUIRED else None
    if key:
        message = (
            "clients are offered STARTTLS whatever upstream does, so mail of a client that insists on TLS may "
            "leave in clear; recipient: required keeps the promise"
        )
        report.notice(document.problem(("starttls", "rules", number, key), message))
