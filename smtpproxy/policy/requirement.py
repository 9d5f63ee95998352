"""What the mail of one recipient asks of both legs: the strongest of rule, message and destination.

none < allowed < preferred < required < {verified, dane, mta-sts}; of the last three all that are asked for must hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from smtpproxy.policy.rules import EncryptionRule, NameSources, OnFailure, RecipientEncryption, SenderEncryption

_LADDER: Final = (
    RecipientEncryption.NONE,
    RecipientEncryption.ALLOWED,
    RecipientEncryption.PREFERRED,
    RecipientEncryption.REQUIRED,
)
_TOP: Final = len(_LADDER)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What is asked.

    Args:
        sender: of the client leg.
        levels: of the upstream leg: one of the ladder, or one or more of those above it.
        match: names for ``verified``.
        sender_match: names for sender ``verified``.
        on_failure: the class of the reply where it is not met.
    """

    sender: SenderEncryption
    levels: frozenset[RecipientEncryption]
    match: NameSources
    sender_match: NameSources
    on_failure: OnFailure

    @classmethod
    def of(cls, rule: EncryptionRule, on_failure: OnFailure) -> Requirement:
        """Return what ``rule`` asks; ``on_failure`` is the proxy action's."""
        return cls(
            rule.sender, frozenset({rule.recipient}), rule.match, rule.sender_match, rule.on_failure or on_failure
        )

    @property
    def demands_tls(self) -> bool:
        """Whether the mail never leaves in clear."""
        return any(level.demands_tls for level in self.levels)

    def asks_for(self, level: RecipientEncryption) -> bool:
        """Whether ``level`` is among what is asked."""
        return level in self.levels

    def raised(self, levels: Iterable[RecipientEncryption]) -> Requirement:
        """Return the requirement with ``levels`` asked for as well; none of them ever lowers it."""
        asked = self.levels.union(levels)
        highest = max(map(_height, asked))
        strongest = frozenset(level for level in asked if _height(level) == highest)
        return self if strongest == self.levels else replace(self, levels=strongest)


def _height(level: RecipientEncryption) -> int:
    return _LADDER.index(level) if level in _LADDER else _TOP
