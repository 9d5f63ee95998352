"""Accept mail on two ports, STARTTLS and implicit TLS, in a thread of its own.

aiosmtpd speaks asyncio and the proxy does not: the thread keeps the two loops apart, and keeps a slow disk to itself.

Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 8314 s3.3 (implicit TLS), RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from smtpproxy.embedded.smtp import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

Address: TypeAlias = tuple[str, int]

_BACKLOG = 128
_ACCEPT_PAUSE_S = 0.1  # after a refused accept (no descriptor left), so that the loop does not spin

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is.

    Args:
        host: the address to listen on.
        smtp_port: the port that offers STARTTLS; 0 takes a free one.
        smtps_port: the port that begins with TLS; 0 takes a free one.
        certificate: PEM file with the chain.
        key: PEM file with the private key.
        maildir: the folder that takes the mail.
        name: what the server calls itself.
    """

    host: str
    smtp_port: int
    smtps_port: int
    certificate: Path
    key: Path
    maildir: Path
    name: str = "localhost"


class Server:
    """The server: ``start`` it, read its ports, ``stop`` it; it can be started again.

    Raises:
        OSError: certificate or key cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context = _tls_context(settings)
        self._listeners: tuple[socket.socket, ...] = ()
        self._running: _Running | None = None
        self._ended: _Running | None = None
        self._predecessors: tuple[Server, ...] = ()

    @property
    def smtp_port(self) -> int:
        """The port that offers STARTTLS, while the server runs."""
        return self._port(0)

    @property
    def smtps_port(self) -> int:
        """The port that begins with TLS, while the server runs."""
        return self._port(1)

    def succeed(self, others: Iterable[Server]) -> None:
        """Have ``bind`` share the ports that others listen on, and ``start`` take them over."""
        self._predecessors = tuple(others)

    def bind(self) -> None:
        """Take both ports; nothing is accepted yet.

        Raises:
            OSError: a port is taken.
        """
        shared = {address: listener for other in self._predecessors for address, listener in other.addresses.items()}
        self._listeners = _listen(self._settings, shared)

    def start(self) -> None:
        """Listen; connections are taken as soon as this returns.

        Raises:
            OSError: a port is taken.
        """
        if not self._listeners:
            self.bind()
        self._running = _Running(self._settings, self._context, self._listeners)
        predecessors, self._predecessors = self._predecessors, ()
        for other in predecessors:
            other.leave(self.addresses.keys())

    @property
    def addresses(self) -> dict[Address, socket.socket]:
        """What the server listens on, by host and port."""
        found = ((listener.getsockname()[:2], listener) for listener in self._listeners if listener.fileno() >= 0)
        return dict(found)

    def leave(self, addresses: Iterable[Address]) -> None:
        """Listen no longer on ``addresses``, which another has taken over; sessions go on."""
        left = [listener for address, listener in self.addresses.items() if address in set(addresses)]
        if self._running is not None:
            self._running.leave(left)

    def close(self) -> None:
        """Begin to close the ports and every session."""
        if self._running is not None:
            self._running.close()
        else:
            for listener in self._listeners:
                listener.close()
        self._ended, self._running, self._listeners = self._running, None, ()

    def join(self) -> None:
        """Return when the thread of a closed server has ended."""
        if self._ended is not None:
            self._ended.join()

    def stop(self) -> None:
        """Close the ports and every session, and return when the thread has ended."""
        self.close()
        self.join()

    def _port(self, index: int) -> int:
        if not self._listeners:
            raise RuntimeError("the embedded upstream is not running")
        return int(self._listeners[index].getsockname()[1])


class _Running:
    """The thread of one start, its loop and its sessions."""

    def __init__(self, settings: Settings, context: ssl.SSLContext, listeners: tuple[socket.socket, ...]) -> None:
        self._settings = settings
        self._context = context
        self._listeners = listeners
        self._sessions: set[Session] = set()
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="embedded-upstream")
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    def join(self) -> None:
        self._thread.join()

    def leave(self, listeners: Sequence[socket.socket]) -> None:
        for listener in listeners:
            self._loop.call_soon_threadsafe(self._close, listener)

    def _run(self) -> None:
        with ExitStack() as stack:
            for listener in self._listeners:
                stack.enter_context(listener)
            stack.enter_context(self._runner).run(self._serve())

    async def _serve(self) -> None:
        smtp, smtps = self._listeners
        self._watch(smtp, starttls=self._context, implicit=None)
        self._watch(smtps, starttls=None, implicit=self._context)
        await self._stopping.wait()
        for listener in self._listeners:
            self._close(listener)
        await self._end_handshakes()
        for session in tuple(self._sessions):
            session.abort()

    def _close(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.remove_reader(listener)
            listener.close()

    async def _end_handshakes(self) -> None:
        unfinished = dict(self._handshakes)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for connection in unfinished.values():
            connection.close()

    def _watch(
        self, listener: socket.socket, *, starttls: ssl.SSLContext | None, implicit: ssl.SSLContext | None
    ) -> None:
        # asyncio's own server forgets the handshakes under way when it is closed.
        def begin_session() -> Session:
            return Session(self._settings.name, self._settings.maildir, starttls, self._sessions)

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                _log.warning("embedded upstream cannot accept: %s", error.strerror)
                self._loop.remove_reader(listener)
                self._loop.call_later(_ACCEPT_PAUSE_S, watch)
                return
            task = asyncio.create_task(self._shake_hands(begin_session, connection, implicit))
            self._handshakes[task] = connection
            task.add_done_callback(self._handshakes.pop)

        def watch() -> None:
            if listener.fileno() >= 0:
                self._loop.add_reader(listener, accept)

        watch()

    async def _shake_hands(
        self, begin_session: Callable[[], Session], connection: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(begin_session, connection, ssl=context)
        except OSError:  # ssl.SSLError is one of them
            _log.info("embedded upstream: a client's handshake failed")


def _tls_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    return context


def _listen(settings: Settings, shared: Mapping[Address, socket.socket]) -> tuple[socket.socket, ...]:
    """Bind here and not in the thread, so that a port that is taken is the caller's error."""
    with ExitStack() as on_error:
        listeners = tuple(
            on_error.enter_context(_listener((settings.host, port), shared))
            for port in (settings.smtp_port, settings.smtps_port)
        )
        on_error.pop_all()
    return listeners


def _listener(address: Address, shared: Mapping[Address, socket.socket]) -> socket.socket:
    if address in shared:
        return shared[address].dup()
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener
