"""Find what the message rules of a proxy action make of each other, and of mail.

Source: RFC 6376 s5.4.1 (fields that DKIM signs); RFC 5322 s3.6, RFC 2045 s3 (fields that stand once).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.config.action_file import GeneralSection
from smtpproxy.config.measures import write_size
from smtpproxy.config.message_rules import MessageRuleSection
from smtpproxy.config.section import part
from smtpproxy.policy.messages import reachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report

    Rules = Mapping[int, MessageRuleSection]
    """The rules that are enabled and without mistakes, by their number in the file."""

SINGLE: Final = frozenset(
    b"from sender reply-to to cc subject date message-id in-reply-to references mime-version content-type "
    b"content-transfer-encoding content-disposition".split()
)
SIGNED: Final = SINGLE | frozenset(
    b"resent-date resent-from resent-to resent-cc list-id list-help list-unsubscribe "
    b"list-unsubscribe-post list-subscribe list-post list-owner list-archive".split()
)


def check_message_rules(document: Document, report: Report) -> None:
    """Report names given twice; notice rules that never apply, and edits that break what others rely on."""
    _check_names(document, report)
    rules = _enabled(document)
    _notice_unreachable(document, rules, report)
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


def _notice_unreachable(document: Document, rules: Rules, report: Report) -> None:
    applied = reachable([rule.rule() for rule in rules.values()])
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
        if edit.remove_header is not None:
            removed.add(edit.remove_header.lower())
            if edit.remove_header.lower() in SIGNED:
                name = edit.remove_header.decode()
                message = f"senders sign {name}, so DKIM will fail for the mail that it is taken from"
                report.notice(document.problem((*loc, "remove_header"), message))
        elif edit.add_header is not None and edit.add_header.name.lower() in SINGLE - removed:
            name = edit.add_header.name.decode()
            message = (
                f"a message has one {name}, and receivers differ about which of two counts; remove_header: {name} "
                "before it leaves one"
            )
            report.notice(document.problem((*loc, "add_header"), message))
