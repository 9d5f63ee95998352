"""Ask name servers and policy hosts from a command: Twisted's reactor runs for as long as that takes.

It runs once in a process, as reactors do: a command asks everything at a time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults

from smtpproxy.config.values import ResolverSettings
from smtpproxy.peers.directory import Directory
from smtpproxy.peers.exchange import NameServer
from smtpproxy.peers.lookups import ResolverLookups
from smtpproxy.peers.policy_host import PolicyHost
from smtpproxy.peers.resolver import Resolver
from smtpproxy.peers.sts import StsPolicies
from smtpproxy.peers.sts_store import StsStore
from smtpproxy.policy.knowledge import Knowledge
from smtpproxy.transport.trust import TrustStore

reactor: Any = _reactor


def ask(domains: Sequence[str], settings: ResolverSettings, trust: TrustStore) -> dict[str, Knowledge]:
    """Return what is known of domains: mail exchangers, TLSA records, MTA-STS policies; each in bounded time.

    Args:
        domains: of A-labels in lower case.
        settings: whom to ask.
        trust: whom the hosts of MTA-STS policies are verified against.

    Raises:
        KeyboardInterrupt: the user does not want to wait.
    """
    asked = [NameServer(server.host, server.port, trusted) for server, trusted in settings.servers]
    resolver = Resolver(reactor, asked, settings.timeout_s)
    lookups = ResolverLookups(resolver)
    policies = StsPolicies(reactor, lookups, PolicyHost(reactor, trust, lookups), StsStore(time.time))
    directory = Directory(reactor, resolver, policies)
    found: list[Knowledge] = []

    def begin() -> None:
        looking = gatherResults([directory.look_up(domain, tlsa=True, sts=True) for domain in domains])
        looking.addCallback(found.extend)
        looking.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    directory.stop()
    if len(found) < len(domains):
        raise KeyboardInterrupt
    return dict(zip(domains, found, strict=True))
