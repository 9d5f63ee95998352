"""Which encryption rule is for whom: the ones that can still apply, the one that does, and why the others do not.

A rule is looked at while not all is known: the client's address and upstream's come first, the sender with MAIL, the
recipient with RCPT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.rules import Audience, EncryptionRule
from smtpproxy.policy.selection import Address
from smtpproxy.smtp.addresses import Path


@dataclass(frozen=True, slots=True)
class Parties:
    """Who exchanges mail, as far as it is known; ``None`` is not known yet.

    Args:
        client: the client's address.
        destination: the address that upstream was really dialled at.
        sender: MAIL's path.
        recipient: RCPT's path.
    """

    client: Address | None = None
    destination: Address | None = None
    sender: Path | None = None
    recipient: Path | None = None


class Fit(IdentityEnum):
    """Whether a rule is for these parties, and if not, why not."""

    YES = "applies"
    MAYBE = "may apply"  # something is not known yet
    OTHER_RECIPIENT = "to does not match"
    OTHER_SENDER = "from does not match"
    OTHER_CLIENT = "client does not match"
    DISABLED = "disabled"
    NOT_REACHED = "a rule before it applies"


@dataclass(frozen=True, slots=True)
class Tried:
    """One row of the search: a rule, and what was found of it."""

    rule: EncryptionRule
    fit: Fit


def fit(audience: Audience, parties: Parties) -> Fit:
    """Return whether an audience is met by ``parties``."""
    if audience.is_everybody:
        return Fit.YES
    found = (_client_fits(audience, parties), _sender_fits(audience, parties), _recipient_fits(audience, parties))
    missed = next((each for each in found if each not in _OPEN), None)
    return missed or (Fit.MAYBE if Fit.MAYBE in found else Fit.YES)


def search(rules: Sequence[EncryptionRule], parties: Parties) -> Iterator[Tried]:
    """Try every rule in order; behind the first that decides and applies, none is reached."""
    over = False
    for rule in rules:
        if over:
            yield Tried(rule, Fit.NOT_REACHED)
            continue
        found = fit(rule.audience, parties) if rule.enabled else Fit.DISABLED
        over = found is Fit.YES and rule.decides
        yield Tried(rule, found)


def applicable(rules: Sequence[EncryptionRule], parties: Parties) -> tuple[EncryptionRule, ...]:
    """Return the rules that may decide, up to the first that does for certain; in order."""
    found: list[EncryptionRule] = []
    for tried in search(rules, parties):
        if tried.rule.decides and tried.fit in _OPEN:
            found.append(tried.rule)
        if tried.fit is Fit.NOT_REACHED:
            break
    return tuple(found)


_OPEN = frozenset({Fit.YES, Fit.MAYBE})


def _client_fits(audience: Audience, parties: Parties) -> Fit:
    if audience.client is None:
        return Fit.YES
    if parties.client is None:
        return Fit.MAYBE
    return Fit.YES if any(parties.client in network for network in audience.client) else Fit.OTHER_CLIENT


def _sender_fits(audience: Audience, parties: Parties) -> Fit:
    return _mailbox_fits(audience.from_, parties.client, parties.sender, Fit.OTHER_SENDER)


def _recipient_fits(audience: Audience, parties: Parties) -> Fit:
    return _mailbox_fits(audience.to, parties.destination, parties.recipient, Fit.OTHER_RECIPIENT)


def _mailbox_fits(wanted: Entries, address: Address | None, mailbox: Path | None, missed: Fit) -> Fit:
    """Match by IP address or by mailbox, of which either will do."""
    if wanted.everything or (address is not None and wanted.has_address(address)):
        return Fit.YES
    if mailbox is not None and wanted.has_mailbox(mailbox):
        return Fit.YES
    is_open = (mailbox is None and wanted.names_mailboxes) or (address is None and wanted.names_networks)
    return Fit.MAYBE if is_open else missed
