"""Look up the mail exchangers of a domain, their addresses and their TLSA records.

Source: RFC 5321 s5.1 (MX, and the domain itself without); RFC 7505 (null MX); RFC 7672 s2.2.1 to s2.2.3 (TLSA only
where the way there is secure; behind aliases the records stand at their end, else at the name itself).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from dns.rdata import Rdata
from dns.rdatatype import RdataType
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.python.failure import Failure

from smtpproxy.peers.messages import Question, Resolution, addresses_of, text_of
from smtpproxy.peers.resolver import Resolver
from smtpproxy.policy.knowledge import Answer, Knowledge, MailHost, Tlsa, TlsaSet
from smtpproxy.policy.selection import Address
from smtpproxy.policy.tlsa import MAX_RECORDS
from smtpproxy.tls.names import ascii_name

MAX_HOSTS: Final = 20
"""Mail exchangers of one domain that are looked at, the preferred ones; big providers have five."""

HOSTS_AT_A_TIME: Final = 4
"""Of one domain, two questions each: a domain whose servers are slow takes no other domain's turns."""

UNKNOWN_LIFETIME_S: Final = 10.0
"""How long it is kept that a host was slow."""

_QUESTIONS_IN_TURN: Final = 2
"""Addresses, then TLSA: each has the resolver's time."""

MAX_ADDRESSES: Final = 64
"""Of one host."""

_UNKNOWN: Final = TlsaSet(Answer.FAILED)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a domain, and until when that may be kept, by the resolver's clock."""

    knowledge: Knowledge
    until_s: float


class Hosts:
    """Looks up.

    Args:
        reactor: Twisted's.
        resolver: asks for each record.
    """

    __slots__ = ("_reactor", "_resolver")

    def __init__(self, reactor: Any, resolver: Resolver) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._resolver = resolver

    async def find(self, domain: str, tlsa_port: int | None) -> Found:
        """Return what is known of a domain, but for its MTA-STS policy.

        Args:
            domain: A-labels in lower case.
            tlsa_port: the port whose TLSA records are wanted, ``None`` for none.
        """
        mx = await self._ask(domain, RdataType.MX)
        if mx.answer is Answer.FAILED or not mx.exists:
            return Found(Knowledge(domain, mx.answer, mx.secure), mx.until_s)
        alias_of = mx.name if mx.secure and mx.name != domain else None
        names = _exchangers(mx.records) if mx.answer is Answer.FOUND else [(0, domain)]
        turns = DeferredSemaphore(HOSTS_AT_A_TIME)
        searches = [self._in_time(turns, name, preference, tlsa_port) for preference, name in names]
        found: list[tuple[MailHost, float]] = await gatherResults(searches, consumeErrors=True)
        hosts = tuple(host for host, _ in found)
        knowledge = Knowledge(domain, Answer.FOUND, mx.secure, hosts, alias_of=alias_of)
        if mx.answer is Answer.ABSENT:
            knowledge = replace(knowledge, answer=_answer_of_itself(hosts))
        elif not hosts:
            knowledge = replace(knowledge, answer=Answer.ABSENT)
        return Found(knowledge, min([mx.until_s, *(until_s for _, until_s in found)]))

    def _in_time(
        self, turns: DeferredSemaphore, name: str, preference: int, tlsa_port: int | None
    ) -> Deferred[tuple[MailHost, float]]:
        """One whose turn does not come, or that is slow, is a host of which nothing is known."""
        searching: Deferred[tuple[MailHost, float]] = turns.run(self._search, name, preference, tlsa_port)
        timer = self._reactor.callLater(_QUESTIONS_IN_TURN * self._resolver.timeout_s, searching.cancel)
        unknown = MailHost(name, preference, frozenset(), tlsa=_UNKNOWN)
        return searching.addBoth(self._settle, timer, unknown)

    def _settle(
        self,
        found: tuple[MailHost, float] | Failure,
        timer: Any,  # noqa: ANN401 - Twisted's
        unknown: MailHost,
    ) -> tuple[MailHost, float] | Failure:
        if timer.active():
            timer.cancel()
            return found
        return (unknown, self._reactor.seconds() + UNKNOWN_LIFETIME_S) if isinstance(found, Failure) else found

    def _search(self, name: str, preference: int, tlsa_port: int | None) -> Deferred[tuple[MailHost, float]]:
        return Deferred.fromCoroutine(_Search(self._resolver, tlsa_port).host(name, preference))

    def _ask(self, name: str, kind: RdataType) -> Deferred[Resolution]:
        return self._resolver.resolve(Question(name, kind))


class _Search:
    """Looks one host up, and notes until when the answers may be kept."""

    def __init__(self, resolver: Resolver, tlsa_port: int | None) -> None:
        self._resolver = resolver
        self._tlsa_port = tlsa_port
        self._untils_s: list[float] = []

    async def host(self, name: str, preference: int) -> tuple[MailHost, float]:
        asked = [Deferred.fromCoroutine(self._ask(name, kind)) for kind in (RdataType.A, RdataType.AAAA)]
        answers: Sequence[Resolution] = await gatherResults(asked, consumeErrors=True)
        host = MailHost(name, preference, _addresses(answers), secure=all(each.secure for each in answers))
        if any(each.answer is Answer.FAILED for each in answers):
            host = replace(host, secure=False, tlsa=_UNKNOWN)
        elif host.secure and self._tlsa_port is not None:
            host = await self._with_tlsa(host, answers[0].name)
        return host, min(self._untils_s)

    async def _with_tlsa(self, host: MailHost, end: str) -> MailHost:
        """Return the host with the records of the end of its aliases, or else those of its own name."""
        tlsa = TlsaSet(Answer.ABSENT, secure=True)
        for domain in dict.fromkeys((end, host.name)):
            answer = await self._ask(f"_{self._tlsa_port}._tcp.{domain}", RdataType.TLSA)
            tlsa = TlsaSet(answer.answer, answer.secure, _tlsa_records(answer.records))
            if tlsa.answer is Answer.FAILED or (tlsa.answer is Answer.FOUND and tlsa.secure):
                return replace(host, tlsa=tlsa, tlsa_domain=domain)
        return replace(host, tlsa=tlsa)

    async def _ask(self, name: str, kind: RdataType) -> Resolution:
        resolution = await self._resolver.resolve(Question(name, kind))
        self._untils_s.append(resolution.until_s)
        return resolution


def _answer_of_itself(hosts: Iterable[MailHost]) -> Answer:
    """Return what there is of a domain that is its own mail exchanger."""
    (host,) = hosts
    if host.addresses:
        return Answer.FOUND
    return Answer.FAILED if host.tlsa.answer is Answer.FAILED else Answer.ABSENT


def _exchangers(records: Iterable[Rdata]) -> list[tuple[int, str]]:
    """Return preferences and names; a null MX is nobody."""
    found = {(int(each.preference), ascii_name(text_of(each.exchange))) for each in cast("Iterable[Any]", records)}
    return sorted((preference, name) for preference, name in found if name)[:MAX_HOSTS]


def _addresses(answers: Sequence[Resolution]) -> frozenset[Address]:
    return frozenset(addresses_of(answers)[:MAX_ADDRESSES])


def _tlsa_records(records: Iterable[Rdata]) -> tuple[Tlsa, ...]:
    found = [Tlsa(each.usage, each.selector, each.mtype, each.cert) for each in cast("Iterable[Any]", records)]
    return tuple(found[:MAX_RECORDS])
