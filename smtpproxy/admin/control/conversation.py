"""One connection to the control socket: a line is heard, carried out and answered before the next one is heard.

Whatever the other end does, little is kept of it: a line has a bound, an answer is made only when the one before it was
taken, and who says nothing or reads nothing for a while is left.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpproxy.admin.control.dispatch import Running, carry_out
from smtpproxy.admin.control.protocol import (
    MAX_REQUEST_OCTETS,
    Code,
    Request,
    RequestError,
    answer_line,
    error_line,
    parse_request,
)

IDLE_LIMIT_S: Final = 60.0
"""Without a request, or with an answer that is not taken; longer than anybody lets `top` wait between two looks."""

_TOO_LONG: Final = RequestError(Code.MALFORMED, f"a line has at most {MAX_REQUEST_OCTETS} octets")
_FAILED: Final = "the gateway failed at this; its log tells more"

_log = Logger(namespace="smtpproxy")


class _State(Enum):
    HEARING = auto()
    AT_WORK = auto()  # on a request
    AT_LAST_WORK = auto()  # the connection is closed behind the answer
    LEFT = auto()  # closing, or closed


@implementer(IPushProducer)
class Conversation(Protocol):
    """Hears requests.

    Args:
        reactor: Twisted's.
        running: carries them out.
        on_end: called once, when the connection is gone.
    """

    transport: Any  # Twisted's; its interface lacks some of its methods

    def __init__(self, reactor: Any, running: Running, on_end: Callable[[Conversation], None]) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._running = running
        self._on_end = on_end
        self._state = _State.HEARING
        self._is_full = False  # an answer has not been taken
        self._buffer = b""
        self._idle: Any = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Be told when the other end does not read."""
        self.transport.registerProducer(self, True)
        self._wait()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take octets."""
        self._buffer += data
        self._hear()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802 - Twisted's
        """Forget all."""
        self._state = _State.LEFT
        self._buffer = b""
        self._stop_waiting()
        self._on_end(self)

    def end(self) -> None:
        """Close, behind the answer that is being made."""
        if self._state is _State.HEARING:
            self._leave()
        elif self._state is _State.AT_WORK:
            self._state = _State.AT_LAST_WORK

    def abort(self) -> None:
        """Close at once."""
        self._state = _State.LEFT
        self.transport.abortConnection()

    # The producer: whoever does not read answers is not asked for the next request

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The answer has not been taken."""
        self._is_full = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """It has been."""
        self._is_full = False
        self._hear()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is gone."""

    # Requests

    def _hear(self) -> None:
        while self._state is _State.HEARING and not self._is_full:
            line, end, rest = self._buffer.partition(b"\n")
            if len(line) >= MAX_REQUEST_OCTETS:
                self._send(error_line(_TOO_LONG))
                self._leave()
            elif not end:
                self.transport.resumeProducing()
                return
            else:
                self._buffer = rest
                self._take(line)
        if self._state is not _State.LEFT:
            self.transport.pauseProducing()

    def _take(self, line: bytes) -> None:
        try:
            request = parse_request(line)
        except RequestError as error:
            self._send(error_line(error))
            return
        self._state = _State.AT_WORK
        self._stop_waiting()
        answering = Deferred.fromCoroutine(self._answer(request))
        if not answering.called:
            answering.addCallback(lambda _: self._hear())

    async def _answer(self, request: Request) -> None:
        try:
            octets = answer_line(request, await carry_out(request, self._running))
        except RequestError as error:
            octets = error_line(error)
        except Exception:  # noqa: BLE001 - an edge: whatever fails, the administrator is told, and the gateway goes on
            _log.failure("control: {command} failed", command=request.command)
            octets = error_line(RequestError(Code.INTERNAL, _FAILED, request.id))
        if self._state is _State.LEFT:
            return
        self._send(octets)
        if self._state is _State.AT_LAST_WORK:
            self._leave()
        else:
            self._state = _State.HEARING

    def _send(self, octets: bytes) -> None:
        self._wait()
        self.transport.write(octets)

    def _leave(self) -> None:
        self._state = _State.LEFT
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    # Time

    def _wait(self) -> None:
        self._stop_waiting()
        self._idle = self._reactor.callLater(IDLE_LIMIT_S, self.abort)

    def _stop_waiting(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
