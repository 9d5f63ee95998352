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
from typing import TYPE_CHECKING

from smtpproxy.embedded.smtp import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    """The server: ``start`` it, read its ports, ``stop`` it; it can be started again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: tuple[socket.socket, ...] = ()
        self._running: _Running | None = None

    @property
    def smtp_port(self) -> int:
        """The port that offers STARTTLS, while the server runs."""
        return self._port(0)

    @property
    def smtps_port(self) -> int:
        """The port that begins with TLS, while the server runs."""
        return self._port(1)

    def start(self) -> None:
        """Listen; connections are taken as soon as this returns.

        Raises:
            OSError: a port is taken, or certificate or key cannot be read.
        """
        context = _tls_context(self._settings)
        self._listeners = _listen(self._settings)
        self._running = _Running(self._settings, context, self._listeners)

    def stop(self) -> None:
        """Close the ports and every session, and return when the thread has ended."""
        if self._running is None:
            return
        self._running.stop()
        self._running = None
        self._listeners = ()

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

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

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
            self._loop.remove_reader(listener)
        await self._end_handshakes()
        for session in tuple(self._sessions):
            session.abort()

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
                self._loop.call_later(_ACCEPT_PAUSE_S, self._loop.add_reader, listener, accept)
                return
            task = asyncio.create_task(self._shake_hands(begin_session, connection, implicit))
            self._handshakes[task] = connection
            task.add_done_callback(self._handshakes.pop)

        self._loop.add_reader(listener, accept)

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


def _listen(settings: Settings) -> tuple[socket.socket, ...]:
    """Bind here and not in the thread, so that a port that is taken is the caller's error."""
    with ExitStack() as on_error:
        listeners = tuple(
            on_error.enter_context(_listener(settings.host, port)) for port in (settings.smtp_port, settings.smtps_port)
        )
        on_error.pop_all()
    return listeners


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener
