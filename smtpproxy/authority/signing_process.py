"""Run the signing process for the supervisor: begun, watched, told what to load, and begun anew when it dies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.authority.signing import (
    ADOPT,
    DISCARD,
    EARLIER_SETS,
    MISTAKES,
    PREPARE,
    PREPARED,
    PULSE,
    RESTORE,
)
from smtpproxy.child import Child
from smtpproxy.errors import SmtpProxyError
from smtpproxy.frames import FrameError, pack

DEADLINE_S: Final = 30.0
"""For the start of the process, and two keys to be loaded; usually half a second."""

BEAT_S: Final = 2.0
"""From one question whether it still answers to the next, while nothing else is asked."""

SILENCE_S: Final = 20.0
"""What does not answer for so long hangs. The question waits behind the leaves that all workers want just then, of 5 ms
each at the worst."""

STEADY_S: Final = 10.0
"""A process that lived for so long is replaced at once."""

LONGEST_PAUSE_S: Final = 30.0
"""Between two starts of a process that does not."""

BACKLOG: Final = 1024

COMMAND: Final = (sys.executable, "-P", "-m", "smtpproxy.signer")

Kept: TypeAlias = tuple[bytes, ...]
"""Of each authority its fingerprint, certificate file and key file, as the process says and takes them."""

_log = Logger(namespace="smtpproxy")


class SigningProcessError(SmtpProxyError):
    """Authorities cannot be used; the text says why, one mistake a line."""


def open_signing_socket() -> socket.socket:
    """Return a socket that listens for workers, in no folder: its address is one of the kernel's choice (unix(7))."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind("")
    listening.listen(BACKLOG)
    return listening


def address_of(listening: socket.socket) -> str:
    """Return what workers connect to."""
    address = listening.getsockname()
    return os.fsdecode(address) if isinstance(address, bytes) else str(address)


def check_keys(configuration_file: Path, command: Sequence[str] = COMMAND) -> None:
    """Have a process of its own try the authorities of a configuration; blocks for half a second.

    Raises:
        SigningProcessError: every mistake.
        OSError: the process cannot be started.
    """
    tried = subprocess.run(  # noqa: S603 - our own program
        [*command, "--check", str(configuration_file)],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )
    if tried.returncode:
        raise SigningProcessError((tried.stdout or tried.stderr).decode("utf-8", "backslashreplace").strip())


@dataclass(slots=True, eq=False)
class _Word:
    octets: bytes
    answered: Deferred[Kept] = field(default_factory=Deferred)


class SigningProcess(Service):
    """Has the process while it runs itself, and keeps its listening socket meanwhile.

    Args:
        reactor: Twisted's.
        listening: where workers connect, see `open_signing_socket`; owned by whoever made it.
        command: the program and its arguments.
        silence_s: how long it may not answer.

    Attributes:
        starts: how often the process was begun.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's
        listening: socket.socket,
        command: Sequence[str] = COMMAND,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._reactor = reactor
        self._silence_s = silence_s
        self._listening = listening
        self._command = tuple(command)
        self._kept: deque[Kept] = deque(maxlen=EARLIER_SETS + 1)
        self._prepared: Kept | None = None
        self._preparing: _Word | None = None
        self._run: _Run | None = None
        self._failed_starts = 0
        self._start_later: IDelayedCall | None = None
        self.starts = 0

    @property
    def address(self) -> str:
        """What workers connect to."""
        return address_of(self._listening)

    @property
    def pid(self) -> int | None:
        """Of the process that runs."""
        return None if self._run is None else self._run.pid

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin the process.

        What workers see as the user of the socket is who listened last, and privileges may have been given up since.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._listening.listen(BACKLOG)
        self._start()

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """End it; fires when it is gone."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._start_later is not None:
            self._start_later.cancel()
            self._start_later = None
        self._refuse("the gateway stops")
        return succeed(None) if self._run is None else self._run.end()

    def prepare(self, configuration_file: Path, expected: Sequence[str]) -> Deferred[None]:
        """Load the authorities of a configuration beside those in force; they sign at once, if asked.

        One at a time: what was prepared before is forgotten.

        Args:
            configuration_file: absolute.
            expected: the fingerprints of the authorities' certificates, as whoever will ask for them has loaded them.

        Returns:
            fires when they are there; fails with `SigningProcessError`, and then nothing is prepared.
        """
        if not self.running:
            return fail(SigningProcessError("the signing process does not run"))
        self._refuse("another configuration is to be loaded")
        self._prepared = None
        self._preparing = word = _Word(pack([PREPARE, os.fsencode(configuration_file)]))
        if self._run is not None:
            self._ask(self._run, word)
        return word.answered.addCallback(self._compare, tuple(expected))

    def adopt(self) -> None:
        """Keep what was prepared."""
        if self._prepared is not None:
            self._kept.append(self._prepared)
            self._prepared = None
            self._tell(ADOPT)

    def discard(self) -> None:
        """Forget what was prepared."""
        self._prepared = None
        self._tell(DISCARD)

    def _compare(self, kept: Kept, expected: tuple[str, ...]) -> None:
        """The files may have changed between the two times that they were read."""
        if tuple(each.decode("ascii") for each in kept[::3]) != expected:
            self.discard()
            raise SigningProcessError("the authorities' certificates have changed while they were loaded; reload again")
        self._prepared = kept

    # The process

    def _start(self) -> None:
        self._start_later = None
        run = _Run(self._reactor, self._ended)
        descriptors = {0: "w", 1: "r", 2: "r", 3: self._listening.fileno()}
        try:
            self._reactor.spawnProcess(
                run, self._command[0], self._command, env=_environment(), path=None, childFDs=descriptors
            )
        except OSError as error:
            _log.error("the signing process cannot be started: {error}", error=error.strerror)
            self._start_again()
            return
        self._run = run
        self.starts += 1
        self._bring_up_to_date(run)
        run.watch(self._silence_s)

    def _bring_up_to_date(self, run: _Run) -> None:
        for kept in self._kept:
            run.say(pack([RESTORE, *kept]), self._restored)
        if self._preparing is not None:
            self._ask(run, self._preparing)
        elif self._prepared is not None:
            run.say(pack([RESTORE, *self._prepared]), self._restored)

    @staticmethod
    def _restored(fields: Sequence[bytes]) -> None:
        if fields[0] == MISTAKES:
            _log.error(
                "the signing process lacks a key that is in force, reload: {mistakes}", mistakes=_lines(fields[1:])
            )

    def _ask(self, run: _Run, word: _Word) -> None:
        run.say(word.octets, partial(self._heard, word))

    def _heard(self, word: _Word, fields: Sequence[bytes]) -> None:
        if word is not self._preparing:
            return  # nobody waits for it any more
        self._preparing = None
        if fields[0] == PREPARED:
            word.answered.callback(tuple(fields[1:]))
        else:
            word.answered.errback(SigningProcessError(_lines(fields[1:])))

    def _tell(self, kind: bytes) -> None:
        if self._run is not None:
            self._run.say(pack([kind]))

    def _refuse(self, words: str) -> None:
        word, self._preparing = self._preparing, None
        if word is not None:
            word.answered.errback(SigningProcessError(words))

    def _ended(self, run: _Run) -> None:
        self._run = None
        if not self.running:
            return
        _log.error("the signing process has ended: {words}", words=run.words)
        if not run.has_answered:
            self._refuse(f"the signing process has ended: {run.words}")
        if self._reactor.seconds() - run.began_s > STEADY_S:
            self._failed_starts = 0
        self._start_again()

    def _start_again(self) -> None:
        """At once, and ever later while it does not last."""
        pause_s = min(2.0**self._failed_starts - 1, LONGEST_PAUSE_S)
        self._failed_starts += 1
        self._start_later = self._reactor.callLater(pause_s, self._start)


class _Run(Child):
    """The life of one process.

    Attributes:
        began_s: when it was begun, by the reactor's clock.
    """

    def __init__(self, reactor: Any, ended: Callable[[_Run], None]) -> None:  # noqa: ANN401
        super().__init__()
        self.began_s: float = reactor.seconds()
        self._reactor = reactor
        self._told = ended
        self._waiting: deque[tuple[Callable[[Sequence[bytes]], None], IDelayedCall]] = deque()
        self._beat: IDelayedCall | None = None
        self._gone: Deferred[None] = Deferred()
        self._killing: IDelayedCall | None = None

    def say(
        self, octets: bytes, heard: Callable[[Sequence[bytes]], None] | None = None, within_s: float = DEADLINE_S
    ) -> None:
        """Send a word; ``heard`` is given its answer, if it has one."""
        self._transport.write(octets)
        if heard is not None:
            self._waiting.append((heard, self._reactor.callLater(within_s, self._late)))

    def watch(self, silence_s: float) -> None:
        """Have it answer from time to time, or end; its start may take longer, and has a deadline of its own."""
        if self.has_answered and not self._waiting:
            self.say(pack([PULSE]), lambda _: None, silence_s)
        self._beat = self._reactor.callLater(BEAT_S, self.watch, silence_s)

    def end(self) -> Deferred[None]:
        """Let it end; fires when it is gone."""
        self._watch_no_more()
        self._transport.loseConnection()
        self._killing = self._reactor.callLater(DEADLINE_S, self.kill)
        return self._gone

    def outReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """For Twisted: it has answered."""
        try:
            for fields in self._reader.feed(data):
                self.has_answered = True
                heard, deadline = self._waiting.popleft()
                deadline.cancel()
                heard(fields)
        except (FrameError, IndexError):
            self.complain(b"what it says is no answer")
            self.kill()

    def processEnded(self, reason: Failure) -> None:  # noqa: ARG002, N802 - Twisted's name
        """For Twisted: it is gone."""
        self._watch_no_more()
        for _heard, deadline in self._waiting:
            if deadline.active():
                deadline.cancel()
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        self._told(self)
        self._gone.callback(None)

    def _watch_no_more(self) -> None:
        if self._beat is not None and self._beat.active():
            self._beat.cancel()

    def _late(self) -> None:
        self.complain(b"no answer in time")
        self.kill()


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _lines(octets: Sequence[bytes]) -> str:
    return "\n".join(each.decode("utf-8", "backslashreplace") for each in octets)
