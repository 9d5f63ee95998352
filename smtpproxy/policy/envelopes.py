"""What a message rule asks of the envelope: who sends, to whom, and from which client.

Source: RFC 5321 s2.3.1 (the envelope), s4.5.5 (the null reverse-path), s4.5.1 (Postmaster).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smtpproxy.policy.entries import Address, Entries, mailbox_of
from smtpproxy.policy.wildcards import Wildcard
from smtpproxy.smtp.addresses import Path


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """Mailboxes by entry and by pattern.

    Args:
        entries: those named by a list, a domain, an address or the like.
        patterns: each of a whole address, its domain in A-labels.
    """

    entries: Entries
    patterns: tuple[Wildcard, ...] = ()

    def has(self, path: Path) -> bool:
        """Return whether a path is one of them; the null reverse-path is an address without a character."""
        if self.entries.has_mailbox(path):
            return True
        if not self.patterns:
            return False
        address = mailbox_of(path).casefold()
        return any(pattern.matches(address) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class MailboxCondition:
    """At least one path is among some mailboxes, none is among others; ``None`` asks nothing."""

    matches: Mailboxes | None = None
    does_not_match: Mailboxes | None = None

    def holds(self, paths: Sequence[Path]) -> bool:
        """Return whether it holds for the paths of an envelope taken together."""
        if self.matches is not None and not any(map(self.matches.has, paths)):
            return False
        return self.does_not_match is None or not any(map(self.does_not_match.has, paths))


@dataclass(frozen=True, slots=True)
class Envelope:
    """The envelope of a message.

    Args:
        sender: MAIL's path.
        recipients: those that upstream accepted.
        client: the client's address, ``None`` where it has none.
    """

    sender: Path
    recipients: tuple[Path, ...]
    client: Address | None = None


@dataclass(frozen=True, slots=True)
class EnvelopeCondition:
    """What all must hold; ``None`` asks nothing."""

    sender: MailboxCondition | None = None
    recipient: MailboxCondition | None = None
    client: Entries | None = None

    def holds(self, envelope: Envelope) -> bool:
        """Return whether it holds for an envelope."""
        if self.client is not None and not (
            self.client.everything or (envelope.client is not None and self.client.has_address(envelope.client))
        ):
            return False
        if self.sender is not None and not self.sender.holds((envelope.sender,)):
            return False
        return self.recipient is None or self.recipient.holds(envelope.recipients)
