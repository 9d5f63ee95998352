"""What supervisor and worker say to each other: JSON lines on a pair of sockets, descriptors beside them.

A line asks or tells something, or answers: ``{"ask": 7, "what": "prepare", "body": {...}, "descriptors": 1}``,
``{"answer": 7, "body": ...}``, ``{"answer": 7, "mistakes": [...]}``. Descriptors arrive no later than the line that
counts them, in order; but those that the other end has no room for are dropped by the kernel, and what was to be done
with them is refused.

Source: unix(7) SCM_RIGHTS (and its BUGS: what is over RLIMIT_NOFILE is closed); RFC 8259.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IFileDescriptorReceiver
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpproxy.errors import SmtpProxyError

MAX_LINE_OCTETS: Final = 16 * 1024 * 1024
"""The sessions of a very busy worker, half a KiB each."""

MAX_DESCRIPTORS: Final = 1024
"""That came and belong to no line yet."""

NO_ROOM: Final = "a worker has no descriptors left; try again when it has fewer sessions"

Body: TypeAlias = Any
"""What JSON can say."""

Serve: TypeAlias = Callable[[str, Body, list[int]], Any]
"""Does what is asked, and owns the descriptors: returns the answer, a Deferred or coroutine of it, or raises."""

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_log = Logger(namespace="smtpproxy")


class NoAnswer(SmtpProxyError):  # noqa: N818 - it says what is wrong
    """The other end did not answer in time."""


class Gone(NoAnswer):
    """The other end is gone."""


class Refused(SmtpProxyError):  # noqa: N818 - it says what is wrong
    """The other end cannot do what it was asked for; the text says why, one mistake a line."""


@implementer(IFileDescriptorReceiver)
class Channel(LineOnlyReceiver):
    """One end.

    Args:
        reactor: Twisted's.
        serve: does what the other end asks for.
        lost: told once when the other end is gone.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE_OCTETS

    def __init__(self, reactor: Any, serve: Serve, lost: Callable[[], None]) -> None:  # noqa: ANN401 - Twisted's
        self._reactor = reactor
        self._serve = serve
        self._lost = lost
        self._numbers = count(1)
        self._asked: dict[int, tuple[Deferred[Body], IDelayedCall]] = {}
        self._descriptors: deque[int] = deque()
        self._gone = False

    def ask(
        self, what: str, body: Body = None, *, patience_s: float, descriptors: Sequence[int] = ()
    ) -> Deferred[Body]:
        """Ask for something.

        Args:
            what: the word for it.
            body: what JSON can say.
            patience_s: how long an answer may take.
            descriptors: copied to the other end; to be kept open until it has answered.

        Returns:
            the answer; fails with `Refused`, `NoAnswer` or `Gone`.
        """
        if self._gone:
            return fail(Gone("gone"))
        number = next(self._numbers)
        answered: Deferred[Body] = Deferred()
        self._asked[number] = answered, self._reactor.callLater(patience_s, self._give_up, number, patience_s)
        self._say({"ask": number, "what": what, "body": body}, descriptors)
        return answered

    def tell(self, what: str, body: Body = None) -> None:
        """Say something that is not answered."""
        if not self._gone:
            self._say({"ask": None, "what": what, "body": body}, ())

    def close(self) -> None:
        """Hang up."""
        if not self._gone:
            self._transport.loseConnection()

    # Twisted's

    def fileDescriptorReceived(self, descriptor: int) -> None:  # noqa: N802 - Twisted's name
        """Keep a descriptor until its line is there; no program that is started later gets it."""
        os.set_inheritable(descriptor, False)
        self._descriptors.append(descriptor)
        if len(self._descriptors) > MAX_DESCRIPTORS:
            self._break_off("too many descriptors")

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take one line."""
        try:
            message = json.loads(line)
            if "answer" in message:
                self._answered(message)
            else:
                self._asked_for(message["ask"], str(message["what"]), message)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._break_off(f"a line without sense ({type(error).__name__})")

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002, N802 - Twisted's
        """Nothing that long is said."""
        self._break_off("a line too long")

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002, N802
        """Nobody is there any more."""
        self._gone = True
        self._drop_descriptors()
        asked, self._asked = self._asked, {}
        for answered, patience in asked.values():
            patience.cancel()
            answered.errback(Gone("gone"))
        self._lost()

    # Inside

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - Twisted's UNIX transport
        return self.transport

    def _say(self, message: dict[str, Body], descriptors: Sequence[int]) -> None:
        line = _encode({**message, "descriptors": len(descriptors)} if descriptors else message).encode() + b"\n"
        self._transport.write(line)
        for descriptor in descriptors:  # one goes with an octet each, and the line has more
            self._transport.sendFileDescriptor(descriptor)

    def _asked_for(self, number: int | None, what: str, message: dict[str, Body]) -> None:
        count = int(message.get("descriptors", 0))
        if count <= len(self._descriptors):
            self._do(number, what, message.get("body"), [self._descriptors.popleft() for _ in range(count)])
            return
        self._drop_descriptors()  # which of them has been lost, nobody can tell
        _log.error("{what} is refused: {why}", what=what, why=NO_ROOM)
        self._reply({"mistakes": [NO_ROOM]}, number)

    def _drop_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _do(self, number: int | None, what: str, body: Body, descriptors: list[int]) -> None:
        doing = maybeDeferred(self._serve, what, body, descriptors)
        if number is None:
            doing.addErrback(self._broke, what)
        else:
            doing.addCallback(lambda answer: {"body": answer})
            doing.addErrback(self._refusal, what)
            doing.addCallback(self._reply, number)

    def _reply(self, answer: dict[str, Body], number: int | None) -> None:
        if not self._gone and number is not None:
            self._say({"answer": number, **answer}, ())

    def _refusal(self, failure: Failure, what: str) -> dict[str, Body]:
        if failure.check(SmtpProxyError, OSError):
            return {"mistakes": mistakes_of(failure.value)}
        self._broke(failure, what)
        return {"mistakes": ["internal error"]}

    @staticmethod
    def _broke(failure: Failure, what: str) -> None:
        _log.failure("{what} broke", failure, what=what)

    def _answered(self, message: dict[str, Body]) -> None:
        answered, patience = self._asked.pop(message["answer"], (None, None))
        if answered is None or patience is None:
            return  # too late
        patience.cancel()
        if "mistakes" in message:
            answered.errback(Refused("\n".join(map(str, message["mistakes"]))))
        else:
            answered.callback(message["body"])

    def _give_up(self, number: int, patience_s: float) -> None:
        answered, _ = self._asked.pop(number)
        answered.errback(NoAnswer(f"no answer within {patience_s:g} s"))

    def _break_off(self, why: str) -> None:
        _log.error("supervisor and worker do not understand each other: {why}", why=why)
        self._transport.abortConnection()


def mistakes_of(error: BaseException | None) -> list[str]:
    """Return what is wrong, one mistake a line."""
    return [error.strerror] if isinstance(error, OSError) and error.strerror else str(error).split("\n")
