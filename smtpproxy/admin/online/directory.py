"""Ask name servers, policy hosts and OCSP responders from a command: Twisted's reactor runs for as long as that takes.

It runs once in a process, as reactors do: a command asks everything at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from smtpproxy.admin.online.findings import Findings
from smtpproxy.admin.online.look_ups import Names, Visit
from smtpproxy.peers.directory import Directory
from smtpproxy.peers.examiner import Examination, Examiner
from smtpproxy.peers.exchange import NameServer
from smtpproxy.peers.lookups import ResolverLookups
from smtpproxy.peers.policy_host import PolicyHost
from smtpproxy.peers.resolver import Resolver
from smtpproxy.peers.sts import StsPolicies
from smtpproxy.peers.sts_store import StsStore
from smtpproxy.policy.knowledge import Knowledge

T = TypeVar("T")

reactor: Any = _reactor


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the reactor until some work is done, and return what came of it.

    Raises:
        KeyboardInterrupt: the user does not want to wait.
    """
    results: list[T] = []
    failures: list[Failure] = []

    def begin() -> None:
        working = Deferred.fromCoroutine(work())
        working.addCallbacks(results.append, failures.append)
        working.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    for failure in failures:
        failure.raiseException()
    if not results:
        raise KeyboardInterrupt
    return results[0]


async def know(names: Names) -> dict[str, Knowledge]:
    """Return what is known of domains: mail exchangers, TLSA records, MTA-STS policies; each in bounded time."""
    servers = [NameServer(server.host, server.port, trusted) for server, trusted in names.resolver.servers]
    resolver = Resolver(reactor, servers, names.resolver.timeout_s)
    lookups = ResolverLookups(resolver)
    policies = StsPolicies(reactor, StsStore(time.time))
    source = PolicyHost(reactor, names.trust, lookups, private_addresses=names.private_policy_hosts)
    policies.follow(lookups, source)
    directory = Directory(reactor, resolver, policies)
    found = await gatherResults([directory.look_up(domain, tlsa=True, sts=True) for domain in names.domains])
    directory.stop()
    return dict(zip(names.domains, found, strict=True))


async def know_and_visit(names: Names, visit: Visit) -> tuple[dict[str, Knowledge], Findings]:
    """Return what is known of domains, and what was found, examined as far as the profile says."""
    known = await know(names)
    found: Findings = await deferToThread(visit.go, known)
    if found.facts is None or not visit.is_examined:
        return known, found
    examiner = Examiner(reactor)
    examination = Examination(examiner, visit.profile, visit.trust)
    facts = await examination.examine(found.facts, found.evidence)
    await examiner.stopService()
    return known, replace(found, facts=facts)
