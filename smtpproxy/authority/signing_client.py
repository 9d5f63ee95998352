"""Ask the signing process for leaves, over one connection that is made anew when that process is.

Source: unix(7) (SO_PEERCRED: who listens, and who connected).
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpproxy.authority import mint, signing
from smtpproxy.authority.peer_user import user_of
from smtpproxy.authority.signing import LeafOrder
from smtpproxy.errors import SmtpProxyError
from smtpproxy.frames import FrameError, FrameReader

DEADLINE_S: Final = 5.0
"""From the question to the answer: a signature takes 1 ms, half a second if the process has to be begun anew."""

MAX_ORDERS: Final = 1024
"""That wait for an answer; each is of a server that nobody spoke to lately."""

_MAX_ANSWER_OCTETS: Final = 256 * 1024

_log = Logger(namespace="smtpproxy")


class SigningError(SmtpProxyError):
    """A leaf cannot be had.

    Args:
        token: one of `mint.RESULTS`.
        message: why.
    """

    def __init__(self, token: str, message: str) -> None:
        super().__init__(message)
        self.token = token


@dataclass(slots=True, eq=False)
class _Asked:
    octets: bytes
    answered: Deferred[bytes] = field(default_factory=Deferred)
    deadline: IDelayedCall | None = None
    tries_left: int = 1


class SigningClient:
    """Asks.

    Args:
        reactor: Twisted's.
        address: of the socket that the signing process listens on; one that begins with NUL is no file's.
        results: counts what comes of orders, by token.
        deadline_s: for each.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - Twisted's reactor has many interfaces
        address: str,
        results: Counter[str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._reactor = reactor
        self._endpoint = UNIXClientEndpoint(reactor, address, timeout=deadline_s)
        self._results: Counter[str] = Counter() if results is None else results
        self._deadline_s = deadline_s
        self._waiting: deque[_Asked] = deque()
        self._sent: deque[_Asked] = deque()  # answers come in their order
        self._line: _Line | None = None
        self._connecting = False
        self._trouble_told = False

    def sign(self, order: LeafOrder) -> Deferred[bytes]:
        """Return the octets of a leaf; fails with `SigningError`."""
        try:
            asked = _Asked(order.to_wire())
        except FrameError as error:
            return fail(self._error(mint.REFUSED, str(error)))
        if len(self._waiting) + len(self._sent) >= MAX_ORDERS:
            return fail(self._error(mint.UNAVAILABLE, "too many leaves are waited for"))
        asked.deadline = self._reactor.callLater(self._deadline_s, self._late, asked)
        self._waiting.append(asked)
        self._next()
        return asked.answered

    def close(self) -> None:
        """Hang up; what is asked for meanwhile or later has it connect again."""
        if self._line is not None:
            self._line.hang_up()

    def _next(self) -> None:
        if self._line is None:
            self._connect()
            return
        while self._waiting:
            asked = self._waiting.popleft()
            self._sent.append(asked)
            self._line.send(asked.octets)

    def _connect(self) -> None:
        if self._connecting or not self._waiting:
            return
        self._connecting = True
        connected: Deferred[_Line] = self._endpoint.connect(_Calls(self._heard, self._lost))
        connected.addCallbacks(self._connected, self._not_connected)

    def _connected(self, line: _Line) -> None:
        self._connecting = False
        self._line = line
        self._next()

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = False
        waiting, self._waiting = self._waiting, deque()
        for asked in waiting:
            self._fail(asked, mint.UNAVAILABLE, f"the signing process cannot be reached: {failure.getErrorMessage()}")

    def _heard(self, fields: Sequence[bytes]) -> None:
        asked = self._sent.popleft() if self._sent else None
        match fields:
            case [kind, octets] if kind == signing.SIGNED and asked is not None:
                self._succeed(asked, octets)
            case [kind, why] if kind == signing.REFUSED and asked is not None:
                self._fail(asked, mint.REFUSED, why.decode("utf-8", "backslashreplace"))
            case _:
                if asked is not None:
                    self._sent.appendleft(asked)
                raise FrameError("what it says is no answer")

    def _lost(self) -> None:
        """What was asked last may have been heard by nobody: once more; it need not be what ended the process."""
        self._line = None
        sent, self._sent = self._sent, deque()
        for asked in reversed(sent):
            if asked.tries_left:
                asked.tries_left -= 1
                self._waiting.appendleft(asked)
            else:
                self._fail(asked, mint.UNAVAILABLE, "the signing process has hung up")
        self._next()

    def _late(self, asked: _Asked) -> None:
        asked.deadline = None
        was_sent = asked in self._sent
        (self._sent if was_sent else self._waiting).remove(asked)
        self._fail(asked, mint.TIMED_OUT, f"no leaf within {self._deadline_s:g} s")
        if was_sent and self._line is not None:
            self._line.hang_up()  # its answer would be taken for the next one's

    def _succeed(self, asked: _Asked, octets: bytes) -> None:
        self._results[mint.SIGNED] += 1
        if self._trouble_told:
            self._trouble_told = False
            _log.info("the signing process signs again")
        _stop(asked)
        asked.answered.callback(octets)

    def _fail(self, asked: _Asked, token: str, message: str) -> None:
        _stop(asked)
        asked.answered.errback(self._error(token, message))

    def _error(self, token: str, message: str) -> SigningError:
        self._results[token] += 1
        if not self._trouble_told:
            self._trouble_told = True
            _log.error("no leaf can be had, sessions that need one are refused: {message}", message=message)
        return SigningError(token, message)


def _stop(asked: _Asked) -> None:
    if asked.deadline is not None:
        asked.deadline.cancel()
        asked.deadline = None


class _Calls(Factory):
    noisy = False

    def __init__(self, heard: Callable[[Sequence[bytes]], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost

    def buildProtocol(self, _address: object) -> _Line:  # noqa: N802 - Twisted's name
        return _Line(self._heard, self._lost)


class _Line(Protocol):
    """One connection."""

    def __init__(self, heard: Callable[[Sequence[bytes]], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._told = lost
        self._reader = FrameReader(_MAX_ANSWER_OCTETS)

    @property
    def _transport(self) -> Any:  # noqa: ANN401 - Twisted's UNIX transport
        return self.transport

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """For Twisted: it stands, but with whom?"""
        if user_of(self._transport.getHandle()) != os.geteuid():
            _log.error("what listens for leaf orders is another user's")
            self.hang_up()

    def send(self, octets: bytes) -> None:
        self._transport.write(octets)

    def hang_up(self) -> None:
        self._transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """For Twisted: it has answered."""
        try:
            for fields in self._reader.feed(data):
                self._heard(fields)
        except FrameError as error:
            _log.error("the signing process is not understood: {error}", error=str(error))
            self.hang_up()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002, N802 - Twisted's name
        """For Twisted: it is gone."""
        self._told()
