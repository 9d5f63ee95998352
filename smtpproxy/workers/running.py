"""The running gateway of several workers, as administrators see it: one gateway.

What only workers know is asked of each and merged; one that does not answer in time is told of instead of waited for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from smtpproxy import __version__
from smtpproxy.errors import SmtpProxyError
from smtpproxy.net.counters import counters_of
from smtpproxy.net.documents import Document
from smtpproxy.net.gateway import Work
from smtpproxy.net.live_sessions import written_time
from smtpproxy.net.merging import merge_sessions, merge_workers, silent_worker
from smtpproxy.net.running import Reloads, blocked_document, reload_document
from smtpproxy.workers.channel import Body
from smtpproxy.workers.counting import FleetFigures
from smtpproxy.workers.supervisor import Supervisor
from smtpproxy.workers.worker import Worker

ANSWER_S: Final = 4.0
"""A worker answers in a moment; who asks waits for us only a little longer."""

LOOK_S: Final = 0.5
"""From one look to the next whether the last session has ended."""

_log = Logger(namespace="smtpproxy")


class FleetRunning:
    """A gateway whose mail several processes handle.

    Args:
        reactor: Twisted's.
        supervisor: has them.
        figures: theirs together.
        reloads: knows the last one.
        reload: begins one.
        stop: ends the gateway in good order.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's
        supervisor: Supervisor,
        figures: FleetFigures,
        *,
        reloads: Reloads,
        reload: Callable[[], Deferred[list[str]]],
        stop: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._figures = figures
        self._reloads = reloads
        self._reload = reload
        self._stop = stop
        self._begun_s = time.time()
        self._exits = self._is_watched = False

    def status(self) -> Deferred[Document]:
        """Return how the gateway does."""
        return Deferred.fromCoroutine(self._status())

    async def _status(self) -> Document:
        answers = await self._ask("status")
        told = [self._status_of(worker, answer) for worker, answer in answers.items()]
        gone = [silent_worker(0, f"the process of slot {each} has died") for each in self._supervisor.unserved]
        return {**self._own_status(), **merge_workers([*told, *gone])}

    def _own_status(self) -> Document:
        newest, now_s = self._supervisor.newest, time.time()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "name": newest.wanted.gateway_name,
            "configuration": str(newest.wanted.file),
            "mode": newest.wanted.mode.value,
            "state": self._work.value,
            "exits_when_drained": self._exits,
            "since": written_time(self._begun_s),
            "uptime": round(now_s - self._begun_s, 3),
            "generation": {"number": newest.number, "loaded": written_time(newest.begun_s)},
            "last_reload": reload_document(self._reloads.last),
            "counters": counters_of(self._figures),
            "blocked": len(self._supervisor.blocklist),
        }

    @property
    def _work(self) -> Work:
        if not self._supervisor.running:
            return Work.STOPPING
        return Work.DRAINING if self._supervisor.is_draining else Work.RUNNING

    def _status_of(self, worker: Worker, answer: Body) -> Document:
        if answer is None:
            why = f"no answer within {ANSWER_S:g} s" if worker.serves else "it is starting"
            return silent_worker(worker.pid or 0, f"{worker.name}: {why}")
        status: Document = answer["status"]
        return status

    def sessions(self, limit: int) -> Deferred[Document]:
        """Return sessions, the oldest first; those of a worker that does not answer are left out."""
        return Deferred.fromCoroutine(self._sessions(limit))

    async def _sessions(self, limit: int) -> Document:
        answers = await self._ask("sessions", limit)
        return merge_sessions([answer or _untold(worker) for worker, answer in answers.items()], limit)

    def reload(self) -> Deferred[list[str]]:
        """Reload."""
        return self._reload()

    def drain(self, *, then_exit: bool) -> Deferred[None]:
        """Begin no new session; what was said last about the exit counts."""
        return Deferred.fromCoroutine(self._drain(then_exit=then_exit))

    async def _drain(self, *, then_exit: bool) -> None:
        self._exits = then_exit
        await self._supervisor.drain()
        if self._exits and not self._is_watched:
            self._is_watched = True
            watching = Deferred.fromCoroutine(self._leave_when_empty())
            watching.addErrback(lambda failure: _log.failure("the end of the last session was missed", failure))

    async def _leave_when_empty(self) -> None:
        while self._exits and self._work is Work.DRAINING:
            answers = await self._ask("status")
            if None not in answers.values() and not self._figures.sessions_running:
                self._stop()
                break
            await deferLater(self._reactor, LOOK_S)
        self._is_watched = False

    def resume(self) -> Deferred[list[str]]:
        """Begin sessions again."""
        return Deferred.fromCoroutine(self._resume())

    async def _resume(self) -> list[str]:
        try:
            await self._supervisor.resume()
        except SmtpProxyError as error:
            return [str(error)]
        self._exits = False
        return []

    def blocked(self) -> Deferred[list[Document]]:
        """Return every source that is turned away."""
        return Deferred.fromCoroutine(self._blocked())

    async def _blocked(self) -> list[Document]:
        now_s, entries = time.time(), self._supervisor.blocklist.entries()
        return [blocked_document(entry, now_s) for entry in sorted(entries, key=lambda entry: entry.address)]

    def block(self, address: str, seconds: float, reason: str) -> Deferred[Document]:
        """Turn a source away for a time; every worker that answers does when this is called back."""
        return Deferred.fromCoroutine(self._block(address, seconds, reason))

    async def _block(self, address: str, seconds: float, reason: str) -> Document:
        entry = self._supervisor.blocklist.block(address, seconds, reason)
        await self._ask("status")  # heard behind the block
        return blocked_document(entry, time.time())

    def lift(self, address: str) -> Deferred[bool]:
        """Turn a source away no longer."""
        return Deferred.fromCoroutine(self._lift(address))

    async def _lift(self, address: str) -> bool:
        was_blocked = self._supervisor.blocklist.lift(address)
        await self._ask("status")  # heard behind it
        return was_blocked

    async def _ask(self, what: str, body: Body = None) -> Mapping[Worker, Body]:
        """Return what each worker answers, ``None`` of one that does not."""
        asked = self._supervisor.ask_each(what, body, ANSWER_S)
        outcomes = await DeferredList(list(asked.values()), consumeErrors=True)
        answers = dict.fromkeys(self._supervisor.workers)
        for worker, (done, answer) in zip(asked, outcomes, strict=True):
            if done and worker in answers:
                answers[worker] = answer
                if what == "status":
                    worker.figures = answer["figures"]
        return answers


def _untold(worker: Worker) -> Document:
    return {"sessions": [], "left_out": worker.figures.get("levels", {}).get("running", 0)}
