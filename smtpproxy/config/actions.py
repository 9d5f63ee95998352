"""Make proxy actions of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.config.action_checks import check_action
from smtpproxy.config.action_file import (
    DEFAULT_OFFERS,
    DEFAULT_PROFILES,
    ActionFile,
    EncryptionRuleSection,
    GeneralSection,
    StartTlsSection,
)
from smtpproxy.config.message_rule_checks import check_message_rules
from smtpproxy.config.references import check_reference
from smtpproxy.config.section import part, problems
from smtpproxy.policy.model import (
    ActionKind,
    Authentication,
    EncryptionRule,
    Esmtp,
    General,
    OnFailure,
    ProxyAction,
    StartTls,
    TlsProfile,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report


def make_actions(
    documents: Mapping[str, Document | None], profiles: Mapping[str, TlsProfile | None], report: Report
) -> dict[str, ProxyAction | None]:
    """Return each proxy action by its name, ``None`` for one with mistakes, its own or its profiles'."""
    return {
        name: _make_action(name, document, profiles, report) if document else None
        for name, document in documents.items()
    }


def _make_action(
    name: str, document: Document, profiles: Mapping[str, TlsProfile | None], report: Report
) -> ProxyAction | None:
    report.problems.extend(problems(ActionFile, document))
    for section in ("tls", "starttls"):
        check_reference(document, (section, "profile"), profiles, "TLS profile", report)
    check_action(document, report)
    check_message_rules(document, report)
    file = part(ActionFile, document)
    if file is None:
        return None
    implicit = profiles.get(file.tls.profile or DEFAULT_PROFILES[file.kind])
    explicit = profiles.get(file.starttls.profile or DEFAULT_PROFILES[file.kind])
    if implicit is None or explicit is None:
        return None
    return ProxyAction(
        name=name,
        kind=file.kind,
        implicit_profile=implicit,
        starttls=_starttls(file, explicit),
        general=_general(file.general),
        esmtp=Esmtp(file.esmtp.enabled, frozenset(file.esmtp.allow), file.esmtp.log_denied),
        authentication=Authentication(frozenset(file.authentication.allow), file.authentication.plaintext),
        message_rules=tuple(rule.rule() for rule in file.message_rules if rule.enabled),
    )


def _starttls(file: ActionFile, profile: TlsProfile) -> StartTls:
    section: StartTlsSection = file.starttls
    failure = section.on_failure
    return StartTls(
        profile=profile,
        rules=tuple(_rule(rule, file.kind) for rule in section.rules),
        enabled=section.enabled and file.esmtp.enabled,  # no ESMTP, no STARTTLS
        on_failure=OnFailure(failure.not_offered, failure.handshake, failure.certificate),
    )


def _rule(rule: EncryptionRuleSection, kind: ActionKind) -> EncryptionRule:
    return EncryptionRule(rule.name, rule.sender, rule.recipient, rule.offer or DEFAULT_OFFERS[kind])


def _general(section: GeneralSection) -> General:
    return General(
        idle_timeout_s=section.idle_timeout,
        max_session_age_s=section.max_session_age,
        max_sessions=section.max_sessions,
        max_sessions_per_source=section.max_sessions_per_source,
        max_recipients=section.max_recipients,
        max_address_length=section.max_address_length,
        max_message_size=section.max_message_size,
        bare_newline=section.bare_newline,
    )
