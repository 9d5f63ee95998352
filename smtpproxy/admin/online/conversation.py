"""Speak SMTP with a server over a blocking socket, in clear and inside TLS.

Source: RFC 5321 s4.2 (replies); RFC 3207 s4 (nothing may come behind the 220); HAProxy's doc/proxy-protocol.txt s2.2
(LOCAL).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from OpenSSL import SSL

from smtpproxy.proxy_header.header import Local
from smtpproxy.proxy_header.version_2 import to_binary
from smtpproxy.smtp.replies import Reply, ReplyReader
from smtpproxy.tls.facts import TlsFailure, TlsReason

if TYPE_CHECKING:
    import socket

    from smtpproxy.admin.online.deadline import Deadline

_READ_OCTETS: Final = 16 * 1024


class ClosedError(ConnectionError):
    """The server closed the connection."""

    def __init__(self) -> None:
        super().__init__("the server closed the connection")


class HandshakeError(Exception):
    """The handshake did not come about.

    Args:
        cause: what raised, or why it is known to have failed.
        connection: the one that failed, for what it knows of the reason.
    """

    def __init__(self, cause: BaseException | TlsFailure, connection: SSL.Connection) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.connection = connection


class Conversation:
    """One connection's commands and replies.

    Args:
        connected: the socket, which is closed by whoever made it.
        deadline: of everything; may be changed.
    """

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self.deadline = deadline
        self._socket = connected
        self._reader = ReplyReader()
        self._tls: SSL.Connection | None = None

    @property
    def has_more(self) -> bool:
        """Whether something stands behind the last reply."""
        return self._reader.buffered > 0

    def introduce(self) -> None:
        """Say by a PROXY header that nobody else's connection comes here, as a balancer's health check does."""
        self._send(to_binary(Local()))

    def reply(self) -> Reply:
        """Return the next reply.

        Raises:
            OSError: the connection ended, or the time is over.
            ProtocolError: it is none.
            SSL.Error: TLS broke.
        """
        while (reply := self._reader.next_reply()) is None:
            self._reader.feed(self._octets())
        return reply

    def say(self, command: bytes) -> Reply:
        """Send a command, and return the reply to it; raises as `reply` does."""
        self._send(command)
        return self.reply()

    def start_tls(self, connection: SSL.Connection) -> None:
        """Do a handshake; everything after it goes through ``connection``.

        Args:
            connection: made without a socket, prepared to be the client.

        Raises:
            HandshakeError: it failed.
        """
        connection.set_connect_state()
        try:
            self._shake_hands(connection)
        except (SSL.Error, OSError) as error:
            raise HandshakeError(_broken_by(error), connection) from error
        self._tls = connection

    def end(self) -> None:
        """End our half of TLS in order: OpenSSL resumes no session of a connection that was cut off."""
        if self._tls is not None:
            self._tls.shutdown()
            self._flush(self._tls)

    def _shake_hands(self, connection: SSL.Connection) -> None:
        while True:
            try:
                connection.do_handshake()
            except SSL.WantReadError:
                self._flush(connection)
                connection.bio_write(self._receive())
            except SSL.Error:
                self._flush(connection)  # the alert
                raise
            else:
                self._flush(connection)
                return

    def _octets(self) -> bytes:
        if self._tls is None:
            return self._receive()
        while True:
            try:
                return self._tls.recv(_READ_OCTETS)
            except SSL.WantReadError:
                self._flush(self._tls)
                self._tls.bio_write(self._receive())
            except SSL.ZeroReturnError:
                raise ClosedError from None

    def _send(self, octets: bytes) -> None:
        if self._tls is None:
            self._socket.settimeout(self.deadline.remaining_s())
            self._socket.sendall(octets)
        else:
            self._tls.sendall(octets)
            self._flush(self._tls)

    def _flush(self, connection: SSL.Connection) -> None:
        while True:
            try:
                octets = connection.bio_read(_READ_OCTETS)
            except SSL.WantReadError:
                return
            self._socket.settimeout(self.deadline.remaining_s())
            self._socket.sendall(octets)

    def _receive(self) -> bytes:
        self._socket.settimeout(self.deadline.remaining_s())
        octets = self._socket.recv(_READ_OCTETS)
        if not octets:
            raise ClosedError
        return octets


def _broken_by(error: BaseException) -> BaseException | TlsFailure:
    if isinstance(error, TimeoutError):
        return TlsFailure(TlsReason.TIMED_OUT)
    if isinstance(error, OSError):
        return TlsFailure(TlsReason.CONNECTION_CLOSED, str(error.strerror or error))
    return error
