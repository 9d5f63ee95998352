"""The directory: what is known of recipient domains, and by which names servers are known.

Source: RFC 5321 s5.1; RFC 7672 s2.2; RFC 6066 s3 (SNI is a name, so addresses must be known by one).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.peers.cache import Cache, Lasting
from smtpproxy.peers.hosts import Hosts
from smtpproxy.peers.lookups import ResolverLookups
from smtpproxy.peers.refreshing import Refreshing
from smtpproxy.peers.resolver import Resolver
from smtpproxy.policy.knowledge import Answer, Knowledge, StsPolicy
from smtpproxy.policy.selection import Address
from smtpproxy.tls.names import ascii_name

SMTP_PORT: Final = 25
"""Whose TLSA records count for mail that goes to mail exchangers (RFC 7672 s2.2.3)."""

MAX_DOMAINS: Final = 4096
"""Domains of which something is kept, some KiB each."""

MAX_NAMES: Final = 16384
"""Addresses whose name is kept."""

NAME_LIFETIME_S: Final = 24 * 60 * 60.0
"""A name serves for SNI alone, and one of yesterday is better than none."""

NAME_HOLD_S: Final = 60 * 60.0
"""Longer than a sender waits before it tries again."""

_QUESTIONS_IN_TURN: Final = 3
"""MX, then addresses, then TLSA: each has the resolver's time."""

_MARGIN_S: Final = 1.0

_log = Logger()


class StsSource(Protocol):
    """Who knows MTA-STS policies."""

    @property
    def figures(self) -> dict[str, CacheFigures]:
        """How its caches do, by name."""

    @property
    def patience_s(self) -> float:
        """How long a fetch may take once its record is known."""

    def fetch(self, domain: str) -> Deferred[tuple[StsPolicy | None, Answer]]:
        """Return a domain's policy; never fails, and keeps what it fetched."""


class _Wanted(NamedTuple):
    """What of a domain is wanted beside its mail exchangers."""

    domain: str
    tlsa_port: int | None


class _Name(NamedTuple):
    """What an address is known by, and whether a rule names the domain that says so."""

    name: str
    since_s: float
    is_watched: bool


class Directory:
    """Knows domains.

    Args:
        reactor: Twisted's.
        resolver: looks everything up; ends with the directory.
        sts: knows MTA-STS policies, ``None`` for nobody.
    """

    def __init__(self, reactor: Any, resolver: Resolver, sts: StsSource | None = None) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._resolver = resolver
        self._hosts = Hosts(reactor, resolver)
        self._sts = sts
        self._cache: Cache[_Wanted, Knowledge] = Cache(MAX_DOMAINS, reactor.seconds)
        self._names: Lru[Address, _Name] = Lru(MAX_NAMES)
        self._refreshing = Refreshing(reactor, lambda domain: self.look_up(domain, tlsa=False, sts=False))

    @property
    def figures(self) -> dict[str, CacheFigures]:
        """How each of its caches does, by name."""
        return {
            "dns-answers": self._resolver.figures,
            "domains": self._cache.figures,
            "server-names": self._names.figures,
            **(self._sts.figures if self._sts else {}),
        }

    @property
    def lookups(self) -> ResolverLookups:
        """Asks its resolver for single names."""
        return ResolverLookups(self._resolver)

    def look_up(self, domain: str, *, tlsa: bool, sts: bool, port: int = SMTP_PORT) -> Deferred[Knowledge]:
        """Return what is known of a domain, in bounded time; what cannot be had is a failed answer.

        Args:
            domain: of A-labels or U-labels; an address literal has no mail exchangers.
            tlsa: whether the TLSA records of its mail exchangers are wanted.
            sts: whether its MTA-STS policy is wanted.
            port: whose TLSA records.
        """
        name = ascii_name(domain)
        if name is None:
            return succeed(Knowledge(domain, Answer.ABSENT))
        looking = Deferred.fromCoroutine(self._look_up(_Wanted(name, port if tlsa else None), sts=sts))
        looking.addErrback(_unknown, name)
        return looking.addTimeout(self._time_s(sts=sts), self._reactor)

    def _time_s(self, *, sts: bool) -> float:
        """Return the most that a look-up takes; what of it is slow by itself ends before, and costs nothing else."""
        question_s = self._resolver.timeout_s
        policy_s = question_s + self._sts.patience_s if sts and self._sts else 0.0
        return max(_QUESTIONS_IN_TURN * question_s, policy_s) + _MARGIN_S

    def name_of(self, address: Address) -> str | None:
        """Return the mail exchanger that an address was lately known by, ``None`` if it is not known."""
        named = self._names.get(address)
        return named.name if named and self._reactor.seconds() < named.since_s + NAME_LIFETIME_S else None

    def watch(self, domains: Iterable[str]) -> None:
        """Look these domains up ahead and again and again, instead of those watched so far, so that names are known."""
        self._refreshing.watch(filter(None, map(ascii_name, domains)))

    def stop(self) -> None:
        """End what is under way; every look-up fails from now on."""
        self._refreshing.stop()
        self._resolver.stop()

    async def _look_up(self, wanted: _Wanted, *, sts: bool) -> Knowledge:
        fetching = self._sts.fetch(wanted.domain) if sts and self._sts else None
        knowledge = await self._cache.get(wanted, lambda: Deferred.fromCoroutine(self._find(wanted)))
        self._remember(knowledge)
        if fetching is None:
            return knowledge
        policy, answer = await fetching
        return replace(knowledge, sts=policy, sts_answer=answer)

    async def _find(self, wanted: _Wanted) -> Lasting[Knowledge]:
        found = await self._hosts.find(*wanted)
        return Lasting(found.knowledge, found.until_s - self._reactor.seconds())

    def _remember(self, knowledge: Knowledge) -> None:
        """Keep the names of addresses, of several the preferred one; of several domains the first, for a while.

        A recipient that was deferred for want of a name comes again, and finds it known. Who has an address keeps it
        long enough for that, or two domains would take it from each other at each look-up. A domain that no rule names
        takes none from one that rules do name: anybody can say that his mail exchanger is at some address.
        """
        mine = self._refreshing.watches(knowledge.domain)
        for host in knowledge.hosts:
            for address in host.addresses:
                if not self._is_taken(address, mine=mine):
                    self._names.put(address, _Name(host.name, self._reactor.seconds(), mine))

    def _is_taken(self, address: Address, *, mine: bool) -> bool:
        named = self._names.get(address)
        if named is None or (mine and not named.is_watched):
            return False
        kept_s = NAME_LIFETIME_S if named.is_watched and not mine else NAME_HOLD_S
        return bool(self._reactor.seconds() < named.since_s + kept_s)


def _unknown(failure: Failure, domain: str) -> Knowledge:
    """Nothing is known when the time is over; whatever else goes wrong here is ours."""
    if not failure.check(CancelledError):
        _log.failure("the look-up of {domain} broke", failure=failure, domain=domain)
    return Knowledge(domain, Answer.FAILED, sts_answer=Answer.FAILED)
