"""Find what the message rules of a proxy action make of each other, and of mail.

Source: RFC 6376 s5.4.1 (fields that DKIM signs); RFC 5322 s3.6, RFC 2045 s3 (fields that stand once).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.config.action_file import GeneralSection
from smtpproxy.config.entries import check_lists
from smtpproxy.config.measures import write_size
from smtpproxy.config.message_rules import DIRECTIONS, MessageRuleSection, TlsLevelSection
from smtpproxy.config.section import part
from smtpproxy.config.tls_level_checks import notice_levels
from smtpproxy.policy.message_edits import AddHeader, RemoveHeader, ReplaceHeader, SetEncryption, TagSubject
from smtpproxy.policy.messages import reachable
from smtpproxy.policy.model import ActionKind
from smtpproxy.policy.tls_level import FIELD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.problems import Report
    from smtpproxy.policy.entries import Entries

    Rules = Mapping[int, MessageRuleSection]
    """Rules that are enabled and without mistakes, by their number in the file."""

SINGLE: Final = frozenset(
    b"from sender reply-to to cc subject date message-id in-reply-to references mime-version content-type "
    b"content-transfer-encoding content-disposition".split()
)
SIGNED: Final = SINGLE | frozenset(
    b"resent-date resent-from resent-to resent-cc list-id list-help list-unsubscribe "
    b"list-unsubscribe-post list-subscribe list-post list-owner list-archive".split()
)


def check_message_rules(document: Document, lists: Mapping[str, Entries], report: Report) -> None:
    """Report names given twice and lists that are missing.

    Notice rules that never apply, and edits that break what others rely on or that nothing acts on.
    """
    _check_names(document, report)
    _check_lists(document, lists, report)
    rules = _of_direction(document, _enabled(document), report)
    _notice_unreachable(document, rules, report)
    notice_levels(document, rules, lists, report)
    for number, rule in rules.items():
        _notice_size(document, number, rule, report)
        _notice_edits(document, number, rule, report)


def _count(document: Document) -> int:
    found = document.get("message_rules")
    return len(found) if isinstance(found, list) else 0


def _enabled(document: Document) -> Rules:
    found = {number: part(MessageRuleSection, document, "message_rules", number) for number in range(_count(document))}
    return {number: rule for number, rule in found.items() if rule and rule.enabled}


def _check_names(document: Document, report: Report) -> None:
    first: dict[str, int] = {}
    for number in range(_count(document)):
        loc = ("message_rules", number, "name")
        name = document.get(*loc)
        if isinstance(name, str) and first.setdefault(name, number) != number:
            line = document.values["message_rules", first[name], "name"].line
            message = f"the message rule at line {line} has the same name; rename one of them"
            report.problem(document.problem(loc, message))


def _check_lists(document: Document, lists: Mapping[str, Entries], report: Report) -> None:
    for number in range(_count(document)):
        when = ("message_rules", number, "when")
        check_lists(document, (*when, "client"), lists, report)
        for side in ("sender", "recipient"):
            for key in ("matches", "does_not_match"):
                check_lists(document, (*when, side, key), lists, report)


def _of_direction(document: Document, rules: Rules, report: Report) -> Rules:
    """Return the rules for the direction of the action's mail, and notice the others."""
    kind = next((each for each in ActionKind if each.value == document.get("kind")), None)
    if kind is None:
        return rules
    for number, rule in rules.items():
        if not rule.is_for(kind):
            message = f"never applies, since policies with an action of kind {kind.value} are {DIRECTIONS[kind].value}"
            report.notice(document.problem(("message_rules", number, "when", "direction"), message))
    return {number: rule for number, rule in rules.items() if rule.is_for(kind)}


def _notice_unreachable(document: Document, rules: Rules, report: Report) -> None:
    applied = reachable([rule.rule({}) for rule in rules.values()])
    for number in list(rules)[len(applied) :]:
        last = applied[-1]
        message = f"never applies, since '{last.name}' before it takes every message ({last.final.value}); move it up"
        report.notice(document.problem(("message_rules", number, "name"), message))


def _notice_size(document: Document, number: int, rule: MessageRuleSection, report: Report) -> None:
    general = part(GeneralSection, document, "general")
    over = rule.when.size.over if rule.when.size else None
    if general and over is not None and over >= general.max_message_size:
        limit = write_size(general.max_message_size)
        message = f"never applies, since what is over general.max_message_size, {limit}, is refused already"
        report.notice(document.problem(("message_rules", number, "when", "size", "over"), message))


def _notice_edits(document: Document, number: int, rule: MessageRuleSection, report: Report) -> None:
    removed: set[bytes] = set()
    for place, edit in enumerate(rule.then):
        loc = ("message_rules", number, "then", place)
        made = edit.edit()
        if isinstance(made, AddHeader):
            _notice_second(document, (*loc, "add_header"), made, removed, report)
        elif not isinstance(made, SetEncryption):
            _notice_broken(document, loc, made, report)
        if isinstance(made, RemoveHeader):
            removed.add(made.name.lower())
        if isinstance(made, AddHeader | ReplaceHeader):
            _notice_idle_level(document, (*loc, _KEYS[type(made)]), made, report)


def _notice_second(document: Document, loc: Loc, edit: AddHeader, removed: set[bytes], report: Report) -> None:
    if edit.name.lower() in SINGLE - removed:
        name = edit.name.decode()
        message = f"a message has one {name}, and receivers differ about which of two counts; replace_header leaves one"
        report.notice(document.problem(loc, message))


def _notice_broken(
    document: Document, loc: Loc, edit: RemoveHeader | ReplaceHeader | TagSubject, report: Report
) -> None:
    if edit.name.lower() in SIGNED:
        verb = "taken from" if isinstance(edit, RemoveHeader) else "changed in"
        message = f"senders sign {edit.name.decode()}, so DKIM will fail for the mail that it is {verb}"
        report.notice(document.problem((*loc, _KEYS[type(edit)]), message))


def _notice_idle_level(document: Document, loc: Loc, edit: AddHeader | ReplaceHeader, report: Report) -> None:
    section = part(TlsLevelSection, document, "tls_level_header")
    if edit.name.lower() == FIELD.lower() and section and not section.honour:
        message = "nothing here acts on the field; set tls_level_header.honour to true, or use set_encryption"
        report.notice(document.problem(loc, message))


_KEYS: Final[Mapping[type, str]] = {
    AddHeader: "add_header",
    RemoveHeader: "remove_header",
    ReplaceHeader: "replace_header",
    TagSubject: "tag_subject",
}
