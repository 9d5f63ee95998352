"""One session of the embedded upstream: aiosmtpd's dialogue, our limits, our store.

Source: RFC 5321 s4.5.3.1 (limits are minimums), RFC 1870 (SIZE), RFC 2034 (enhanced status codes in replies).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiosmtpd.smtp import SMTP

from smtpproxy.embedded.maildir import deliver

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from aiosmtpd.smtp import Envelope

MESSAGE_LIMIT_OCTETS = 64 * 1024 * 1024  # above the 50 MB that a proxy action passes by default
LINE_LIMIT_OCTETS = 1024 * 1024  # RFC 5321 s4.5.3.1.6 asks for 1000; what the proxy passes must arrive

_log = logging.getLogger(__name__)
logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd's own log has commands and content in it


class Session(SMTP):
    """A client's connection.

    Args:
        name: what the server calls itself.
        maildir: the folder that takes the mail.
        starttls: the context for STARTTLS, ``None`` where TLS came first.
        sessions: where the session enters itself while it is connected.
    """

    line_length_limit = LINE_LIMIT_OCTETS

    def __init__(self, name: str, maildir: Path, starttls: ssl.SSLContext | None, sessions: set[Session]) -> None:
        super().__init__(
            _Store(maildir),
            data_size_limit=MESSAGE_LIMIT_OCTETS,
            enable_SMTPUTF8=True,
            hostname=name,
            ident="ESMTP smtpproxy embedded upstream",
            tls_context=starttls,
            loop=asyncio.get_running_loop(),
        )
        self._sessions = sessions

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or begin anew after STARTTLS."""
        super().connection_made(transport)
        self._sessions.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the session."""
        self._sessions.discard(self)
        super().connection_lost(error)

    def abort(self) -> None:
        """Close at once: TLS's own closure would wait for a peer that may never answer."""
        transport = self._original_transport or self.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


class _Store:
    """What aiosmtpd asks on the way of a message."""

    def __init__(self, maildir: Path) -> None:
        self._maildir = maildir

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: object, _envelope: Envelope, name: str, replies: list[str]
    ) -> list[str]:
        session.host_name = name  # type: ignore[attr-defined]
        return [line for line in replies if not line.startswith("250-AUTH")]  # nobody is known here

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.original_content or b""
        try:
            name = deliver(self._maildir, content)
        except OSError as error:
            _log.error("embedded upstream cannot store a message: %s", error.strerror)
            return "451 4.3.0 The message could not be stored"
        _log.info("embedded upstream stored %s, %d octets", name, len(content))
        return f"250 2.0.0 Ok: stored as {name}"

    async def handle_exception(self, error: Exception) -> str:
        _log.warning("embedded upstream: %s", type(error).__name__)
        return "451 4.3.0 Internal error"
