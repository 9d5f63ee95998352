"""The embedded upstream as a Twisted service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.threads import deferToThread

from smtpproxy.embedded.server import Server, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from twisted.internet.defer import Deferred


class EmbeddedUpstream(Service):
    """A small real SMTP server: whatever it accepts stands octet for octet in a Maildir.

    It demands neither TLS nor AUTH. Port 0 takes a free port, readable while the service runs.

    Args:
        host: the address to listen on.
        smtp_port: the port that offers STARTTLS.
        smtps_port: the port that begins with TLS.
        certificate: PEM file with the chain.
        key: PEM file with the private key.
        maildir: the folder that takes the mail; made if missing.

    Raises:
        OSError: certificate or key cannot be read.
    """

    def __init__(self, host: str, smtp_port: int, smtps_port: int, certificate: Path, key: Path, maildir: Path) -> None:
        self._server = Server(Settings(host, smtp_port, smtps_port, certificate, key, maildir))

    @property
    def smtp_port(self) -> int:
        """The port that offers STARTTLS, while the service runs."""
        return self._server.smtp_port

    @property
    def smtps_port(self) -> int:
        """The port that begins with TLS, while the service runs."""
        return self._server.smtps_port

    @property
    def server(self) -> Server:
        """The server behind the service."""
        return self._server

    def succeed(self, others: Iterable[EmbeddedUpstream]) -> None:
        """When started, take over the ports that others of the same address listen on; their sessions go on."""
        self._server.succeed(other.server for other in others)

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind both ports; nothing is accepted yet.

        Raises:
            OSError: a port is taken.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._server.bind()

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Listen; connections are taken as soon as this returns.

        Raises:
            OSError: a port is taken.
        """
        self._server.start()
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Close the ports and every session; fires when the thread has ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._server.close()
        return deferToThread(self._server.join)
