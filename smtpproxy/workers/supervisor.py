"""The supervisor: makes the slots' sockets, has a worker in each, and one decision for all; it handles no mail.

Source: socket(7) SO_REUSEPORT; Documentation/networking/ip-sysctl (tcp_migrate_req).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.errors import SmtpProxyError
from smtpproxy.net.blocklist import Blocklist
from smtpproxy.peers.sts_store import StsStore
from smtpproxy.workers.blocking import Telling, written
from smtpproxy.workers.channel import Body, NoAnswer, Refused
from smtpproxy.workers.deciding import NotDecided, prepare
from smtpproxy.workers.decision import Decision
from smtpproxy.workers.hearing import Hearing
from smtpproxy.workers.keys import KeyHolder
from smtpproxy.workers.launch import Launch, how_it_ended
from smtpproxy.workers.ports import SharedPorts
from smtpproxy.workers.shared_counts import Columns
from smtpproxy.workers.shared_policies import SharedPolicies
from smtpproxy.workers.slots import Opened, Place, Slot, place_of
from smtpproxy.workers.standing_in import StandingIn
from smtpproxy.workers.worker import BEGIN_S, Figures, Worker

ADOPT_S: Final = 10.0
"""To switch to what is loaded."""

REOPEN_S: Final = 10.0
"""To open a file."""

END_S: Final = 15.0
"""To be gone, when all sessions are."""

MAX_RETIRED: Final = 8
"""Workers of slots that were given up, whose sessions go on."""

_log = Logger(namespace="smtpproxy")


class Supervisor(Service):
    """Starts, watches, replaces and stops workers.

    Args:
        reactor: Twisted's.
        first: what they are to have at first.
        launch: how they are started.
        ports: opens and keeps the slots' sockets.
        keys: signs for workers; runs before this is started.
        policies: has the MTA-STS policies that any worker knows.

    Attributes:
        newest: what every worker has, or will have in a moment.
        is_draining: whether no worker listens.
        blocklist: who is turned away, by every worker.
        departed: told of the figures of each worker that is gone.
        all_serve: told once, when every slot is served for the first time.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's
        first: Decision,
        launch: Launch,
        ports: SharedPorts,
        keys: KeyHolder,
        policies: StsStore,
    ) -> None:
        self._reactor = reactor
        self._launch = launch
        self._ports = ports
        self._keys = keys
        self._has_keys = False
        self._has_served = False
        self._slots: list[Slot] = []
        self._retired: list[Worker] = []
        self._earlier: list[Decision] = []
        self._emptied: Deferred[None] | None = None
        self._columns = Columns()
        self._standing_in = StandingIn()
        self._policies = SharedPolicies(policies, lambda: self.workers)
        self.newest = first
        self.is_draining = False
        self.blocklist = Blocklist()
        self.blocklist.watch(Telling(lambda: self.workers))
        self._hearing = Hearing(self.blocklist, self._policies, lambda: self.workers)
        self.departed: Callable[[Figures], None] = lambda _: None
        self.all_serve: Callable[[], None] = lambda: None

    @property
    def workers(self) -> list[Worker]:
        """Every process that runs, retired ones last."""
        return [*self._in_slots, *self._retired]

    @property
    def _in_slots(self) -> list[Worker]:
        return [slot.worker for slot in self._slots if slot.worker is not None]

    @property
    def unserved(self) -> list[int]:
        """The numbers of the slots that wait for a worker."""
        return [slot.number for slot in self._slots if slot.worker is None]

    @property
    def status(self) -> str:
        """What it is at, in a few words."""
        serving = sum(worker.serves for worker in self.workers)
        sessions = sum(worker.figures.get("levels", {}).get("running", 0) for worker in self.workers)
        draining = ", draining" if self.is_draining else ""
        return f"{serving} workers, {sessions} sessions, generation {self.newest.number}{draining}"

    # The service

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind every port for every slot, before twistd gives up its privileges.

        Raises:
            ListenError: an address is not ours or a port is taken; whatever was bound is closed again.
            OSError: the same, of a part of the decision.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self.newest.bind()
        slots = [Slot(number) for number in range(1, self.newest.wanted.workers + 1)]
        Opened(slots, self.newest.wanted.binds, self._ports.open).hand_over()
        slots[0].rest = self._ports.rest(self.newest.wanted.binds)
        self._ports.keep(slots)
        self._slots = slots

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Start the workers."""
        self.newest.begin()
        super().startService()  # type: ignore[no-untyped-call]
        starting = Deferred.fromCoroutine(self._start_all())
        starting.addErrback(partial(_log.failure, "the workers could not be started"))

    async def _start_all(self) -> None:
        """Without keys, whoever needs no new leaf is served all the same."""
        try:
            await self._keys.prepare(self.newest)
        except SmtpProxyError as error:
            _log.critical("no leaf can be signed until a reload: {error}", error=str(error))
        self._keys.adopt()
        self._has_keys = True
        if not self.running:
            return
        for slot in self._slots:
            if slot.worker is None and slot.starting is None:
                self._start(slot)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Close every port, and have the workers stop as one does alone."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for slot in self._slots:
            for each in slot.keep(()):  # whoever keeps it for the next process has one of its own
                each.close()
            slot.start_no_more()
        for worker in self.workers:
            worker.tell("stop")
        await self._wait_for_workers(self.newest.wanted.drain_timeout_s + END_S)
        for decision in (*self._earlier, self.newest):
            await decision.end()
        self._columns.close()

    async def _wait_for_workers(self, seconds: float) -> None:
        if not self.workers:
            return
        self._emptied = Deferred()
        late = self._reactor.callLater(seconds, self._kill_all)
        await self._emptied
        if late.active():
            late.cancel()

    def _kill_all(self) -> None:
        for worker in self.workers:
            worker.kill("does not end")

    def expire(self) -> None:
        """Have every session end now."""
        for worker in self.workers:
            worker.tell("expire")

    async def reopen(self) -> None:
        """Have the record files of every worker opened anew.

        Raises:
            NotDecided: one cannot be opened; all have been tried.
        """
        asked = [worker.ask("reopen", patience_s=REOPEN_S) for worker in self.workers if worker.serves]
        outcomes = await DeferredList(asked, consumeErrors=True)
        failed = [str(outcome.value) for done, outcome in outcomes if not done and outcome.check(Refused)]
        if failed:
            raise NotDecided("\n".join(dict.fromkeys(failed)))

    def ask_each(self, what: str, body: Body, patience_s: float) -> dict[Worker, Deferred[Body]]:
        """Ask every worker that serves, whoever has given its slot up included."""
        return {worker: worker.ask(what, body, patience_s=patience_s) for worker in self.workers if worker.serves}

    # Draining

    async def drain(self) -> None:
        """Have no worker listen until `resume`; what waits is accepted, and every session goes on to its own end."""
        if self.is_draining or not self.running:
            return
        self.is_draining = True
        _log.info("draining: sessions go on, and no new ones begin")
        for slot in self._slots:
            self._ports.give_up(slot.keep(()), self._slots)  # first: whoever came to these copies would wait in vain
        await DeferredList([Deferred.fromCoroutine(self._have_drain(worker)) for worker in self._in_slots])

    async def _have_drain(self, worker: Worker) -> None:
        try:
            await worker.ask("drain", patience_s=ADOPT_S if worker.serves else BEGIN_S)
        except (NoAnswer, Refused) as error:
            worker.kill(f"cannot drain ({error})")

    async def resume(self) -> None:
        """Have the workers listen again.

        Raises:
            ListenError: somebody else has taken a port meanwhile; then nothing has changed.
        """
        if not self.is_draining or not self.running:
            return
        opened = Opened(self._slots, self.newest.wanted.binds, self._ports.open)
        opened.hand_over()
        self._ports.keep(self._slots)
        self.is_draining = False
        _log.info("no longer draining")
        served = [(slot, slot.worker) for slot in self._slots if slot.worker is not None]
        resuming = [self._have(worker, "resume", slot, opened.places(slot)) for slot, worker in served]
        await DeferredList([Deferred.fromCoroutine(each) for each in resuming])
        self._standing_in.renew(self._slots)

    # A slot and its worker

    def _start(self, slot: Slot) -> None:
        slot.starting = None
        try:
            worker, policies = self._started(slot)
        except OSError as error:
            _log.error("worker {number} cannot be started: {error}", number=slot.number, error=error.strerror)
            self._start_later(slot, slot.pause_s(0.0))
            return
        slot.worker = worker
        sockets = [*sorted(slot.sockets.items()), *slot.rest]
        body = {
            "number": self.newest.number,
            "column": worker.column,
            "places": [place for place, _ in sockets],
            "signing": self._keys.address,
            "draining": self.is_draining,
            "blocked": [written(entry) for entry in self.blocklist.entries()],
        }
        given = [self.newest.descriptor, self._columns.descriptor, policies]
        worker.begin(body, [*given, *(each.fileno() for _, each in sockets)])
        worker.has_begun().addCallback(lambda _: self._begun(slot)).addBoth(lambda _: os.close(policies))

    def _started(self, slot: Slot) -> tuple[Worker, int]:
        """Start a process, and return it with the policies that it begins with."""
        policies = self._policies.sealed()
        try:
            return self._process(slot), policies
        except OSError:
            os.close(policies)
            raise

    def _process(self, slot: Slot) -> Worker:
        worker = Worker(
            self._reactor,
            f"worker {slot.number}",
            self._launch,
            column=self._columns.take(),
            serve=self._hearing.hear,
            pulse=self._pulsed,
            ended=partial(self._ended, slot),
        )
        try:
            worker.start()
        except OSError:
            self._columns.give_back(worker.column)
            raise
        return worker

    def _begun(self, slot: Slot) -> None:
        """What is left of an earlier process is served by now, or died with the worker."""
        rest, slot.rest = slot.rest, []
        self._ports.give_up((each for _, each in rest), self._slots)
        self._stand_in()
        if not self._has_served and all(each.worker and each.worker.serves for each in self._slots):
            self._has_served = True
            self.all_serve()

    def _stand_in(self) -> None:
        """While the gateway starts, nobody stands in for a worker that is just starting too."""
        slots = [slot for slot in self._slots if self._has_served or slot.has_died or slot.is_served]
        self._standing_in.arrange(slots)

    def _start_later(self, slot: Slot, pause_s: float) -> None:
        self._stand_in()
        if pause_s:
            standing_in = self._standing_in.of(slot)
            meanwhile = f"; {standing_in.name} takes its connections" if standing_in else ""
            _log.error(
                "worker {number} is started again in {seconds:g} s{meanwhile}",
                number=slot.number,
                seconds=pause_s,
                meanwhile=meanwhile,
            )
        slot.starting = self._reactor.callLater(pause_s, self._start, slot)

    def _ended(self, slot: Slot, worker: Worker, reason: Failure) -> None:
        self._columns.give_back(worker.column)
        self.departed(worker.figures)
        if worker in self._retired:
            self._retired.remove(worker)
        else:
            slot.worker = None
            if self.running:
                _log.error("{name} has died: {why}; it is replaced", name=worker.name, why=how_it_ended(reason))
                self._start_later(slot, slot.pause_s(self._reactor.seconds() - worker.started_s))
        self._end_earlier()
        if self._emptied is not None and not self.workers:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def _pulsed(self) -> None:
        self._end_earlier()

    def _end_earlier(self) -> None:
        """End what stood beside sessions that are all over."""
        oldest = min((worker.figures.get("oldest", 0) for worker in self.workers), default=self.newest.number)
        for decision in [each for each in self._earlier if each.number < oldest]:
            self._earlier.remove(decision)
            Deferred.fromCoroutine(decision.end()).addErrback(partial(_log.failure, "a decision did not end well"))

    # A new decision

    async def adopt(self, decision: Decision) -> None:
        """Have every worker go over to a decision, or none; who is in the way of it begins anew.

        Raises:
            NotDecided: a worker cannot, for this reason; nothing has changed, and the decision is to be ended.
            ListenError: a port cannot be had.
            OSError: the same, of a part of the decision.
        """
        if not self._has_keys:
            raise NotDecided("the gateway is still starting; reload again")
        slots = self._slots_for(decision.wanted.workers)
        await self._keys.prepare(decision)
        try:
            prepared, opened = await self._prepare(slots, decision)
        except Exception:
            self._keys.discard()
            raise
        self._decide(decision)
        self._keys.adopt()
        await self._switch(slots, opened, prepared)
        _log.info(
            "reloaded: {policies} policies, generation {number}, {workers} workers",
            policies=decision.wanted.policies,
            number=decision.number,
            workers=len(slots),
        )

    async def _prepare(self, slots: Sequence[Slot], decision: Decision) -> tuple[list[Worker], Opened]:
        prepared = await prepare([slot.worker for slot in self._slots if slot.worker is not None], decision)
        try:
            return prepared, self._open(slots, decision)
        except Exception:
            for worker in prepared:
                worker.tell("discard")
            raise

    def _slots_for(self, count: int) -> list[Slot]:
        further = [Slot(number) for number in range(len(self._slots) + 1, count + 1)]
        return [*self._slots[:count], *further]

    def _open(self, slots: Sequence[Slot], decision: Decision) -> Opened:
        if not self.running:
            raise NotDecided("the gateway is stopping")
        opened = Opened(slots, () if self.is_draining else decision.wanted.binds, self._ports.open)
        try:
            decision.bind()
        except Exception:
            opened.close()
            raise
        return opened

    def _decide(self, decision: Decision) -> None:
        before, self.newest = self.newest, decision
        decision.number = before.number + 1
        decision.begin()
        before.forget()
        self._earlier.append(before)

    async def _switch(self, slots: list[Slot], opened: Opened, prepared: Sequence[Worker]) -> None:
        given_up, self._slots = self._slots[len(slots) :], slots
        opened.hand_over()
        places = set() if self.is_draining else {place_of(bind) for bind in self.newest.wanted.binds}
        for slot in slots:
            self._ports.give_up(slot.keep(places), slots)
        self._ports.keep(slots)
        for slot in given_up:
            self._retire(slot)
        switching = [Deferred.fromCoroutine(self._switch_one(slot, opened, prepared)) for slot in slots]
        await DeferredList(switching, consumeErrors=True)
        self._standing_in.renew(self._slots)

    async def _switch_one(self, slot: Slot, opened: Opened, prepared: Sequence[Worker]) -> None:
        worker = slot.worker
        if worker is None:
            if slot.starting is None:
                self._start(slot)
        elif worker in prepared:
            await self._have(worker, "adopt", slot, opened.places(slot))
        else:
            worker.kill("has not what was decided")

    async def _have(self, worker: Worker, what: str, slot: Slot, places: Sequence[Place]) -> None:
        """Have a worker do what it needs new sockets of its slot for."""
        body = {"number": self.newest.number, "places": places}
        descriptors = [slot.sockets[place].fileno() for place in places]
        try:
            patience_s = ADOPT_S if worker.serves else BEGIN_S
            await worker.ask(what, body, patience_s=patience_s, descriptors=descriptors)
        except (NoAnswer, Refused) as error:
            worker.kill(f"cannot {what} ({error})")

    def _retire(self, slot: Slot) -> None:
        """Give a slot up: what waits there is accepted, and its sessions run to their end."""
        slot.start_no_more()
        self._ports.give_up(slot.keep(()), self._slots)
        worker, slot.worker = slot.worker, None
        if worker is None:
            return
        _log.info("{name} is given up, its sessions go on", name=worker.name)
        self._retired.append(worker)
        worker.tell("retire")
        if len(self._retired) > MAX_RETIRED:
            self._retired[0].tell("stop")
