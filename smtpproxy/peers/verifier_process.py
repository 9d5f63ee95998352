"""Run the second verifier in a process of its own: one at a time, under a deadline, begun anew when it dies."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from OpenSSL import crypto
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.child import Child
from smtpproxy.errors import SmtpProxyError
from smtpproxy.frames import pack
from smtpproxy.peers.verifier import TRUST, VERIFY, Opinion
from smtpproxy.transport.trust import TrustStore

DEADLINE_S: Final = 5.0
"""For one chain, and the start of the process; a usual chain takes 1 ms, the start 0.2 s."""

MAX_WAITING: Final = 64
"""Chains that wait for their turn."""

LONGEST_PAUSE_S: Final = 60.0
"""Between two starts of a process that dies before it has answered anything."""

_COMMAND: Final = (sys.executable, "-P", "-m", "smtpproxy.peers.verifier")

TIMED_OUT: Final = "timed-out"
UNAVAILABLE: Final = "unavailable"
FAILURES: Final = frozenset({TIMED_OUT, UNAVAILABLE})
"""Tokens that say something of the process, and little of the chain."""

_log = Logger(namespace="smtpproxy")


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    trust: TrustStore
    chain: tuple[bytes, ...]
    answered: Deferred[Opinion] = field(default_factory=Deferred)
    tries_left: int = 1


class VerifierProcess:
    """Has chains verified; the process is begun when the first one comes.

    Args:
        reactor: Twisted's.
        command: the program and its arguments.
        deadline_s: for each chain.
    """

    def __init__(self, reactor: Any, command: Sequence[str] = _COMMAND, deadline_s: float = DEADLINE_S) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._command = tuple(command)
        self._deadline_s = deadline_s
        self._waiting: deque[_Job] = deque()
        self._job: _Job | None = None
        self._deadline: IDelayedCall | None = None
        self._run: _Run | None = None
        self._ending: set[Deferred[None]] = set()
        self._failed_starts = 0
        self._start_at_s = 0.0
        self._stopped = False

    def verify(self, trust: TrustStore, chain: tuple[bytes, ...]) -> Deferred[Opinion]:
        """Return what the verifier has against a chain; a process that fails has a token too.

        Args:
            trust: the authorities.
            chain: certificates, the leaf first.
        """
        if self._stopped or len(self._waiting) >= MAX_WAITING:
            return succeed((UNAVAILABLE, "too many chains wait" if not self._stopped else "the gateway stops"))
        job = _Job(trust, chain)
        self._waiting.append(job)
        self._next()
        return job.answered

    def stop(self) -> Deferred[None]:
        """End the process; fires when it is gone."""
        self._stopped = True
        self._kill()
        self._settle(UNAVAILABLE, "the gateway stops")
        self._give_up("the gateway stops")
        return DeferredList(list(self._ending)).addCallback(lambda _: None)

    @property
    def pid(self) -> int | None:
        """Of the process that runs."""
        return None if self._run is None else self._run.pid

    def _next(self) -> None:
        if self._job is not None or not self._waiting:
            return
        run = self._run or self._start()
        if run is None:
            self._give_up("the verifier's process does not start")
            return
        self._job = job = self._waiting.popleft()
        self._deadline = self._reactor.callLater(self._deadline_s, self._late)
        run.ask(job.trust, job.chain, self._deadline_s)

    def _start(self) -> _Run | None:
        if self._stopped or self._reactor.seconds() < self._start_at_s:
            return None
        run = _Run(self._heard, self._ended)
        search = os.pathsep.join(filter(None, sys.path))
        try:
            self._reactor.spawnProcess(run, self._command[0], self._command, env={"PYTHONPATH": search}, path=None)
        except OSError as error:
            _log.error("the second verifier cannot be started: {error}", error=error.strerror)
            self._pause()
            return None
        self._run = run
        self._ending.add(run.ended)
        run.ended.addCallback(lambda _: self._ending.discard(run.ended))
        return run

    def _pause(self) -> None:
        self._failed_starts += 1
        self._start_at_s = self._reactor.seconds() + min(2.0**self._failed_starts, LONGEST_PAUSE_S)

    def _heard(self, opinion: Opinion) -> None:
        self._failed_starts = 0
        self._settle(*opinion)
        self._next()

    def _late(self) -> None:
        self._deadline = None
        self._kill()
        self._settle(TIMED_OUT, f"no answer within {self._deadline_s:g} s")
        self._next()

    def _ended(self, run: _Run) -> None:
        if run is not self._run:
            return
        self._run = None
        _log.error("the second verifier has ended: {words}", words=run.words)
        if not run.has_answered:
            self._pause()
        self._try_again()
        self._settle(UNAVAILABLE, "the verifier's process has ended")
        self._next()

    def _try_again(self) -> None:
        """Once, with a new process: it need not be the chain that ended the old one."""
        job = self._job
        if job is not None and job.tries_left:
            self._job = None
            self._waiting.appendleft(replace(job, tries_left=job.tries_left - 1))

    def _kill(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.kill()
            if not run.has_answered:
                self._pause()

    def _settle(self, token: str, words: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        job, self._job = self._job, None
        if job is not None:
            job.answered.callback((token, words))

    def _give_up(self, words: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            job.answered.callback((UNAVAILABLE, words))


class _Run(Child):
    """The life of one process.

    Attributes:
        ended: fires when it is gone, and reaped.
    """

    def __init__(self, heard: Callable[[Opinion], None], ended: Callable[[_Run], None]) -> None:
        super().__init__()
        self.ended: Deferred[None] = Deferred()
        self._heard = heard
        self._told = ended
        self._stores: dict[TrustStore, bytes] = {}

    def ask(self, trust: TrustStore, chain: Sequence[bytes], seconds: float) -> None:
        """Send a chain, and before it the authorities if they have not been sent yet."""
        number = self._stores.get(trust)
        if number is None:
            self._stores[trust] = number = b"%d" % len(self._stores)
            self._transport.write(pack([TRUST, number, *_authorities(trust)]))
        self._transport.write(pack([VERIFY, number, b"%f" % seconds, *chain]))

    def kill(self) -> None:
        """End it at once; whatever it still says is not heard."""
        self._heard = _nobody
        super().kill()

    def outReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """For Twisted: it has answered."""
        try:
            for fields in self._reader.feed(data):
                token, words = fields
                self.has_answered = True
                self._heard((token.decode("ascii"), words.decode("utf-8", "backslashreplace")))
        except (SmtpProxyError, ValueError):
            self.complain(b"what it says is no answer")
            self.kill()

    def processEnded(self, reason: Failure) -> None:  # noqa: ARG002, N802 - Twisted's name
        """For Twisted: it is gone."""
        self.ended.callback(None)
        self._told(self)


def _nobody(_opinion: Opinion) -> None:
    """An answer that comes too late."""


def _authorities(trust: TrustStore) -> list[bytes]:
    return [crypto.dump_certificate(crypto.FILETYPE_ASN1, authority) for authority in trust.authorities]
