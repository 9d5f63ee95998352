"""What is known of a recipient domain: its mail exchangers, their TLSA records, its MTA-STS policy.

Source: RFC 5321 s5.1 (MX); RFC 7672 s2.2 (TLSA of mail exchangers); RFC 6698 s2.1 (TLSA); RFC 8461 s3.2 (policies).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.selection import Address


class Answer(IdentityEnum):
    """What a look-up came to."""

    FOUND = "found"
    ABSENT = "absent"
    FAILED = "failed"  # bogus, SERVFAIL or no answer in time


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One TLSA record, its fields by their numbers."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TlsaSet:
    """The TLSA records of a mail exchanger; ``secure`` tells whether DNSSEC vouches for the answer."""

    answer: Answer
    secure: bool = False
    records: tuple[Tlsa, ...] = ()


NO_TLSA: Final = TlsaSet(Answer.ABSENT)


@dataclass(frozen=True, slots=True)
class MailHost:
    """A mail exchanger.

    Args:
        name: A-labels in lower case.
        preference: of its MX record; 0 for a domain that is its own.
        addresses: those of its A and AAAA records.
        secure: whether DNSSEC vouches for the addresses.
        tlsa: what it publishes for its port.
        tlsa_domain: where that stands: the name itself, or what it is an alias of; empty without.
    """

    name: str
    preference: int
    addresses: frozenset[Address]
    secure: bool = False
    tlsa: TlsaSet = NO_TLSA
    tlsa_domain: str = ""


class StsMode(IdentityEnum):
    """How an MTA-STS policy wants to be applied."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """An MTA-STS policy; ``mx`` are patterns of host names."""

    id: str
    mode: StsMode
    max_age_s: int
    mx: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of a domain.

    Args:
        domain: A-labels in lower case.
        answer: what the look-up of its mail exchangers came to.
        secure: whether DNSSEC vouches for them.
        hosts: its mail exchangers.
        sts: its MTA-STS policy, ``None`` without.
        sts_answer: what the look-up of that came to.
        alias_of: the domain that it is an alias of, ``None`` if it is none.
    """

    domain: str
    answer: Answer
    secure: bool = False
    hosts: tuple[MailHost, ...] = ()
    sts: StsPolicy | None = None
    sts_answer: Answer = Answer.ABSENT
    alias_of: str | None = None

    def host_at(self, address: Address) -> MailHost | None:
        """Return the mail exchanger that has ``address``, the most preferred one of several."""
        there = [host for host in self.hosts if address in host.addresses]
        return min(there, key=lambda host: host.preference, default=None)
