"""What a domain publishes of its mail exchangers, and what that says of a server that was found."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeAlias

from smtpproxy.admin.exits import ExitStatus
from smtpproxy.policy.dane import DaneState, DaneVerdict, judge_dane
from smtpproxy.policy.knowledge import Answer, Knowledge
from smtpproxy.policy.mta_sts import StsState, StsVerdict, judge_sts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.admin.online.findings import Findings
    from smtpproxy.policy.knowledge import MailHost, StsPolicy, TlsaSet

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published, and what it says.

    Args:
        knowledge: of the domain.
        dane: what TLSA records say of the server, ``None`` if it was not reached.
        mta_sts: the same of the domain's MTA-STS policy.
    """

    knowledge: Knowledge
    dane: DaneVerdict | None
    mta_sts: StsVerdict | None

    @property
    def is_matched(self) -> bool:
        """Whether TLSA records vouch for the certificate: then no authority has to."""
        return self.dane is not None and self.dane.state is DaneState.MATCHED

    @property
    def status(self) -> ExitStatus:
        """How a command ends because of it: with 65 where the server does not keep what is published."""
        mismatched = self.dane is not None and self.dane.state is DaneState.MISMATCHED
        broken = self.mta_sts is not None and self.mta_sts.state is StsState.BROKEN
        return ExitStatus.DATA if mismatched or broken else ExitStatus.OK


def judge_by(knowledge: Knowledge, found: Findings, now_s: float) -> Publication:
    """Judge a server by what a domain publishes.

    Args:
        knowledge: of the domain.
        found: at the server.
        now_s: seconds since the epoch.
    """
    if found.address is None:
        return Publication(knowledge, None, None)
    address = ip_address(found.address)
    return Publication(
        knowledge, judge_dane(knowledge, address, found.facts, now_s), judge_sts(knowledge, address, found.facts)
    )


# In words


def publication_texts(published: Publication) -> Iterator[str]:
    """Yield what is published, and what it says of the server, a line each."""
    knowledge = published.knowledge
    yield _exchangers_text(knowledge)
    for host in knowledge.hosts:
        yield f"TLSA of {host.name}: {_tlsa_text(host)}"
    yield f"DANE: {_verdict_text(published.dane)}"
    yield f"MTA-STS: {_sts_text(knowledge.sts, knowledge.sts_answer)}, {_verdict_text(published.mta_sts)}"


def _exchangers_text(knowledge: Knowledge) -> str:
    if knowledge.answer is not Answer.FOUND:
        words = {Answer.ABSENT: "there is none", Answer.FAILED: "cannot be looked up"}
        return f"MX of {knowledge.domain}: {words[knowledge.answer]}"
    hosts = ", ".join(f"{host.name} ({', '.join(_addresses(host)) or 'no address'})" for host in knowledge.hosts)
    return f"MX of {knowledge.domain}: {hosts}; {'DNSSEC vouches for them' if knowledge.secure else 'not secure'}"


def _addresses(host: MailHost) -> list[str]:
    return sorted(map(str, host.addresses))


def _tlsa_text(host: MailHost) -> str:
    if host.tlsa.answer is Answer.ABSENT:
        return "none"
    if host.tlsa.answer is Answer.FAILED:
        return "cannot be looked up"
    return f"{'; '.join(_records(host.tlsa))}{'' if host.tlsa.secure else ' (not secure)'}"


def _records(published: TlsaSet) -> list[str]:
    """Return TLSA records as a zone has them."""
    return [f"{each.usage} {each.selector} {each.matching} {each.data.hex()}" for each in published.records]


def _sts_text(policy: StsPolicy | None, answer: Answer) -> str:
    if policy is not None:
        return f"policy {policy.id}, mode {policy.mode.value}, mx {', '.join(policy.mx)}"
    return "cannot be had" if answer is Answer.FAILED else "no policy"


def _verdict_text(verdict: DaneVerdict | StsVerdict | None) -> str:
    if verdict is None:
        return "the server was not reached"
    reason = f" ({verdict.reason.value})" if verdict.reason else ""
    host = f" by {verdict.host}" if verdict.host else ""
    return f"{verdict.state.value}{host}{reason}"


# For programs


def publication_document(published: Publication) -> Document:
    """Return what is published and what it says as JSON has it."""
    return {
        "published": _published(published.knowledge),
        "dane": _verdict(published.dane),
        "mta_sts": _verdict(published.mta_sts),
    }


def _published(knowledge: Knowledge) -> Document:
    policy = knowledge.sts
    return {
        "domain": knowledge.domain,
        "answer": knowledge.answer.value,
        "secure": knowledge.secure,
        "mx": [_host(host) for host in knowledge.hosts],
        "mta_sts": {"id": policy.id, "mode": policy.mode.value, "mx": list(policy.mx)} if policy else None,
        "mta_sts_answer": knowledge.sts_answer.value,
    }


def _host(host: MailHost) -> Document:
    return {
        "name": host.name,
        "preference": host.preference,
        "addresses": _addresses(host),
        "secure": host.secure,
        "tlsa": {"answer": host.tlsa.answer.value, "secure": host.tlsa.secure, "records": _records(host.tlsa)},
    }


def _verdict(verdict: DaneVerdict | StsVerdict | None) -> Document | None:
    if verdict is None:
        return None
    reason = verdict.reason.value if verdict.reason else None
    return {"state": verdict.state.value, "host": verdict.host, "reason": reason}
