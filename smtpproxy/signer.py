"""The program of the signing process: ``python -m smtpproxy.signer``, which alone opens the keys of the authorities.

Workers' orders come by a UNIX socket that listens at descriptor 3, the supervisor's words by standard input; the end of
that is the end of the process. Nothing here knows a reactor: one thread does one thing after another, each soon.

``python -m smtpproxy.signer --check FILE`` prints every mistake in the authorities of a configuration, and exits.

Source: unix(7), prctl(2) PR_SET_DUMPABLE (nobody but root may look into the memory of this process).
"""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from smtpproxy.authority.credentials import CredentialError, load_authority
from smtpproxy.authority.peer_user import user_of
from smtpproxy.authority.signing import (
    ADOPT,
    DISCARD,
    MAX_REQUEST_OCTETS,
    MISTAKES,
    PREPARE,
    PREPARED,
    PULSE,
    RESTORE,
    Signing,
)
from smtpproxy.config.authorities import KeptAuthority, load_authorities
from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.frames import FrameError, FrameReader, pack

LISTENING: Final = 3
"""The descriptor of the socket."""

MAX_CONNECTIONS: Final = 512
"""One a worker, and the last of those that have just ended; never as many as there may be descriptors."""

_OTHER_DESCRIPTORS: Final = 64

_READ_OCTETS: Final = 64 * 1024
_PR_SET_DUMPABLE: Final = 4

_Act: TypeAlias = Callable[[], None]


class Signer:
    """Waits for orders and words, and does what they say.

    Args:
        listening: where workers connect.
        words: the supervisor's, a descriptor to read from.
        answers: to them, a descriptor to write to.
    """

    def __init__(self, listening: socket.socket, words: int, answers: int) -> None:
        self._signing = Signing()
        self._listening = listening
        self._words, self._answers = words, answers
        self._reader = FrameReader()
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._limit = min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_DESCRIPTORS)
        self._ended = False

    def run(self) -> None:
        """Go on until the supervisor is gone."""
        self._listening.setblocking(False)
        self._watch(self._words, self._hear)
        self._watch(self._listening.fileno(), self._accept)
        while not self._ended:
            for key, _events in self._selector.select():
                act: _Act = key.data
                act()

    def _watch(self, descriptor: int, act: _Act) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, act)

    # The supervisor

    def _hear(self) -> None:
        octets = os.read(self._words, _READ_OCTETS)
        self._ended = not octets
        for fields in self._reader.feed(octets):
            for answer in self._obey(fields):
                os.write(self._answers, answer)

    def _obey(self, fields: Sequence[bytes]) -> Iterable[bytes]:
        match fields:
            case [kind, path] if kind == PREPARE:
                yield self._prepare(Path(os.fsdecode(path)))
            case [kind, *kept] if kind == RESTORE:
                yield self._restore(kept)
            case [kind] if kind == ADOPT:
                self._signing.adopt()
            case [kind] if kind == DISCARD:
                self._signing.discard()
            case [kind] if kind == PULSE:
                yield pack([PULSE])
            case _:
                raise FrameError("a word of an unknown kind")

    def _prepare(self, path: Path) -> bytes:
        try:
            kept = load_authorities(path)
        except ConfigurationErrors as errors:
            return pack([MISTAKES, *(str(problem).encode() for problem in errors.problems)])
        self._signing.prepare(each.credential for each in kept)
        return _prepared(kept)

    def _restore(self, fields: Sequence[bytes]) -> bytes:
        found, mistakes = [], []
        for fingerprint, certificate, key in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
            kept = _load(Path(os.fsdecode(certificate)), Path(os.fsdecode(key)), fingerprint.decode("ascii"))
            if isinstance(kept, str):
                mistakes.append(kept)
            else:
                found.append(kept)
        self._signing.prepare(each.credential for each in found)
        self._signing.adopt()
        return pack([MISTAKES, *map(str.encode, mistakes)]) if mistakes else _prepared(found)

    # Workers

    def _accept(self) -> None:
        try:
            connected, _ = self._listening.accept()
        except OSError:
            return  # it went away; or there is no descriptor for it, which every bound here is to prevent
        if len(self._connections) >= self._limit or user_of(connected) != os.geteuid():
            connected.close()
            return
        connected.setblocking(False)
        connection = _Connection(connected, self._signing, self._selector, self._connections.discard)
        self._connections.add(connection)


class _Connection:
    """One worker's; it is not read while it has not taken its answers."""

    def __init__(
        self,
        connected: socket.socket,
        signing: Signing,
        selector: selectors.BaseSelector,
        gone: Callable[[_Connection], None],
    ) -> None:
        self._socket = connected
        self._signing = signing
        self._selector = selector
        self._gone = gone
        self._reader = FrameReader(MAX_REQUEST_OCTETS)
        self._unsent = bytearray()
        selector.register(connected, selectors.EVENT_READ, self._ready)

    def _ready(self) -> None:
        try:
            if self._unsent:
                self._send()
            else:
                self._receive()
        except BlockingIOError:
            return
        except (OSError, FrameError):
            self._end()

    def _receive(self) -> None:
        octets = self._socket.recv(_READ_OCTETS)
        if not octets:
            self._end()
            return
        for fields in self._reader.feed(octets):
            self._unsent += self._signing.answer(fields, datetime.now(UTC))
        if self._unsent:
            self._send()

    def _send(self) -> None:
        with suppress(BlockingIOError):
            sent = self._socket.send(self._unsent)
            del self._unsent[:sent]
        wanted = selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ
        self._selector.modify(self._socket, wanted, self._ready)

    def _end(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()
        self._gone(self)


def _load(certificate: Path, key: Path, fingerprint: str) -> KeptAuthority | str:
    try:
        credential = load_authority(certificate, key)
    except CredentialError as error:
        return str(error)
    if credential.fingerprint != fingerprint:
        return f"{certificate}: another authority than the one in force"
    return KeptAuthority(credential, certificate, key)


def _prepared(kept: Iterable[KeptAuthority]) -> bytes:
    fields = [PREPARED]
    for each in kept:
        fields += each.credential.fingerprint.encode("ascii"), os.fsencode(each.certificate), os.fsencode(each.key)
    return pack(fields)


def harden() -> None:
    """What this process knows is in no core dump, and no other process of its user may read it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _check(path: Path) -> int:
    try:
        load_authorities(path)
    except ConfigurationErrors as errors:
        print(errors)  # noqa: T201 - for whoever asked
        return errors.status
    return 0


def main(arguments: Sequence[str]) -> None:
    """Sign until the supervisor is gone."""
    harden()
    if arguments[:1] == ["--check"]:
        sys.exit(_check(Path(arguments[1])))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the gateway, whose end is the end of the input
    Signer(socket.socket(fileno=LISTENING), sys.stdin.fileno(), sys.stdout.fileno()).run()


if __name__ == "__main__":
    main(sys.argv[1:])
