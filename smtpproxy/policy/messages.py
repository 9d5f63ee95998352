"""Decide by message rules: an ordered list of conditions and actions on a message.

Each rule sees the headers as the rules before it left them: docs/adr/0024-message-rules.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from smtpproxy.policy.envelopes import Envelope, EnvelopeCondition
from smtpproxy.policy.message_edits import Edit, SetEncryption
from smtpproxy.policy.rules import RecipientEncryption
from smtpproxy.policy.tls_level import HEADER_LEVELS, NOT_HONOURED, TlsLevelHeader
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.smtp.encoded_words import decode_words
from smtpproxy.smtp.headers import Headers


@dataclass(frozen=True, slots=True)
class SizeCondition:
    """The message has more than ``over`` octets and less than ``under``; ``None`` sets no bound.

    Its size is that of ``max_message_size``: the content as it came, dot-stuffed in DATA, without the final dot.
    """

    over: int | None = None
    under: int | None = None


_ANYTHING = Wildcard("*")


class Fields(Enum):
    """How many of the fields of a name match the pattern: at least one, or none, be it for want of fields."""

    SOME = "some"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class HeaderCondition:
    """Some field of a name, or none, matches a pattern; by default: there is such a field."""

    name: bytes
    pattern: Wildcard = _ANYTHING
    fields: Fields = Fields.SOME


@dataclass(frozen=True, slots=True)
class Condition:
    """What all must hold for a rule to apply; without any it always does."""

    size: SizeCondition | None = None
    headers: tuple[HeaderCondition, ...] = ()
    envelope: EnvelopeCondition | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it holds for every message."""
        return self.size is None and not self.headers and self.envelope is None


class Final(Enum):
    """What follows on a rule that applied: the next one, delivery without a look at the others, or refusal."""

    NONE = "none"
    DELIVER = "deliver"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class MessageRule:
    """One rule: what it asks of a message, what it does to it, and whether it is the last word."""

    name: str
    when: Condition = Condition()
    then: tuple[Edit, ...] = ()
    final: Final = Final.NONE


class Need(Enum):
    """How much of the content must be held before a list of rules can be judged."""

    NOTHING = "nothing"
    HEADERS = "headers"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What is known of a message; ``size_octets`` is ``None`` while its end has not come."""

    headers: Headers
    size_octets: int | None = None


@dataclass(frozen=True, slots=True)
class MessageDecision:
    """What the rules came to.

    Args:
        headers: the headers as they are to go on; the same object if nothing was edited.
        denied_by: the rule that refuses the message, ``None`` if it may go on.
        fired: the rules that applied, in order.
        levels: the encryption that they ask of the upstream leg, beside what is asked anyway.
    """

    headers: Headers
    denied_by: str | None
    fired: tuple[str, ...]
    levels: frozenset[RecipientEncryption] = frozenset()


def rules_for(rules: Sequence[MessageRule], envelope: Envelope) -> tuple[MessageRule, ...]:
    """Return the rules whose envelope this is, in order, without that condition: what they ask beside it is open."""
    return tuple(_opened(rule) for rule in rules if rule.when.envelope is None or rule.when.envelope.holds(envelope))


def _opened(rule: MessageRule) -> MessageRule:
    return rule if rule.when.envelope is None else replace(rule, when=replace(rule.when, envelope=None))


def reachable(rules: Sequence[MessageRule]) -> Sequence[MessageRule]:
    """Return the rules up to the first that always applies and is final: those behind it never do."""
    for number, rule in enumerate(rules, 1):
        if rule.when.is_empty and rule.final is not Final.NONE:
            return rules[:number]
    return rules


def need_of(rules: Sequence[MessageRule], header: TlsLevelHeader = NOT_HONOURED) -> Need:
    """Return how much of the content ``rules`` and an honoured field need; a size is known at the end only."""
    looked_at = reachable(rules)
    if not looked_at:
        return Need.HEADERS if header.honour else Need.NOTHING
    return Need.WHOLE if any(rule.when.size is not None for rule in looked_at) else Need.HEADERS


def judge_message(rules: Sequence[MessageRule], facts: MessageFacts) -> MessageDecision:
    """Apply the rules in order; while the size is not known, those that ask for it do not apply.

    Args:
        rules: those for the message's envelope (``rules_for``).
        facts: what is known of the message.
    """
    message = _Message(facts.headers)
    fired: list[str] = []
    for rule in rules:
        if not (_size_fits(rule.when.size, facts.size_octets) and message.fits(rule.when)):
            continue
        fired.append(rule.name)
        message.edit(rule.then)
        if rule.final is not Final.NONE:
            denied_by = rule.name if rule.final is Final.DENY else None
            return MessageDecision(message.headers, denied_by, tuple(fired), frozenset(message.levels))
    return MessageDecision(message.headers, None, tuple(fired), frozenset(message.levels))


def levels_in_reach(rules: Sequence[MessageRule], header: TlsLevelHeader) -> frozenset[RecipientEncryption]:
    """Return the encryption that messages may ask for: by a rule, or by their own field where it is honoured."""
    asked = {edit.level for rule in reachable(rules) for edit in rule.then if isinstance(edit, SetEncryption)}
    return frozenset(asked | HEADER_LEVELS if header.honour else asked)


def can_raise(levels: Iterable[RecipientEncryption]) -> bool:
    """Return whether messages that may ask for ``levels`` want upstream TLS wherever it is offered."""
    return any(level.is_eager for level in levels)


def still_needs_size(rules: Sequence[MessageRule], headers: Headers) -> bool:
    """Return whether, with the headers known, the decision may still depend on the size.

    If not, ``judge_message`` says without a size what it would say with any.
    """
    message = _Message(headers)
    for rule in rules:
        if not message.fits(rule.when):
            continue
        if rule.when.size is not None:
            return True
        message.edit(rule.then)
        if rule.final is not Final.NONE:
            return False
    return False


class _Message:
    """The headers on their way through the rules; what was read of them is kept until it is edited.

    Attributes:
        headers: as the rules so far left them.
        levels: the encryption that they asked for.
    """

    __slots__ = ("_read", "headers", "levels")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.levels: set[RecipientEncryption] = set()
        self._read: dict[bytes, list[str]] = {}

    def fits(self, when: Condition) -> bool:
        return all(self._fits(condition) for condition in when.headers)

    def edit(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            if isinstance(edit, SetEncryption):
                self.levels.add(edit.level)
            else:
                self._read.pop(edit.name.lower(), None)
                self.headers = edit.edit(self.headers)

    def _fits(self, condition: HeaderCondition) -> bool:
        found = any(condition.pattern.matches(reading) for reading in self._readings(condition.name))
        return found is (condition.fields is Fields.SOME)

    def _readings(self, name: bytes) -> list[str]:
        """Return each field of a name as it stands, and as mail programs show it."""
        key = name.lower()
        if key not in self._read:
            self._read[key] = [reading for value in self.headers.values(key) for reading in _readings(value)]
        return self._read[key]


def _readings(value: bytes) -> list[str]:
    plain = value.decode("utf-8", "replace").casefold()
    return [plain, decode_words(value).casefold()] if b"=?" in value else [plain]


def _size_fits(size: SizeCondition | None, octets: int | None) -> bool:
    if size is None:
        return True
    if octets is None:
        return False
    return (size.over is None or octets > size.over) and (size.under is None or octets < size.under)
