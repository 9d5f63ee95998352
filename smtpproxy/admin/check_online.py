"""What ``smtpproxy check --online`` finds: upstreams, and what is published of the certificates that clients see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpproxy.admin.exits import ExitStatus
from smtpproxy.admin.online.judgement import Mark, judge
from smtpproxy.admin.online.look_ups import Names, ask
from smtpproxy.admin.online.picture import failure_text
from smtpproxy.admin.online.published import compare, domains_of
from smtpproxy.admin.online.reach import reach, upstreams_of
from smtpproxy.authority.server import ServerCredentials
from smtpproxy.policy.knowledge import Answer
from smtpproxy.policy.model import Direction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.admin.online.findings import Target
    from smtpproxy.admin.online.reach import Reached
    from smtpproxy.config.values import Configuration


@dataclass(frozen=True, slots=True)
class Finding:
    """A line, and the exit status that it alone would lead to."""

    text: str
    status: ExitStatus = ExitStatus.OK


def check_online(configuration: Configuration) -> Iterator[Finding]:
    """Yield what is found, upstreams first."""
    for reached in reach(upstreams_of(configuration), configuration):
        yield _upstream(reached)
    if any(policy.enabled and policy.direction is Direction.INBOUND for policy in configuration.policies):
        yield from _published(configuration)


def _upstream(reached: Reached) -> Finding:
    found, upstream = reached.found, reached.upstream
    head = f"upstream {upstream.target} ({', '.join(upstream.policies)})"
    if upstream.introduces and found.takes_xclient is False:
        text = f"problem: {head}: XCLIENT is not offered to this machine; clients of these policies are told 421"
        return Finding(text, ExitStatus.PROTOCOL)
    if found.failure is not None:
        status = ExitStatus.UNAVAILABLE if found.failure.is_unreachable else ExitStatus.PROTOCOL
        return Finding(f"problem: {head}: {failure_text(found.failure)}{_consequence(status)}", status)
    judged = judge(found, upstream.profile)
    verdicts = [verdict for verdict in (judged.chain, judged.name) if verdict and verdict.mark is not Mark.GOOD]
    if not verdicts:
        return Finding(f"good: {head}: {found.facts.version.text if found.facts else ''}, certificate valid")
    said = "; ".join(verdict.text for verdict in verdicts)
    consequence = f"; {judged.gateway.text}" if judged.gateway else ""
    return Finding(f"notice: {head}: {said}{consequence}; see: {_command_for(upstream.target)}")


def _command_for(target: Target) -> str:
    """Return the command that shows a server."""
    return f"smtpproxy probe {'--proxy-header ' if target.proxied else ''}{target}"


def _consequence(status: ExitStatus) -> str:
    if status is ExitStatus.UNAVAILABLE:
        return "; clients of these policies are told 421"
    return "; mail that a rule wants TLS for is refused"


def _published(configuration: Configuration) -> Iterator[Finding]:
    servers = configuration.certificates.proxy_server
    domains = domains_of(servers)
    trusted, private = configuration.certificates.trusted, configuration.private_policy_hosts
    known = ask(Names(domains, configuration.resolver, trusted, private))
    unknown = [domain for domain in domains if known[domain].answer is Answer.FAILED]
    if unknown:
        text = f"problem: {', '.join(unknown)} cannot be looked up, so what is published is not compared"
        yield Finding(text, ExitStatus.UNAVAILABLE)
    agreements = compare([known[domain] for domain in domains], ServerCredentials(servers), time.time())
    for agreement in agreements:
        if agreement.good:
            yield Finding(f"good: {agreement.text}")
        else:
            yield Finding(f"problem: {agreement.text}", ExitStatus.DATA)
    if not agreements and not unknown:
        yield Finding(f"good: no TLSA record and no MTA-STS policy is published for {', '.join(domains) or 'any name'}")
