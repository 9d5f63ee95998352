"""What is published and what was found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.admin.online.judgement import judge
from smtpproxy.admin.online.picture import failure_text
from smtpproxy.policy.knowledge import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.admin.explaining.online import RecipientNow
    from smtpproxy.admin.online.findings import Findings
    from smtpproxy.policy.dane import DaneVerdict
    from smtpproxy.policy.knowledge import Knowledge, MailHost, StsPolicy, TlsaSet
    from smtpproxy.policy.model import TlsProfile
    from smtpproxy.policy.mta_sts import StsVerdict


def found_texts(found: Findings, profile: TlsProfile) -> Iterator[str]:
    """Yield what upstream is."""
    where = f" at {found.address}" if found.address and found.address != found.target.host else ""
    yield f"{found.target}{where}, SNI {found.facts.server_name or 'none' if found.facts else 'none'}"
    judged = judge(found, profile)
    if found.facts:
        yield f"{found.facts.version.text} with cipher {found.facts.cipher}"
    if judged.chain:
        yield f"chain {judged.chain.text}"
    if found.facts and found.facts.peer:
        names = (*found.facts.peer.dns_names, *found.facts.peer.ip_addresses)
        yield f"certificate for {', '.join(map(printable, names)) or 'no name'}"
    if found.failure:
        yield failure_text(found.failure)


def published_texts(recipient: RecipientNow) -> Iterator[str]:
    """Yield what the recipient's domain publishes, and what that says of the upstream."""
    knowledge = recipient.knowledge
    if knowledge is None:
        yield "an address literal, of which nothing is published"
        return
    yield _exchangers_text(knowledge)
    for host in knowledge.hosts:
        yield f"TLSA of {host.name}: {_tlsa_text(host)}"
    yield f"DANE: {_verdict_text(recipient.dane)}"
    yield f"MTA-STS: {_sts_text(knowledge.sts, knowledge.sts_answer)}, {_verdict_text(recipient.mta_sts)}"


def tlsa_texts(published: TlsaSet) -> list[str]:
    """Return TLSA records as a zone has them."""
    return [f"{each.usage} {each.selector} {each.matching} {each.data.hex()}" for each in published.records]


def printable(text: str) -> str:
    """Return text of others without control characters."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _exchangers_text(knowledge: Knowledge) -> str:
    if knowledge.answer is not Answer.FOUND:
        words = {Answer.ABSENT: "there is none", Answer.FAILED: "cannot be looked up"}
        return f"MX of {knowledge.domain}: {words[knowledge.answer]}"
    hosts = ", ".join(
        f"{host.name} ({', '.join(map(str, sorted_addresses(host))) or 'no address'})" for host in knowledge.hosts
    )
    return f"MX of {knowledge.domain}: {hosts}; {'DNSSEC vouches for them' if knowledge.secure else 'not secure'}"


def sorted_addresses(host: MailHost) -> list[str]:
    """Return a host's addresses in an order of their own."""
    return sorted(map(str, host.addresses))


def _tlsa_text(host: MailHost) -> str:
    if host.tlsa.answer is Answer.ABSENT:
        return "none"
    if host.tlsa.answer is Answer.FAILED:
        return "cannot be looked up"
    return f"{'; '.join(tlsa_texts(host.tlsa))}{'' if host.tlsa.secure else ' (not secure)'}"


def _sts_text(policy: StsPolicy | None, answer: Answer) -> str:
    if policy is not None:
        return f"policy {policy.id}, mode {policy.mode.value}, mx {', '.join(policy.mx)}"
    return "cannot be had" if answer is Answer.FAILED else "no policy"


def _verdict_text(verdict: DaneVerdict | StsVerdict | None) -> str:
    if verdict is None:
        return "upstream was not reached"
    reason = f" ({verdict.reason.value})" if verdict.reason else ""
    host = f" by {verdict.host}" if verdict.host else ""
    return f"{verdict.state.value}{host}{reason}"
