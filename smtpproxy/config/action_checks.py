"""Find what the keys of a proxy action make of each other.

Source: RFC 3207 s2 (STARTTLS is an extension, so there is none without EHLO).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.config.action_file import EncryptionRuleSection, EsmtpSection, StartTlsSection
from smtpproxy.config.near import some
from smtpproxy.config.problems import shown
from smtpproxy.config.section import part
from smtpproxy.policy.rules import Mode, RecipientEncryption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report


def check_action(document: Document, report: Report) -> None:
    """Report names given twice and rules that cannot be kept, and notice those that do nothing."""
    _check_names(document, report)
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


def _check_unmet(document: Document, starttls: StartTlsSection, why: str, report: Report) -> None:
    idle = []
    for number, rule in enumerate(starttls.rules):
        unmet = dict(_demands(rule))
        for side, demand in unmet.items() if rule.enabled and rule.mode is Mode.ENFORCE else ():
            message = (
                f"{demand} cannot be met: {why}, so port 25 has no TLS and would refuse all mail; "
                f"enable it, or use {side}: none"
            )
            report.problem(document.problem(("starttls", "rules", number, side), message))
        if rule.enabled and not unmet and rule.recipient is not RecipientEncryption.NONE:
            idle.append(f"'{rule.name}'")
    if idle and document.has("starttls", "rules"):
        message = f"on port 25 {some(idle)} can do nothing, since {why}"
        report.notice(document.problem(("starttls", "rules"), message, at_key=True))


def _demands(rule: EncryptionRuleSection) -> Iterator[tuple[str, str]]:
    if rule.sender.demands_tls:
        yield "sender", rule.sender.value
    if rule.recipient.demands_tls:
        yield "recipient", rule.recipient.value


def _check_names(document: Document, report: Report) -> None:
    rules = document.get("starttls", "rules")
    first: dict[str, int] = {}
    for number, rule in enumerate(rules if isinstance(rules, list) else []):
        name = rule.get("name") if isinstance(rule, dict) else None
        if isinstance(name, str) and first.setdefault(name, number) != number:
            line = document.values["starttls", "rules", first[name]].line
            message = f"the encryption rule at line {line} has the name {shown(name)} too; rename one of them"
            report.problem(document.problem(("starttls", "rules", number, "name"), message))
