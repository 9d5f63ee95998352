"""One leg's TLS over memory: ciphertext and plaintext go in and out as octets, no descriptor is ever touched.

Source: RFC 8446 s4.6.3 (key update), s6.1 (closure alerts); RFC 5246 s7.2.1; OpenSSL's SSL_read(3), BIO_s_mem(3),
SSL_set_shutdown(3).
"""

from __future__ import annotations

import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING

from OpenSSL import SSL

from smtpproxy.transport import openssl

if TYPE_CHECKING:
    from collections.abc import Callable


class Role(Enum):
    """Which end of a handshake a stream is."""

    SERVER = auto()
    CLIENT = auto()


class TlsEngine:
    """A pyOpenSSL connection on memory BIOs.

    Attributes:
        connection: pyOpenSSL's; it holds no descriptor, so it may be kept.
        failure: what ended TLS after the handshake, ``None`` otherwise.
        finished: whether the peer has sent close_notify.
        role: which end we are.
    """

    __slots__ = ("connection", "failure", "finished", "role")

    def __init__(
        self, context: SSL.Context, role: Role, configure: Callable[[SSL.Connection], None] | None = None
    ) -> None:
        self.connection = SSL.Connection(context, None)
        self.role = role
        self.failure: SSL.Error | None = None
        self.finished = False
        self.connection.set_options(SSL.OP_NO_RENEGOTIATION)
        if role is Role.SERVER:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()
        if configure is not None:
            configure(self.connection)

    def feed(self, ciphertext: bytes | memoryview) -> None:
        """Take the peer's octets during the handshake."""
        openssl.feed(self.connection, ciphertext)

    def shake(self) -> bool:
        """Go on with the handshake; return whether it is done.

        Raises:
            SSL.Error: it failed; ``outgoing`` has the alert.
        """
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def decrypt(self, ciphertext: bytes | memoryview = b"") -> bytes:
        """Return all plaintext that can be had now; then look at ``finished`` and ``failure``."""
        plaintext, result = openssl.unprotect(self.connection, ciphertext)
        if result <= 0:
            end = openssl.error_of(self.connection, result)
            if isinstance(end, SSL.ZeroReturnError):
                self.finished = True
            else:
                self.failure = end
        return plaintext

    def encrypt(self, plaintext: bytes) -> bytes:
        """Return the records for ``plaintext``, behind all that was still to go out."""
        limit = openssl.PLAINTEXT_OCTETS
        if len(plaintext) <= limit:
            return openssl.protect(self.connection, plaintext)
        parts = [plaintext[start : start + limit] for start in range(0, len(plaintext), limit)]
        return b"".join([openssl.protect(self.connection, part) for part in parts])

    def outgoing(self) -> bytes:
        """Return all octets that are to go out, empty if there are none."""
        return openssl.take(self.connection)

    def close_notify(self) -> bytes:
        """Return the octets that end our half."""
        if self.failure is None:
            with contextlib.suppress(SSL.Error):
                self.connection.shutdown()
        return self.outgoing()

    def release(self) -> None:
        """Let a client's session be resumed however its connection ended, unless TLS itself broke.

        OpenSSL spoils the session of a connection that is freed without a closure alert, as SSL 3.0 demanded.
        """
        if self.role is Role.CLIENT and self.failure is None:
            self.connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
