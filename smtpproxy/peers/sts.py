"""MTA-STS policies of recipient domains: found by their record, fetched once, kept until their time is over.

Source: RFC 8461 s3.1 (discovery), s3.3 (fetching; what fails is not tried again for five minutes, an id at a time),
s5.1 (what is kept holds when nothing newer is to be had, and is refreshed ahead).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail, gatherResults, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.peers.cache import Cache, Lasting
from smtpproxy.peers.policy_host import Unfetched
from smtpproxy.peers.sts_store import StsStore
from smtpproxy.policy.knowledge import Answer, StsMode, StsPolicy
from smtpproxy.policy.mta_sts import MalformedPolicy, StsProblem, parse_policy, parse_record

FAILURE_LIFETIME_S: Final = 300.0
REFRESH_AGE_S: Final = 24 * 60 * 60.0
"""Once a day, as the RFC suggests."""

PATIENCE_S: Final = 10.0
"""How long a recipient waits for a policy host; the fetch goes on, and the next recipient may find what it brought."""

ROUND_S: Final = 600.0
"""From one look for policies of that age to the next."""

MAX_REFRESHED: Final = 64
"""Policies refreshed in a round, so that as many as are kept have their turn in a day."""

MAX_FETCHES: Final = 16
"""Under way at once."""

MAX_WAITING: Final = 256
"""Fetches that wait for their turn; what is more fails at once."""

MAX_FAILED: Final = 1024
"""Domains whose failure is remembered."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """TXT records of a name, the strings of each joined."""

    answer: Answer
    texts: Sequence[bytes] = ()


class TextLookups(Protocol):
    """Who looks records up."""

    def texts(self, name: str) -> Deferred[TextAnswer]:
        """Return the TXT records of a name; never fails."""


class PolicySource(Protocol):
    """Who fetches the bodies of policies."""

    def get(self, domain: str) -> Deferred[bytes]:
        """Return what a domain serves; fails with `Unfetched` in bounded time."""


class StsPolicies:
    """Knows policies, and nothing new before it is told whom to `follow`.

    Args:
        reactor: Twisted's.
        store: keeps them.
    """

    def __init__(self, reactor: Any, store: StsStore) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._way: tuple[TextLookups, PolicySource] | None = None
        self._store = store
        self._fetches: Cache[tuple[str, str], StsPolicy | StsProblem] = Cache(MAX_FAILED, reactor.seconds)
        self._turns = DeferredSemaphore(MAX_FETCHES)
        self._problems: Lru[str, tuple[StsProblem, float]] = Lru(MAX_FAILED)
        self._now_s = reactor.seconds
        self._due: deque[tuple[str, StsPolicy]] = deque()
        self._round = LoopingCall(self._refresh)
        self._round.clock = reactor

    @property
    def patience_s(self) -> float:
        """How long a fetch may take once its record is known."""
        return PATIENCE_S

    @property
    def figures(self) -> dict[str, CacheFigures]:
        """How its caches do, by name."""
        return {"sts-policies": self._store.figures, "sts-fetches": self._fetches.figures}

    def follow(self, lookups: TextLookups, source: PolicySource) -> None:
        """Find policies this way from now on.

        Args:
            lookups: knows the records.
            source: fetches what they promise.
        """
        self._way = lookups, source

    def start(self) -> None:
        """Refresh what is kept from now on."""
        self._round.start(ROUND_S, now=False)

    def stop(self) -> None:
        """Refresh nothing any more."""
        if self._round.running:
            self._round.stop()

    def fetch(self, domain: str) -> Deferred[tuple[StsPolicy | None, Answer]]:
        """Return the policy of a domain that holds now; never fails.

        Args:
            domain: of A-labels in lower case.

        Returns:
            The policy and that it was found; without one: found if a record promises one that cannot be had, which
            counts as though there was none (RFC 8461 s3.3), absent if there is no record, failed if nobody knows.
        """
        return Deferred.fromCoroutine(self._find(domain)).addErrback(_log_failure, domain)

    def problem(self, domain: str) -> StsProblem | None:
        """Return why the policy that a domain promises could not be had lately, ``None`` if that is not known."""
        known = self._problems.get(domain)
        return known[0] if known and self._now_s() < known[1] else None

    async def _find(self, domain: str) -> tuple[StsPolicy | None, Answer]:
        answer, promised = await self._promised(domain)
        kept = self._store.get(domain)
        if promised is None:
            return kept, Answer.FOUND if kept else answer
        if kept is not None and kept.id == promised:
            return kept, Answer.FOUND
        fetched = await self._fetch_in_time(domain, promised)
        return (fetched if isinstance(fetched, StsPolicy) else kept), Answer.FOUND

    async def _promised(self, domain: str) -> tuple[Answer, str | None]:
        """Return the id of the policy that a domain promises; records that promise none count as none."""
        if self._way is None:
            return Answer.FAILED, None
        found = await self._way[0].texts(f"_mta-sts.{domain}")
        promised = parse_record(found.texts)
        return (Answer.FAILED if found.answer is Answer.FAILED else Answer.ABSENT), promised

    def _fetch_in_time(self, domain: str, policy_id: str) -> Deferred[StsPolicy | StsProblem]:
        """A host that takes its time counts as one that has no policy: as though there was none (s3.3)."""
        fetching = self._fetch_once(domain, policy_id).addTimeout(PATIENCE_S, self._reactor)
        return fetching.addErrback(_too_late)

    def _fetch_once(self, domain: str, policy_id: str) -> Deferred[StsPolicy | StsProblem]:
        return self._fetches.get((domain, policy_id), lambda: self._begin(domain, policy_id))

    def _begin(self, domain: str, policy_id: str) -> Deferred[Lasting[StsPolicy | StsProblem]]:
        if len(self._turns.waiting) >= MAX_WAITING:
            return succeed(Lasting(StsProblem.FETCH_ERROR, 0))
        return self._turns.run(lambda: Deferred.fromCoroutine(self._fetch(domain, policy_id)))

    async def _fetch(self, domain: str, policy_id: str) -> Lasting[StsPolicy | StsProblem]:
        try:
            policy = parse_policy(await self._get(domain), policy_id)
        except (Unfetched, MalformedPolicy) as error:
            return Lasting(self._remember(domain, error), FAILURE_LIFETIME_S)
        self._store.put(domain, policy)
        return Lasting(policy, 0)

    def _get(self, domain: str) -> Deferred[bytes]:
        if self._way is None:
            return fail(Unfetched(StsProblem.FETCH_ERROR, "not-begun"))
        return self._way[1].get(domain)

    def _remember(self, domain: str, error: Unfetched | MalformedPolicy) -> StsProblem:
        problem = error.problem if isinstance(error, Unfetched) else StsProblem.INVALID
        _log.info(
            "no policy of {domain}: {problem}, {reason}", domain=domain, problem=problem.value, reason=error.reason
        )
        self._problems.put(domain, (problem, self._now_s() + FAILURE_LIFETIME_S))
        return problem

    def _refresh(self) -> Deferred[object]:
        if not self._due:
            self._due.extend(self._store.older_than(REFRESH_AGE_S).items())
        turn = [self._due.popleft() for _ in range(min(len(self._due), MAX_REFRESHED))]
        return gatherResults([Deferred.fromCoroutine(self._refresh_one(*each)) for each in turn]).addErrback(_log_round)

    async def _refresh_one(self, domain: str, kept: StsPolicy) -> None:
        """Who keeps us from refreshing a policy for as long as it lasts has removed it (s10.2), so that is told."""
        _, promised = await self._promised(domain)
        fetched = await self._fetch_once(domain, promised or kept.id)
        if isinstance(fetched, StsProblem) and kept.mode is not StsMode.NONE:
            _log.warn("the policy of {domain} cannot be refreshed: {problem}", domain=domain, problem=fetched.value)


def _too_late(failure: Failure) -> StsProblem:
    failure.trap(defer.TimeoutError)
    return StsProblem.FETCH_ERROR


def _log_failure(failure: Failure, domain: str) -> tuple[StsPolicy | None, Answer]:
    """Whatever goes wrong here is ours, and is no answer; but an asker may give up."""
    if not failure.check(CancelledError):
        _log.failure("the policy of {domain} broke", failure=failure, domain=domain)
    return None, Answer.FAILED


def _log_round(failure: Failure) -> None:
    _log.failure("policies could not be refreshed", failure=failure)
