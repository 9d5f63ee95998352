"""Listen on the control socket; whoever may not ask, or comes when too many do, is told so and left.

Source: unix(7) SO_PEERCRED.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from smtpproxy.admin.control.conversation import Conversation
from smtpproxy.admin.control.dispatch import Running
from smtpproxy.admin.control.protocol import Code, RequestError, error_line
from smtpproxy.admin.control.socket_file import SocketFile, listen_at
from smtpproxy.authority.peer_user import user_of

CONNECTIONS: Final = 16
"""At a time: a few administrators, and what watches over the gateway."""

FLUSH_S: Final = 2.0
"""How long a stop waits for answers to be taken."""

_PAUSE_S: Final = 1.0

_log = Logger(namespace="smtpproxy")


class ControlServer(Service):
    """Listens and answers.

    Args:
        reactor: Twisted's.
        path: where the socket is made.
        running: carries requests out.
    """

    def __init__(self, reactor: Any, path: Path, running: Running) -> None:  # noqa: ANN401 - Twisted's
        self._reactor = reactor
        self._path = path
        self._running = running
        self._file: SocketFile | None = None
        self._door: _Door | None = None
        self._open: set[Conversation] = set()
        self._emptied: Deferred[None] | None = None

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Make the socket, before twistd gives up its privileges.

        Raises:
            OSError: it cannot be made.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._file = listen_at(self._path)
        _log.info("control socket at {path}", path=str(self._path))

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Serve."""
        if self._file is None:
            self.privilegedStartService()
        if self._file is not None:
            self._door = _Door(self._reactor, self._file.listening, self._accept)
            self._door.startReading()  # type: ignore[no-untyped-call]
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Remove the socket; close every connection behind the answer that is being made."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._door is not None:
            self._door.close()
        if self._file is not None:
            self._file.close()
        for each in list(self._open):
            each.end()
        if self._open:
            await self._wait_for_the_end()

    async def _wait_for_the_end(self) -> None:
        self._emptied = Deferred()
        deadline = self._reactor.callLater(FLUSH_S, self._abort)
        await self._emptied
        if deadline.active():
            deadline.cancel()

    def _abort(self) -> None:
        for each in list(self._open):
            each.abort()

    def _ended(self, conversation: Conversation) -> None:
        self._open.discard(conversation)
        if self._emptied is not None and not self._open:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def _accept(self, accepted: socket.socket) -> None:
        refusal = self._refusal(accepted) or self._take(accepted)
        if refusal is not None:
            with suppress(OSError):
                accepted.send(error_line(refusal), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _take(self, accepted: socket.socket) -> RequestError | None:
        """Begin a conversation, which needs a descriptor more; return why that cannot be."""
        try:
            self._reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, _Factory(self._converse))
        except OSError as error:
            _log.warn("control: a connection is refused: {error}", error=error.strerror)
            return RequestError(Code.BUSY, f"the gateway cannot take a connection ({error.strerror}); try again")
        return None

    def _refusal(self, accepted: socket.socket) -> RequestError | None:
        user = user_of(accepted)
        if user not in {0, os.geteuid()}:
            _log.warn("control: user {user} may not ask", user=user)
            return RequestError(Code.PERMISSION, "only root and the gateway's own user may ask")
        if len(self._open) >= CONNECTIONS:
            return RequestError(Code.BUSY, f"{CONNECTIONS} connections are open already; try again")
        return None

    def _converse(self) -> Conversation:
        conversation = Conversation(self._reactor, self._running, self._ended)
        self._open.add(conversation)
        return conversation


class _Factory(Factory):
    """Stands where Twisted wants a factory."""

    noisy = False

    def __init__(self, make: Any) -> None:  # noqa: ANN401
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Conversation:  # noqa: ARG002, N802 - Twisted's
        conversation: Conversation = self._make()
        return conversation


@implementer(IReadDescriptor)
class _Door(FileDescriptor):
    """Accepts."""

    def __init__(self, reactor: Any, listening: socket.socket, accept: Any) -> None:  # noqa: ANN401
        super().__init__(reactor)
        self._clock = reactor
        self._listening = listening
        self._accept = accept
        self._again: Any = None

    def fileno(self) -> int:
        return self._listening.fileno()

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        try:
            accepted, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptors: the connection waits, and so does this
            _log.warn("control: a connection waits: {error}", error=error.strerror)
            self.stopReading()  # type: ignore[no-untyped-call]
            self._again = self._clock.callLater(_PAUSE_S, self.startReading)
            return
        with accepted:
            accepted.setblocking(False)
            self._accept(accepted)

    def close(self) -> None:
        """Accept no more."""
        if self._again is not None and self._again.active():
            self._again.cancel()
        self.stopReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:  # noqa: ANN401, N802 - Twisted's, after an exception
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.close()
