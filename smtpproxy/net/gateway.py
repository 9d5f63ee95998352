"""The gateway: accept, select the policy, admit, and give each session its driver, by the newest generation."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from smtpproxy.audit import Incident, Origin
from smtpproxy.counts import Counts, OwnCounts
from smtpproxy.endpoint import Endpoint
from smtpproxy.net.admission import LIMITS, Admission
from smtpproxy.net.arrival import Arrival, arrive
from smtpproxy.net.balancers import HEADER_FAULTS, Balancers
from smtpproxy.net.driver import Driver
from smtpproxy.net.generation import Generation
from smtpproxy.net.listeners import Binding, Listeners, Source
from smtpproxy.net.listening import ListenError
from smtpproxy.net.loops import MOMENT_S
from smtpproxy.net.refusals import Refusals
from smtpproxy.net.waiting import Waiting
from smtpproxy.policy.model import InterceptionMode, Policy, PortKind, SourceAddress
from smtpproxy.policy.selection import plain_address, select_policy
from smtpproxy.session.session import Session
from smtpproxy.session.terms import Circumstances, Ends, Terms
from smtpproxy.smtp import catalogue
from smtpproxy.transport.stream import Stream

EARLIER_GENERATIONS = 8
"""Earlier generations that may still have sessions: each has trust and caches of its own, 2 to 100 MiB."""

NO_POLICY = "no-policy"
BLOCKED = "blocked"
LOOP = "loop"

_log = Logger(namespace="smtpproxy")


class Work(Enum):
    """What a gateway is at."""

    RUNNING = "running"
    DRAINING = "draining"  # it listens nowhere, and its sessions go on
    STOPPING = "stopping"


class Gateway(Service):
    """Listens and runs sessions.

    Args:
        reactor: Twisted's.
        first: the generation to begin with.
        source: has sockets that listen already.
        counts: those of all processes of the gateway.

    Attributes:
        sessions_begun: sessions that were begun.
        turned_away: connections that became no session, by the token of the reason.
        work: what it is at.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's
        first: Generation,
        source: Source | None = None,
        counts: Counts | None = None,
    ) -> None:
        counts = OwnCounts() if counts is None else counts
        self._reactor = reactor
        self._generations = [first]  # the last is the newest
        self._listeners = Listeners(reactor, self._accept, source)
        self._own_ports: frozenset[int] = frozenset()
        self._admission = Admission(counts)
        self._refusals = Refusals()
        self._emptied: list[Deferred[None]] = []
        self.work = Work.RUNNING
        self.sessions_begun = 0
        self.turned_away: Counter[str] = Counter(dict.fromkeys((BLOCKED, NO_POLICY, LOOP, *LIMITS, *HEADER_FAULTS), 0))
        self._balancers = Balancers(reactor, self._take, self.turned_away, counts)

    @property
    def addresses(self) -> dict[Binding, tuple[str, int]]:
        """Where each binding really listens."""
        return self._listeners.addresses

    @property
    def newest(self) -> Generation:
        """The generation that takes every connection which is accepted now."""
        return self._generations[-1]

    @property
    def oldest(self) -> Generation:
        """The earliest that still has sessions, or the newest."""
        return self._generations[0]

    @property
    def generations(self) -> tuple[Generation, ...]:
        """Those that have sessions or will have them, the oldest first."""
        return tuple(self._generations)

    @property
    def sessions_running(self) -> int:
        """How many sessions there are, of all generations."""
        return sum(len(generation.sessions) for generation in self._generations)

    @property
    def status(self) -> str:
        """What it is at, in a few words."""
        draining = ", draining" if self.work is Work.DRAINING else ""
        return f"{self.sessions_running} sessions, generation {self.newest.number}{draining}"

    # The service

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind every port, before twistd gives up its privileges; nothing is accepted until the reactor runs.

        Raises:
            ListenError: an address is not ours or a port is taken; whatever was bound is closed again.
            OSError: the same, of a part of the generation.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self.newest.bind()
        self._listen(self.newest)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Serve."""
        self.newest.begin()
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Stop listening, end idle sessions, let messages under way end, then close."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.work = Work.STOPPING
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        closing = DeferredList(self._listeners.close())
        self._balancers.drop_all()
        for generation in list(self._generations):
            generation.drain()
        if self.sessions_running:
            await self._wait_for_sessions(self.newest.drain_timeout_s)
        await closing
        await self.newest.end()

    async def _wait_for_sessions(self, seconds: float) -> None:
        _log.info("stopping: {count} sessions have {seconds:g} s to end", count=self.sessions_running, seconds=seconds)
        deadline = self._reactor.callLater(seconds, self.expire)
        await self.when_empty()
        if deadline.active():
            deadline.cancel()

    def when_empty(self) -> Deferred[None]:
        """Return what is called back as soon as there is no session."""
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        self._tell_if_empty()
        return emptied

    def _tell_if_empty(self) -> None:
        if self._emptied and not self.sessions_running:
            emptied, self._emptied = self._emptied, []
            for each in emptied:
                each.callback(None)

    def drain(self) -> None:
        """Listen nowhere until `resume`; whoever has connected is served, and every session goes on to its own end."""
        if self.work is Work.RUNNING:
            self.work = Work.DRAINING
            _log.info("draining: {count} sessions go on, and no new ones begin", count=self.sessions_running)
            self._listen(self.newest)

    def resume(self) -> None:
        """Listen again.

        Raises:
            ListenError: somebody else has taken a port meanwhile; then nothing has changed.
        """
        if self.work is Work.DRAINING:
            self.work = Work.RUNNING
            try:
                self._listen(self.newest)
            except ListenError:
                self.work = Work.DRAINING
                raise
            _log.info("no longer draining")

    def stand_in(self, number: int, sockets: Iterable[tuple[tuple[str, int], socket.socket]]) -> None:
        """Accept from the sockets of another process too, as `Listeners.stand_in` does."""
        self._listeners.stand_in(number, sockets)

    def stand_down(self, number: int) -> None:
        """Accept from them no longer."""
        self._listeners.stand_down(number)

    def expire(self) -> None:
        """Have every session end now, whatever it is at; each is on record."""
        if self.sessions_running:
            _log.warn("{count} sessions are ended", count=self.sessions_running)
        for generation in list(self._generations):
            generation.expire()

    async def retire(self) -> None:
        """Accept what waits, listen no longer, and return when every session has run to its end."""
        await DeferredList(self._listeners.close_when_empty())
        if self.sessions_running:
            _log.info("given up: {count} sessions run to their end", count=self.sessions_running)
            await self.when_empty()

    # A new generation

    def adopt(self, generation: Generation) -> None:
        """Let a generation take every connection from now on; sessions that run keep theirs.

        Raises:
            ListenError: a port cannot be had; then nothing has changed, and the generation is to be ended.
            OSError: the same, of a part of the generation.
        """
        before = self._switch(generation)
        _log.info(
            "reloaded: {policies} policies, generation {number}, {sessions} sessions of earlier generations go on",
            policies=len(generation.policies),
            number=generation.number,
            sessions=self.sessions_running,
        )
        self._settle(before)

    def follow(self, generation: Generation) -> None:
        """Adopt a generation as ``adopt`` does; whoever has others do the same tells of it once."""
        self._settle(self._switch(generation))

    def _switch(self, generation: Generation) -> Generation:
        generation.bind()
        self._listen(generation)
        generation.begin()
        before = self.newest
        generation.number = before.number + 1
        self._generations.append(generation)
        return before

    def _settle(self, before: Generation) -> None:
        self._end_if_over(before)
        if len(self._generations) > EARLIER_GENERATIONS + 1:
            self._make_room(self._generations[0])

    def _listen(self, generation: Generation) -> None:
        self._listeners.change(() if self.work is Work.DRAINING else generation.binds)
        self._own_ports = frozenset(port for _host, port in self.addresses.values())

    def _make_room(self, oldest: Generation) -> None:
        _log.warn(
            "too many generations have sessions: {count} of generation {number} end when their message has",
            count=len(oldest.sessions),
            number=oldest.number,
        )
        oldest.drain()

    def _end_if_over(self, generation: Generation) -> None:
        if generation is self.newest or generation.sessions:
            return
        self._generations.remove(generation)
        _log.info("generation {number} has ended", number=generation.number)
        Deferred.fromCoroutine(generation.end()).addErrback(partial(_log.failure, "a generation did not end well"))

    # A connection

    def _accept(self, kind: PortKind, stream: Stream) -> None:
        newest = self.newest
        if newest.mode is InterceptionMode.PROXY_PROTOCOL:
            self._balancers.receive(kind, stream, newest.trusted_balancers)
        else:
            self._take(kind, arrive(stream, newest.mode))

    def _take(self, kind: PortKind, arrival: Arrival) -> None:
        """Take a connection; a moment later, if it may be one that another worker is just making."""
        if self.newest.equipment.loops.is_unsure(arrival.destination):
            Waiting(self._reactor, arrival.stream, MOMENT_S, partial(self._take_late, kind, arrival))
        else:
            self._take_now(kind, arrival)

    def _take_late(self, kind: PortKind, arrival: Arrival) -> None:
        if self.work is Work.STOPPING:
            arrival.stream.abort()
        else:
            self._take_now(kind, arrival)

    def _take_now(self, kind: PortKind, arrival: Arrival) -> None:
        if self.newest.equipment.blocklist.is_blocked(arrival.client.host):
            self.turned_away[BLOCKED] += 1  # told when it was blocked, not each time
            arrival.stream.abort()
            return
        source, destination = plain_address(arrival.client.host), plain_address(arrival.destination.host)
        policy = select_policy(self.newest.policies, source, destination, kind)
        if policy is None:
            self._refuse(arrival)
        elif self._is_loop(policy, arrival):
            self._break_loop(policy, kind, arrival)
        else:
            self._admit(policy, kind, arrival)

    def _refuse(self, arrival: Arrival) -> None:
        """A balancer that only looks whether anybody is there has its answer, and gives no alarm."""
        if not arrival.is_unnamed:
            self.turned_away[NO_POLICY] += 1
            _log.warn("no policy takes {source} to {to}", source=arrival.client.host, to=str(arrival.destination))
        arrival.stream.abort()

    def _admit(self, policy: Policy, kind: PortKind, arrival: Arrival) -> None:
        source = arrival.client.host
        token = self._admission.admit(policy.action, source)
        if token is None:
            self._begin(policy, kind, arrival)
        else:
            self.turned_away[token] += 1
            _log.warn("{token}: {source}, policy {policy}", token=token, source=source, policy=policy.name)
            self._refusals.turn_away(kind, arrival.stream)

    def _is_loop(self, policy: Policy, arrival: Arrival) -> bool:
        """Whether the gateway itself has dialled, or would dial itself."""
        loops = self.newest.equipment.loops
        if loops.made(arrival.client, arrival.destination):
            return True
        to_itself = policy.upstream is None and arrival.destination.port in self._own_ports
        return to_itself and loops.is_here(arrival.destination.host)

    def _break_loop(self, policy: Policy, kind: PortKind, arrival: Arrival) -> None:
        self.turned_away[LOOP] += 1
        equipment, terms = self.newest.equipment, self.newest.terms(policy, kind)
        if equipment.loops.is_news(arrival.destination):
            origin = _origin(equipment.reference(), terms, _ends(terms, arrival), arrival.balancer)
            equipment.write(Incident(origin, "client", LOOP))
        self._refusals.turn_away(kind, arrival.stream, catalogue.LOOP)

    def _begin(self, policy: Policy, kind: PortKind, arrival: Arrival) -> None:
        generation, source = self.newest, arrival.client.host
        terms, equipment = generation.terms(policy, kind), generation.equipment
        ends = _ends(terms, arrival)
        origin = _origin(equipment.reference(), terms, ends, arrival.balancer)
        session = Session(terms, Circumstances(origin, time.monotonic, time.time, ends, plain_address(source)))
        driver = Driver(session, arrival.stream, origin, equipment, partial(self._ended, generation, policy, source))
        generation.sessions.add(driver)
        self.sessions_begun += 1
        driver.start()

    def _ended(self, generation: Generation, policy: Policy, source: str, driver: Driver) -> None:
        generation.sessions.discard(driver)
        self._admission.release(policy.action, source)
        self._end_if_over(generation)
        self._tell_if_empty()


def _ends(terms: Terms, arrival: Arrival) -> Ends:
    policy = terms.policy
    source = arrival.client.host if policy.source_address is SourceAddress.CLIENT else None
    upstream = policy.target(terms.kind) or arrival.destination
    return Ends(arrival.client, arrival.destination, upstream, source, arrival.tlvs)


def _origin(session: str, terms: Terms, ends: Ends, balancer: Endpoint | None) -> Origin:
    policy = terms.policy
    return Origin(
        session=session,
        policy=policy.name,
        proxy_action=policy.action.name,
        direction=policy.direction.value,
        port=terms.kind.value,
        client=str(ends.client),
        destination=str(ends.destination),
        upstream=str(ends.upstream),
        balancer=str(balancer) if balancer else None,
    )
