"""Read MTA-STS records and policies, and judge what an upstream server showed by such a policy.

What real domains get wrong is borne where no security is lost by it, for the policy itself came over verified HTTPS:
a byte order mark, blank lines, spaces around keys and values, keys and words in another case, a last line without
its end, lines that are no field, the root's dot behind a name, U-labels, a lifetime above the highest one, characters
in an id that the grammar does not have.

Source: RFC 8461 s3.1 (record), s3.2 (policy), s3.3 (what cannot be had), s4.1 (hosts), s4.2 (certificates), s5 (modes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from smtpproxy.enums import IdentityEnum
from smtpproxy.errors import ProtocolError
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsMode, StsPolicy
from smtpproxy.policy.selection import Address
from smtpproxy.tls.facts import Chain, Revocation, TlsFacts, TlsReason
from smtpproxy.tls.names import ascii_name, covers, matches

MAX_POLICY_OCTETS: Final = 64 * 1024
"""What the RFC suggests (s3.3); real ones have some hundred octets."""

MAX_AGE_S: Final = 31_557_600
"""The longest lifetime that there is (s3.2): a year."""

MAX_PATTERNS: Final = 100
"""Patterns of a policy, which is kept for long; the biggest providers have a dozen."""

_RECORD: Final = re.compile(rb"v=STSv1[ \t]*;")
_ID: Final = re.compile(rb"[!-:<-~]{1,64}")
_DIGITS: Final = re.compile(r"[0-9]+")
_VERSION: Final = "stsv1"
_MAX_DIGITS: Final = 10


class MalformedPolicy(ProtocolError):  # noqa: N818 - it says what is wrong
    """What was served is no MTA-STS policy."""


class StsProblem(IdentityEnum):
    """Why a policy that a record promises cannot be had."""

    FETCH_ERROR = "sts-policy-fetch-error"  # RFC 8460 s4.3.2.2, also the others
    INVALID = "sts-policy-invalid"
    WEBPKI_INVALID = "sts-webpki-invalid"


class StsState(IdentityEnum):
    """What came of it."""

    HELD = "held"
    BROKEN = "broken"
    TESTING_HELD = "testing-held"  # the domain asks for reports and for nothing else
    TESTING_BROKEN = "testing-broken"
    ABSENT = "absent"  # no record, or the mode "none"
    UNFETCHED = "unfetched"  # a record, but no policy is to be had: as though there was none (s3.3)
    FAILED = "failed"  # nobody knows: mail for which it matters waits


@dataclass(frozen=True, slots=True)
class StsVerdict:
    """The verdict.

    Args:
        state: what came of it.
        host: the mail exchanger that was judged by, ``None`` if nothing was judged.
        reason: why the policy does not hold, ``None`` otherwise.
    """

    state: StsState
    host: str | None = None
    reason: TlsReason | None = None


_WITHOUT: Final = {
    Answer.FOUND: StsState.UNFETCHED,
    Answer.ABSENT: StsState.ABSENT,
    Answer.FAILED: StsState.FAILED,
}
"""The state without a policy, by the answer."""


def parse_record(texts: Iterable[bytes]) -> str | None:
    """Return the id of the policy that a domain publishes, ``None`` if its records promise none.

    Args:
        texts: all TXT records of ``_mta-sts``, the strings of each joined; one of them may be of this kind, no more.
    """
    records = [text for text in texts if _RECORD.match(text)]
    if len(records) != 1:
        return None
    fields = [field.strip(b" \t").partition(b"=") for field in records[0].split(b";")]
    ids = [value for key, _, value in fields if key == b"id"]
    return ids[0].decode("ascii") if ids and _ID.fullmatch(ids[0]) else None


def parse_policy(body: bytes, policy_id: str) -> StsPolicy:
    """Return the policy that was served.

    Args:
        body: at most `MAX_POLICY_OCTETS`.
        policy_id: of the record that led there.

    Raises:
        MalformedPolicy: it is too long, version, mode or lifetime is missing or unknown, or no host can match.
    """
    if len(body) > MAX_POLICY_OCTETS:
        raise MalformedPolicy("too-long")
    fields = [line.partition(":") for line in body.decode("utf-8-sig", "replace").split("\n")]
    pairs = [(key.strip().lower(), value.strip()) for key, colon, value in fields if colon]
    first = dict(reversed(pairs))  # of a field that stands there twice the first counts (s3.2)
    if first.get("version", "").lower() != _VERSION:
        raise MalformedPolicy("version")
    mode = _parse_mode(first.get("mode", ""))
    patterns = tuple(dict.fromkeys(filter(None, (_pattern(value) for key, value in pairs if key == "mx"))))
    if mode is not StsMode.NONE and not 0 < len(patterns) <= MAX_PATTERNS:
        raise MalformedPolicy("mx")
    return StsPolicy(policy_id, mode, _parse_max_age(first.get("max_age", "")), patterns[:MAX_PATTERNS])


def _parse_mode(text: str) -> StsMode:
    try:
        return StsMode(text.lower())
    except ValueError:
        raise MalformedPolicy("mode") from None


def _parse_max_age(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise MalformedPolicy("max-age")
    return MAX_AGE_S if len(text) > _MAX_DIGITS else min(int(text), MAX_AGE_S)


def _pattern(text: str) -> str | None:
    """Return a pattern of A-labels; what is none matches nothing, so it is left out."""
    wildcard = "*." if text.startswith("*.") else ""
    name = ascii_name(text.removeprefix(wildcard))
    return wildcard + name if name else None


def judge_sts(knowledge: Knowledge, address: Address, facts: TlsFacts | None) -> StsVerdict:
    """Return whether a server is one that a domain's policy admits.

    A server is judged as the mail exchanger that has its address. Where none is known to have it, any that the policy
    admits will do: names are what the policy and the certificate vouch for, and many domains give every asker other
    addresses.

    Args:
        knowledge: of the recipient domain, with its policy.
        address: the one really dialled.
        facts: what the handshake with it established; ``None`` while that leg is in clear, which breaks the policy.
    """
    policy = knowledge.sts
    if policy is None:
        return StsVerdict(_WITHOUT[knowledge.sts_answer])
    if policy.mode is StsMode.NONE:
        return StsVerdict(StsState.ABSENT)
    is_testing = policy.mode is StsMode.TESTING
    if knowledge.answer is Answer.FAILED:
        return StsVerdict(StsState.TESTING_BROKEN if is_testing else StsState.FAILED)
    host, reason = _best(policy, _candidates(knowledge, address), facts)
    if reason is None:
        return StsVerdict(StsState.TESTING_HELD if is_testing else StsState.HELD, host)
    return StsVerdict(StsState.TESTING_BROKEN if is_testing else StsState.BROKEN, host, reason)


def admits(policy: StsPolicy, name: str) -> bool:
    """Return whether a policy names a mail exchanger, whose name is of A-labels in lower case."""
    return any(covers(pattern, name) for pattern in policy.mx)


def _candidates(knowledge: Knowledge, address: Address) -> list[MailHost]:
    there = [host for host in knowledge.hosts if address in host.addresses]
    return sorted(there or knowledge.hosts, key=lambda host: host.preference)


def _best(policy: StsPolicy, hosts: Iterable[MailHost], facts: TlsFacts | None) -> tuple[str | None, TlsReason | None]:
    """Return the first host that holds, else the first that the policy names, else the first, with its reason."""
    judged = [(host.name, _problem(policy, host.name, facts)) for host in hosts]
    if not judged:
        return None, TlsReason.VALIDATION_FAILURE
    held = [each for each in judged if each[1] is None]
    named = [each for each in judged if admits(policy, each[0])]
    return (held or named or judged)[0]


def _problem(policy: StsPolicy, name: str, facts: TlsFacts | None) -> TlsReason | None:
    if not admits(policy, name):
        return TlsReason.VALIDATION_FAILURE
    if facts is None:
        return TlsReason.STARTTLS_NOT_SUPPORTED
    if facts.peer is None or facts.chain is not Chain.VALID:
        return facts.reason or TlsReason.VALIDATION_FAILURE
    if facts.revocation is Revocation.REVOKED:
        return TlsReason.CERTIFICATE_REVOKED
    return None if matches(name, facts.peer) else TlsReason.CERTIFICATE_HOST_MISMATCH
