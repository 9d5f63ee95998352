"""Find what the encryption rules of a proxy action make of each other.

Source: RFC 3207 s4 (STARTTLS comes before MAIL and RCPT, so one plan serves all rules of a connection).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.config.near import some
from smtpproxy.policy.matching import Parties, applicable
from smtpproxy.policy.model import ActionKind
from smtpproxy.policy.rules import Offer, RecipientEncryption, SenderEncryption
from smtpproxy.policy.shadowing import clients_may_meet, shadows, taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpproxy.config.document import Document
    from smtpproxy.config.problems import Report
    from smtpproxy.policy.rules import EncryptionRule


def check_rules(document: Document, rules: Sequence[EncryptionRule], report: Report) -> None:
    """Notice rules that never match, that contradict each other, or that do something else than they say.

    Args:
        document: the proxy action's file, without mistakes of form.
        rules: its rules as they take effect: those of the file, then any that is only implied.
        report: takes what is found.
    """
    found = document.get("starttls", "rules")
    written = range(len(found) if isinstance(found, list) else 0)
    reached = applicable(rules, Parties())
    is_outbound = document.get("kind") == ActionKind.CLIENT.value
    for number in (number for number in written if rules[number].enabled):
        notices = list(_shadowed(rules, number)) or list(_contested(rules, number))
        if rules[number] in reached:
            notices += _raised(rules[number], reached)
            notices += _dishonest(rules[number], reached) if is_outbound else ()
        notices += _idle(document, rules[number], number)
        for key, message in notices:
            report.notice(document.problem(("starttls", "rules", number, key), message))


def _shadowed(rules: Sequence[EncryptionRule], number: int) -> Iterator[tuple[str, str]]:
    others = [f"'{rule.name}'" for rule in shadows(rules, number)]
    if others:
        takes = "takes" if len(others) == 1 else "take"
        yield "name", f"never matches, since {some(others)} before it {takes} all of its mail; move it up"


def _contested(rules: Sequence[EncryptionRule], number: int) -> Iterator[tuple[str, str]]:
    for other, entries in taken(rules, number):
        asked = f"sender {other.sender.value}, recipient {other.recipient.value}"
        are, them = ("is", "it") if len(entries) == 1 else ("are", "them")
        message = (
            f"{some(sorted(map(str, entries)))} {are} named by '{other.name}' before it too, so this rule never counts "
            f"for {them}, and {asked} does; take {them} out of one of the two"
        )
        yield "to", message


_STRENGTH: Final = {RecipientEncryption.NONE: 0, RecipientEncryption.ALLOWED: 1}
"""What begins upstream TLS later than others, or never; all else begins it wherever it is offered."""
_EAGER: Final = 2


def _strength(rule: EncryptionRule) -> int:
    return _STRENGTH.get(rule.recipient, _EAGER)


def _raised(rule: EncryptionRule, reached: Sequence[EncryptionRule]) -> Iterator[tuple[str, str]]:
    """Stronger than asked satisfies a weaker row, so a weak row does not keep TLS away."""
    rivals = reached[: reached.index(rule)] if _is_settled(rule) else reached
    stronger = (each for each in rivals if _strength(each) > _strength(rule) and _may_meet(each, rule))
    other = next(stronger, None)
    if other:
        which = f"'{other.name}'" if _is_settled(rule) else "this rule"
        message = (
            "mail of this rule leaves over TLS too where upstream offers it, since that is decided before the "
            f"recipient is known, and '{other.name}' may ask for {other.recipient.value}; key {which} by the addresses "
            "of its servers, such as to: [192.0.2.1], and both do what they say"
        )
        yield "recipient", message


def _is_settled(rule: EncryptionRule) -> bool:
    """Whether it is known at connect if the rule applies."""
    return not (rule.audience.to.names_mailboxes or rule.audience.from_.names_mailboxes)


def _may_meet(one: EncryptionRule, other: EncryptionRule) -> bool:
    return clients_may_meet(one.audience, other.audience)


def _dishonest(rule: EncryptionRule, reached: Sequence[EncryptionRule]) -> Iterator[tuple[str, str]]:
    """Outbound, a client that insists on TLS should not be given it and then have its mail leave in clear."""
    always = rule.offer is Offer.ALWAYS and rule.sender is not SenderEncryption.NONE
    weak = [each for each in reached if not each.recipient.demands_tls and _may_meet(each, rule)]
    if not weak or not (always or rule.sender.demands_tls):
        return
    whose = "" if rule in weak else f", also for '{weak[0].name}'"
    keeps = "recipient: required keeps" if rule in weak else "recipient: required there keeps"
    message = (
        f"clients are offered STARTTLS whatever upstream does{whose}, so mail of a client that insists on TLS may "
        f"leave in clear; {keeps} the promise"
    )
    yield "offer" if always else "sender", message


def _idle(document: Document, rule: EncryptionRule, number: int) -> Iterator[tuple[str, str]]:
    """Keys that were written and never act."""
    for key, side, asked in (
        ("match", "recipient", rule.recipient.value),
        ("sender_match", "sender", rule.sender.value),
    ):
        if asked != _VERIFIED and document.has("starttls", "rules", number, key):
            yield key, f"never acts, since names matter to {side}: verified alone, and this is {asked}; leave it out"
    if rule.on_failure is not None and not rule.recipient.demands_tls:
        message = (
            f"recipient: {rule.recipient.value} refuses nothing by itself, so this acts only where a message or its "
            "destination asks for more, or the TLS profile enforces certificates"
        )
        yield "on_failure", message
    if rule.sender is SenderEncryption.NONE and document.has("starttls", "rules", number, "offer"):
        yield "offer", "never acts, since sender: none offers nothing; leave it out"


_VERIFIED: Final = RecipientEncryption.VERIFIED.value
