"""What a domain is told of the TLS sessions with its mail exchangers, if it asks for that (TLSRPT).

One report is about one session and one recipient domain. It blames a domain only for servers that are its mail
exchangers: mail may go elsewhere by an administrator's word, which is no business of the domain's.

Source: RFC 8460 s3 (record), s4.2 (policies), s4.3 (result types), s4.4 (details).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.dane import DaneState, judge_dane
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, StsPolicy, Tlsa
from smtpproxy.policy.mta_sts import StsProblem, StsState, admits, judge_sts
from smtpproxy.policy.selection import Address
from smtpproxy.tls.facts import TlsFacts, TlsFailure, TlsReason

MAX_RECORD_OCTETS: Final = 4096
"""Of a domain's wish for reports; real ones have some hundred."""

_RECORD: Final = re.compile(rb"v=TLSRPTv1[ \t]*;")


class ResultType(IdentityEnum):
    """What failed, by the words of RFC 8460 s4.3."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    CERTIFICATE_EXPIRED = "certificate-expired"
    VALIDATION_FAILURE = "validation-failure"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"


class PolicyType(IdentityEnum):
    """What a session was judged by, by the words of RFC 8460 s4.4."""

    TLSA = "tlsa"
    STS = "sts"
    NO_POLICY_FOUND = "no-policy-found"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A session with a server, as far as one recipient domain is concerned.

    Args:
        domain: A-labels in lower case.
        address: where the server was dialled.
        tls: what its handshake established, ``None`` if there is none.
        failure: why there is none, although it was wanted.
        demands_dane: whether mail was refused because a rule demands DANE and the domain has none.
    """

    domain: str
    address: Address
    tls: TlsFacts | None
    failure: TlsFailure | None
    demands_dane: bool = False


@dataclass(frozen=True, slots=True)
class Detail:
    """A failure.

    Args:
        result: its type.
        code: a token that says more, ``None`` where the type says it all.
        words: the library's, ``""`` without.
        host: the mail exchanger.
        address: where it was dialled.
    """

    result: ResultType
    code: str | None
    words: str
    host: str
    address: Address


@dataclass(frozen=True, slots=True)
class Judged:
    """How a session did by one policy.

    Args:
        kind: of the policy.
        domain: that it is of; of TLSA records the name that they are below.
        strings: its lines, or the records.
        hosts: patterns of mail exchangers.
        details: what failed.
        failed: whether the session did.
    """

    kind: PolicyType
    domain: str
    strings: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    details: tuple[Detail, ...] = ()
    failed: bool = False


RESULTS: Final = {
    TlsReason.STARTTLS_NOT_SUPPORTED: ResultType.STARTTLS_NOT_SUPPORTED,
    TlsReason.CERTIFICATE_HOST_MISMATCH: ResultType.CERTIFICATE_HOST_MISMATCH,
    TlsReason.CERTIFICATE_EXPIRED: ResultType.CERTIFICATE_EXPIRED,
    TlsReason.CERTIFICATE_NOT_TRUSTED: ResultType.CERTIFICATE_NOT_TRUSTED,
    TlsReason.CERTIFICATE_REVOKED: ResultType.CERTIFICATE_NOT_TRUSTED,
    TlsReason.CERTIFICATE_TOO_WEAK: ResultType.CERTIFICATE_NOT_TRUSTED,
    TlsReason.CERTIFICATE_WRONG_PURPOSE: ResultType.CERTIFICATE_NOT_TRUSTED,
    TlsReason.CHAIN_TOO_LONG: ResultType.CERTIFICATE_NOT_TRUSTED,
}
"""The type of each reason; whatever else kept a handshake from its end is a validation failure (RFC 8460 s4.3.3)."""

_STS_RESULTS: Final = {
    StsProblem.FETCH_ERROR: ResultType.STS_POLICY_FETCH_ERROR,
    StsProblem.INVALID: ResultType.STS_POLICY_INVALID,
    StsProblem.WEBPKI_INVALID: ResultType.STS_WEBPKI_INVALID,
}
_NOT_DANE: Final = frozenset({DaneState.ABSENT, DaneState.INSECURE, DaneState.NO_HOST})
_NOT_STS: Final = frozenset({StsState.ABSENT, StsState.FAILED})
_STS_FAILED: Final = frozenset({StsState.BROKEN, StsState.TESTING_BROKEN, StsState.UNFETCHED})


def parse_wish(texts: Iterable[bytes]) -> str | None:
    """Return the record by which a domain asks for reports, ``None`` if it does not.

    Args:
        texts: all TXT records of ``_smtp._tls``, the strings of each joined; one of them may be of this kind, no more.
    """
    records = [text for text in texts if _RECORD.match(text)]
    if len(records) != 1 or not records[0].isascii() or len(records[0]) > MAX_RECORD_OCTETS:
        return None
    return records[0].decode("ascii")


def report(attempt: Attempt, knowledge: Knowledge, problem: StsProblem | None, now_s: float) -> tuple[Judged, ...]:
    """Return how a session did by each policy of a domain; nothing if TLS was not tried or the server is another's.

    Args:
        attempt: the session.
        knowledge: of the domain, with TLSA records and MTA-STS policy.
        problem: why that policy could not be had lately, ``None`` if it could.
        now_s: seconds since the epoch.
    """
    host = knowledge.host_at(attempt.address) if knowledge.answer is Answer.FOUND else None
    if host is None or (attempt.tls is None and attempt.failure is None):
        return ()
    scene = _Scene(attempt, knowledge, host)
    judged = tuple(filter(None, (scene.by_tlsa(now_s), scene.by_sts(problem))))
    return judged or (scene.by_nothing(),)


@dataclass(frozen=True, slots=True)
class _Scene:
    """All that one report is made of."""

    attempt: Attempt
    knowledge: Knowledge
    host: MailHost

    def by_tlsa(self, now_s: float) -> Judged | None:
        verdict = judge_dane(self.knowledge, self.attempt.address, self.attempt.tls, now_s)
        if verdict.state in _NOT_DANE:
            if not self.attempt.demands_dane:
                return None
            details: tuple[Detail, ...] = (self._detail(ResultType.DANE_REQUIRED, verdict.state.value),)
        elif verdict.state is DaneState.FAILED:
            details = (self._detail(ResultType.DNSSEC_INVALID),)
        elif verdict.state is DaneState.UNUSABLE:
            details = (self._detail(ResultType.TLSA_INVALID), *self._of_leg())
        else:
            details = self._of_leg() or self._of_reason(verdict.reason)
        strings = tuple(map(_text, self.host.tlsa.records))
        name = self.host.tlsa_domain or self.host.name
        return Judged(PolicyType.TLSA, name, strings, (), details, failed=bool(details))

    def by_sts(self, problem: StsProblem | None) -> Judged | None:
        verdict = judge_sts(self.knowledge, self.attempt.address, self.attempt.tls)
        if verdict.state in _NOT_STS:
            return None
        policy = self.knowledge.sts
        details: tuple[Detail, ...] = (self._detail(_STS_RESULTS[problem]),) if problem else ()
        if policy is not None and verdict.state in _STS_FAILED:
            details += self._of_policy(policy, verdict.host or self.host.name, verdict.reason)
        failed = verdict.state in _STS_FAILED
        if policy is None:
            return Judged(PolicyType.STS, self.knowledge.domain, (), (), details, failed)
        return Judged(PolicyType.STS, self.knowledge.domain, tuple(_lines(policy)), policy.mx, details, failed)

    def by_nothing(self) -> Judged:
        details = self._of_leg()
        return Judged(PolicyType.NO_POLICY_FOUND, self.knowledge.domain, (), (), details, failed=bool(details))

    def _of_policy(self, policy: StsPolicy, name: str, reason: TlsReason | None) -> tuple[Detail, ...]:
        if not admits(policy, name):
            return (self._detail(ResultType.VALIDATION_FAILURE, "mx-not-in-policy"),)
        return self._of_leg() or self._of_reason(reason)

    def _of_leg(self) -> tuple[Detail, ...]:
        """Return why there is no TLS, nothing if there is."""
        failure = self.attempt.failure
        if self.attempt.tls is not None or failure is None:
            return ()
        return self._of_reason(failure.reason, failure.detail)

    def _of_reason(self, reason: TlsReason | None, words: str = "") -> tuple[Detail, ...]:
        if reason is None:
            return ()
        result = RESULTS.get(reason, ResultType.VALIDATION_FAILURE)
        return (self._detail(result, None if result.value == reason.value else reason.value, words),)

    def _detail(self, result: ResultType, code: str | None = None, words: str = "") -> Detail:
        return Detail(result, code, words, self.host.name, self.attempt.address)


def _text(record: Tlsa) -> str:
    return f"{record.usage} {record.selector} {record.matching} {record.data.hex().upper()}"


def _lines(policy: StsPolicy) -> Iterator[str]:
    yield "version: STSv1"
    yield f"mode: {policy.mode.value}"
    yield from (f"mx: {pattern}" for pattern in policy.mx)
    yield f"max_age: {policy.max_age_s}"
