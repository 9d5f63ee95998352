"""Encryption rules: who is meant by each, and what it asks of both legs.

Source: RFC 3207 s4 (a sender may insist on TLS); RFC 9525 s6.1 (reference names); RFC 7672 and RFC 8461 (what a
destination publishes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.entries import ANYBODY, Entries

Network: TypeAlias = IPv4Network | IPv6Network


class SenderEncryption(IdentityEnum):
    """What an encryption rule asks of the client leg."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"
    VERIFIED = "verified"  # required, and a certificate of the client that bears the sender's name

    @property
    def demands_tls(self) -> bool:
        """Whether a sender in clear is refused."""
        return self in _DEMANDING_SENDERS


_DEMANDING_SENDERS: Final = frozenset({SenderEncryption.REQUIRED, SenderEncryption.VERIFIED})


class RecipientEncryption(IdentityEnum):
    """What an encryption rule asks of the upstream leg, the weakest first; the last three have no order."""

    NONE = "none"
    ALLOWED = "allowed"  # as the sender does
    PREFERRED = "preferred"
    REQUIRED = "required"
    VERIFIED = "verified"
    DANE = "dane"
    MTA_STS = "mta-sts"

    @property
    def demands_tls(self) -> bool:
        """Whether mail never leaves in clear."""
        return self in _DEMANDING_RECIPIENTS

    @property
    def is_eager(self) -> bool:
        """Whether upstream TLS is begun wherever it is offered."""
        return self is RecipientEncryption.PREFERRED or self in _DEMANDING_RECIPIENTS


_DEMANDING_RECIPIENTS: Final = frozenset(
    {
        RecipientEncryption.REQUIRED,
        RecipientEncryption.VERIFIED,
        RecipientEncryption.DANE,
        RecipientEncryption.MTA_STS,
    }
)


class Offer(IdentityEnum):
    """Honest: STARTTLS is offered only while the promise can be kept. Always: whatever upstream does."""

    HONEST = "honest"
    ALWAYS = "always"


class Mode(IdentityEnum):
    """Enforce: the rule decides. Monitor: what it would have done is recorded, and the search goes on."""

    ENFORCE = "enforce"
    MONITOR = "monitor"


class Failure(IdentityEnum):
    """Whether mail that must not leave is refused for good or for now."""

    REJECT = "reject"
    TEMPFAIL = "tempfail"


@dataclass(frozen=True, slots=True)
class OnFailure:
    """The class of the reply for each way in which a demanded upstream TLS can fail."""

    not_offered: Failure = Failure.REJECT
    handshake: Failure = Failure.TEMPFAIL
    certificate: Failure = Failure.TEMPFAIL


@dataclass(frozen=True, slots=True)
class NameSources:
    """Which names a certificate may bear, each as good as the other.

    Args:
        domain: the domain of the address; for the null reverse-path the EHLO name.
        mx: names of its mail exchangers, if DNSSEC or an MTA-STS policy vouches for them.
        mx_insecure: names of its mail exchangers, on the administrator's word.
        names: these, A-labels in lower case.
    """

    domain: bool = True
    mx: bool = False
    mx_insecure: bool = False
    names: tuple[str, ...] = ()

    @property
    def needs_look_up(self) -> bool:
        """Whether the mail exchangers are to be looked up."""
        return self.mx or self.mx_insecure


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Whom a rule is for; all three must match, and what is left out matches all.

    Args:
        to: recipients, or the address that upstream was dialled at.
        from_: senders, or the client's address.
        client: the client's networks.
    """

    to: Entries = ANYBODY
    from_: Entries = ANYBODY
    client: tuple[Network, ...] | None = None

    @property
    def is_everybody(self) -> bool:
        """Whether it is for all mail."""
        return self.to.everything and self.from_.everything and self.client is None


@dataclass(frozen=True, slots=True)
class EncryptionRule:
    """What mail asks of both legs.

    Args:
        name: for records.
        sender: what is asked of the client leg.
        recipient: what is asked of the upstream leg.
        offer: when clients are offered STARTTLS.
        audience: whom the rule is for.
        match: names for recipient ``verified``.
        sender_match: names for sender ``verified``.
        mode: whether it decides.
        on_failure: how failures are told, ``None`` as the proxy action says.
        enabled: whether it is looked at.
    """

    name: str
    sender: SenderEncryption = SenderEncryption.OPTIONAL
    recipient: RecipientEncryption = RecipientEncryption.PREFERRED
    offer: Offer = Offer.HONEST
    audience: Audience = field(default_factory=Audience)
    match: NameSources = NameSources()
    sender_match: NameSources = NameSources()
    mode: Mode = Mode.ENFORCE
    on_failure: OnFailure | None = None
    enabled: bool = True

    @property
    def decides(self) -> bool:
        """Whether it takes part in decisions."""
        return self.enabled and self.mode is Mode.ENFORCE


DEFAULT_NAME: Final = "(default)"


def with_default(rules: Sequence[EncryptionRule], offer: Offer) -> tuple[EncryptionRule, ...]:
    """Return rules of which one always decides: where none does, one of defaults stands behind them."""
    if any(rule.decides and rule.audience.is_everybody for rule in rules):
        return tuple(rules)
    return (*rules, EncryptionRule(DEFAULT_NAME, offer=offer))
