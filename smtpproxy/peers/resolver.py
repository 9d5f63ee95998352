"""Resolve names through validating name servers: bounded in time, kept for as long as records say, asked once.

Validation is theirs; a server that is neither on this machine nor trusted by name vouches for nothing.

Source: RFC 4035 s4.9.3 (AD and trust in the way to the server); RFC 7672 s2.1.1, s2.1.2 (bogus answers are failures);
RFC 2308 s7 (failures are kept briefly).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import dns.exception
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, succeed
from twisted.logger import Logger

from smtpproxy.lru import CacheFigures
from smtpproxy.peers.cache import Cache, Lasting
from smtpproxy.peers.exchange import NameServer, exchange
from smtpproxy.peers.messages import Question, Resolution, make_query, resolution_of
from smtpproxy.policy.knowledge import Answer

MAX_KEPT: Final = 4096
"""Answers, about 1 KiB each; full certificates in TLSA records are bigger."""

MAX_QUERIES: Final = 64
"""Under way at once, each with a socket."""

MAX_WAITING: Final = 2048
"""Questions that wait for their turn; what is more fails at once."""

_ROUNDS: Final = 3
"""How often each server is asked at most."""

_LIFETIMES_S: Final = {Answer.FOUND: (10.0, 3600.0), Answer.ABSENT: (60.0, 3600.0), Answer.FAILED: (10.0, 10.0)}
"""The shortest and the longest time that an answer is kept, whatever its records say."""

_log = Logger()


class Resolver:
    """Asks name servers.

    Args:
        reactor: Twisted's.
        servers: in the order in which they are asked, without any every question fails; if one is not trusted, none is.
        timeout_s: for a question, from its turn to its answer.
    """

    def __init__(self, reactor: Any, servers: Sequence[NameServer], timeout_s: float) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._servers = tuple(servers)
        self._trusted = all(server.trusted for server in servers)  # else who delays one answer gets another believed
        self._patience_s = timeout_s / (max(1, len(self._servers)) * _ROUNDS)
        self.timeout_s = timeout_s
        self._cache: Cache[Question, Resolution] = Cache(MAX_KEPT, reactor.seconds)
        self._turns = DeferredSemaphore(MAX_QUERIES)
        self._running: dict[Deferred[Lasting[Resolution]], None] = {}
        self._stopped = False

    @property
    def figures(self) -> CacheFigures:
        """How its cache does."""
        return self._cache.figures

    def resolve(self, question: Question) -> Deferred[Resolution]:
        """Return what is known of a question; what cannot be had is a failed answer, never an exception.

        Args:
            question: of A-labels; one too long for a query fails.
        """
        return self._cache.get(question, lambda: self._begin(question))

    def stop(self) -> None:
        """End what is under way; whatever is asked from now on fails."""
        self._stopped = True
        for running in reversed(list(self._running)):  # those that wait first, else they get the turns of others
            running.cancel()

    def _begin(self, question: Question) -> Deferred[Lasting[Resolution]]:
        if self._stopped or len(self._turns.waiting) >= MAX_WAITING:
            return succeed(_unkept("stopped" if self._stopped else "too-many-queries"))
        running: Deferred[Lasting[Resolution]] = self._turns.run(self._look_up, question)
        running.addErrback(lambda failure: failure.trap(CancelledError) and _unkept("stopped"))
        self._running[running] = None
        return running.addBoth(self._end, running)

    def _end(self, result: Any, running: Deferred[Lasting[Resolution]]) -> Any:  # noqa: ANN401
        self._running.pop(running, None)
        return result

    def _look_up(self, question: Question) -> Deferred[Lasting[Resolution]]:
        return Deferred.fromCoroutine(self._lasting(question))

    async def _lasting(self, question: Question) -> Lasting[Resolution]:
        resolution = await self._ask(question)
        if resolution.answer is Answer.FAILED:
            name, kind = question.name, question.kind.name
            _log.info("no answer for {name} {kind}: {reason}", name=name, kind=kind, reason=resolution.reason)
        lowest_s, highest_s = _LIFETIMES_S[resolution.answer]
        lifetime_s = min(max(resolution.ttl_s, lowest_s), highest_s)
        return Lasting(replace(resolution, until_s=self._reactor.seconds() + lifetime_s), lifetime_s)

    async def _ask(self, question: Question) -> Resolution:
        """Ask one server after the other, again and again; one that failed is not asked again."""
        servers, failed = list(self._servers), Resolution(Answer.FAILED, reason="no-answer")
        until_s = self._reactor.seconds() + self.timeout_s
        for server in self._servers * _ROUNDS:
            left_s = until_s - self._reactor.seconds()
            if server not in servers or left_s <= 0 or self._stopped:
                continue
            resolution = await self._ask_one(server, question, min(self._patience_s, left_s))
            if resolution is not None and resolution.answer is not Answer.FAILED:
                return resolution
            if resolution is not None:
                failed = resolution
                servers.remove(server)
        return failed

    async def _ask_one(self, server: NameServer, question: Question, patience_s: float) -> Resolution | None:
        try:
            query = make_query(question)
        except dns.exception.DNSException:
            return Resolution(Answer.FAILED, reason="malformed")
        response = await exchange(self._reactor, server, query, patience_s)
        return None if response is None else resolution_of(response, trusted=self._trusted)


def _unkept(reason: str) -> Lasting[Resolution]:
    return Lasting(Resolution(Answer.FAILED, reason=reason), 0)
