"""Find mail that message rules ask two things for by ``x-TLSLevel``.

Each rule puts its field in front, and the first field counts, so the later rule has its way: a ``Try`` for all mail
takes back what a ``Require`` before it asked for some.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from smtpproxy.config.near import some
from smtpproxy.policy.coverage import Atom, common_atoms, covers_atom
from smtpproxy.policy.entries import ANYBODY, EVERYTHING
from smtpproxy.policy.envelopes import EnvelopeCondition, MailboxCondition
from smtpproxy.policy.message_edits import AddHeader, ReplaceHeader
from smtpproxy.policy.messages import Final
from smtpproxy.policy.tls_level import FIELD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.message_rules import MessageRuleSection
    from smtpproxy.config.problems import Report
    from smtpproxy.policy.entries import Entries


class _Asking(NamedTuple):
    """A rule that sets the field.

    Args:
        name: the rule's.
        value: the field's.
        loc: where that is written.
        envelope: whose mail it is for.
        is_last: whether no rule behind it sees that mail.
    """

    name: str
    value: str
    loc: Loc
    envelope: EnvelopeCondition
    is_last: bool


def notice_levels(
    document: Document, rules: Mapping[int, MessageRuleSection], lists: Mapping[str, Entries], report: Report
) -> None:
    """Notice recipients for whom two rules set the field to different values."""
    asking = [each for number, rule in rules.items() for each in _asking(number, rule, lists)]
    for first, second in combinations(asking, 2):
        hit = set() if first.is_last or first.value.lower() == second.value.lower() else _hit(first, second)
        if hit:
            message = (
                f"{_told(hit)} may get {first.value} by '{first.name}' as well as {second.value} here, and the "
                "later rule has its way; name them in one of the two alone, or leave them out with does_not_match"
            )
            report.notice(document.problem(second.loc, message))


def _asking(number: int, rule: MessageRuleSection, lists: Mapping[str, Entries]) -> Iterator[_Asking]:
    for place, section in reversed(list(enumerate(rule.then))):
        edit = section.edit()
        if isinstance(edit, AddHeader | ReplaceHeader) and edit.name.lower() == FIELD.lower():
            key = "add_header" if isinstance(edit, AddHeader) else "replace_header"
            envelope = rule.when.condition(lists).envelope or EnvelopeCondition()
            loc = ("message_rules", number, "then", place, key)
            yield _Asking(rule.name, edit.value.decode(), loc, envelope, rule.final is not Final.NONE)
            return


def _told(hit: set[Atom]) -> str:
    return "all mail" if EVERYTHING in hit else some(sorted(map(str, hit)))


def _hit(first: _Asking, second: _Asking) -> set[Atom]:
    """Return the recipients, as lists have them, that both rules are for; nothing if they have no mail in common."""
    one, other = first.envelope, second.envelope
    clients = common_atoms(one.client or ANYBODY, other.client or ANYBODY)
    senders = _both(one.sender, other.sender)
    return _both(one.recipient, other.recipient) if clients and senders else set()


def _both(one: MailboxCondition | None, other: MailboxCondition | None) -> set[Atom]:
    """Return what two conditions have in common; what patterns have cannot be told."""
    conditions = [each or MailboxCondition() for each in (one, other)]
    wanted = [each.matches.entries if each.matches else ANYBODY for each in conditions]
    left_out = [each.does_not_match.entries for each in conditions if each.does_not_match]
    return {atom for atom in common_atoms(*wanted) if not any(covers_atom(entries, atom) for entries in left_out)}
