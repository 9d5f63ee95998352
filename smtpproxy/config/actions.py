"""Make proxy actions of their files."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from smtpproxy.config.action_checks import check_action
from smtpproxy.config.action_file import (
    DEFAULT_OFFERS,
    DEFAULT_PROFILES,
    ActionFile,
    EncryptionRuleSection,
    GeneralSection,
    RuleFailureSection,
    StartTlsSection,
)
from smtpproxy.config.addresses import ANY
from smtpproxy.config.entries import check_lists, resolve
from smtpproxy.config.message_rule_checks import check_message_rules
from smtpproxy.config.name_sources import name_sources
from smtpproxy.config.references import check_reference
from smtpproxy.config.rule_checks import check_rules
from smtpproxy.config.section import part, problems
from smtpproxy.config.shipped import ACTIONS, predefined
from smtpproxy.config.tls_exception_checks import check_exceptions
from smtpproxy.config.tls_exceptions import make_exceptions
from smtpproxy.policy.model import (
    ActionKind,
    Authentication,
    Esmtp,
    General,
    ImplicitTls,
    ProxyAction,
    StartTls,
    TlsProfile,
)
from smtpproxy.policy.rules import Audience, EncryptionRule, OnFailure, with_default

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report
    from smtpproxy.policy.entries import Entries
    from smtpproxy.policy.model import Policy


UNUSED_AT: Final = ("kind",)
"""Where it is told that a file is not used."""

_UNUSED: Final = "no policy uses this proxy action, so nothing in it is in force; name it in a policy's proxy_action"


def make_actions(
    documents: Mapping[str, Document | None],
    profiles: Mapping[str, TlsProfile | None],
    lists: Mapping[str, Entries],
    report: Report,
) -> dict[str, ProxyAction | None]:
    """Return each proxy action by its name, ``None`` for one with mistakes, its own or its profiles'."""
    return {
        name: _make_action(name, document, profiles, lists, report) if document else None
        for name, document in documents.items()
    }


def notice_unused(files: Mapping[str, Document | None], policies: Sequence[Policy], report: Report) -> None:
    """Tell of every proxy action of one's own that no policy uses: nothing that it says is in force.

    Where there are mistakes, the policy that would use it may be one of them.
    """
    if report.problems:
        return
    used = {policy.action.name for policy in policies}.union(predefined(ACTIONS))
    for name, document in files.items():
        if document is not None and name not in used:
            message = (
                "no policy uses this proxy action, so nothing in it is in force; name it in a policy's proxy_action"
            )
            report.notice(document.problem(UNUSED_AT, message))


def _make_action(
    name: str,
    document: Document,
    profiles: Mapping[str, TlsProfile | None],
    lists: Mapping[str, Entries],
    report: Report,
) -> ProxyAction | None:
    report.problems.extend(problems(ActionFile, document))
    for section in ("tls", "starttls"):
        check_reference(document, (section, "profile"), profiles, "TLS profile", report)
    _check_rules(document, lists, report)
    check_exceptions(document, lists, report)
    check_action(document, report)
    check_message_rules(document, lists, report)
    file = part(ActionFile, document)
    if file is None:
        return None
    implicit = profiles.get(file.tls.profile or DEFAULT_PROFILES[file.kind])
    explicit = profiles.get(file.starttls.profile or DEFAULT_PROFILES[file.kind])
    if implicit is None or explicit is None:
        return None
    starttls = _starttls(file, explicit, lists)
    if starttls.enabled:
        check_rules(document, starttls.rules, report)
    return ProxyAction(
        name=name,
        kind=file.kind,
        implicit_profile=implicit,
        starttls=starttls,
        general=_general(file.general),
        esmtp=Esmtp(file.esmtp.enabled, frozenset(file.esmtp.allow), file.esmtp.log_denied),
        authentication=Authentication(frozenset(file.authentication.allow), file.authentication.plaintext),
        tls=ImplicitTls(file.tls.action, make_exceptions(file.tls.exceptions, lists)),
        message_rules=tuple(rule.rule(lists) for rule in file.message_rules if rule.is_for(file.kind)),
        tls_level_header=file.tls_level_header.header(),
    )


def _check_rules(document: Document, lists: Mapping[str, Entries], report: Report) -> None:
    rules = document.get("starttls", "rules")
    for number in range(len(rules) if isinstance(rules, list) else 0):
        for key in ("to", "from"):
            check_lists(document, ("starttls", "rules", number, key), lists, report)


def _starttls(file: ActionFile, profile: TlsProfile, lists: Mapping[str, Entries]) -> StartTls:
    section: StartTlsSection = file.starttls
    failure = section.on_failure
    on_failure = OnFailure(failure.not_offered, failure.handshake, failure.certificate)
    rules = tuple(_rule(rule, file.kind, on_failure, lists) for rule in section.rules)
    return StartTls(
        profile=profile,
        rules=with_default(rules, DEFAULT_OFFERS[file.kind]),
        enabled=section.enabled and file.esmtp.enabled,  # no ESMTP, no STARTTLS
        on_failure=on_failure,
        fallback_memory_s=section.fallback_memory,
        exceptions=make_exceptions(section.exceptions, lists),
    )


def _rule(
    rule: EncryptionRuleSection, kind: ActionKind, on_failure: OnFailure, lists: Mapping[str, Entries]
) -> EncryptionRule:
    return EncryptionRule(
        name=rule.name,
        sender=rule.sender,
        recipient=rule.recipient,
        offer=rule.offer or DEFAULT_OFFERS[kind],
        audience=Audience(
            to=resolve(rule.to, lists),
            from_=resolve(rule.from_, lists),
            client=None if rule.client == (ANY,) else tuple(chain.from_iterable(rule.client)),
        ),
        match=name_sources(rule.match),
        sender_match=name_sources(rule.sender_match),
        mode=rule.mode,
        on_failure=_own_failure(rule.on_failure, on_failure),
        enabled=rule.enabled,
    )


def _own_failure(own: RuleFailureSection, on_failure: OnFailure) -> OnFailure | None:
    if own == RuleFailureSection():
        return None
    return OnFailure(
        own.not_offered or on_failure.not_offered,
        own.handshake or on_failure.handshake,
        own.certificate or on_failure.certificate,
    )


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
        block_time_s=section.block_time,
    )
