"""Clients on a machine of the network: they know the server's address, and nothing of a gateway."""

from __future__ import annotations

import re
import smtplib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.integration.lab.postfix import DOMAIN

if TYPE_CHECKING:
    import ssl

    from tests.firewall.namespaces import Namespace
    from tests.integration.lab.client import Mode

TIMEOUT_S: Final = 20.0
_QUEUED: Final = re.compile(r"2\.0\.0 Ok: queued as (\w+)")


@dataclass(frozen=True)
class Client:
    """A mail client.

    Args:
        machine: where it runs.
        context: whom it trusts; it checks that the certificate is the address's that it dialled.
    """

    machine: Namespace
    context: ssl.SSLContext

    def connect(self, host: str, mode: Mode, timeout_s: float = TIMEOUT_S) -> smtplib.SMTP:
        """Return a connection that has said EHLO."""
        with self.machine.entered():
            if mode == "smtps":
                made: smtplib.SMTP = smtplib.SMTP_SSL(host, 465, "client.test", timeout=timeout_s, context=self.context)
            else:
                made = smtplib.SMTP(host, 25, "client.test", timeout=timeout_s)
        if mode == "starttls":
            made.starttls(context=self.context)
        made.ehlo()
        return made

    def deliver(self, host: str, mode: Mode, text: str = "text") -> str:
        """Send a message to a Postfix; return its queue id there."""
        with self.connect(host, mode) as connection:
            return send(connection, text)


def send(connection: smtplib.SMTP, text: str = "text") -> str:
    """Send a message; return its queue id at the Postfix that took it."""
    assert connection.mail("sender@client.test")[0] == 250
    assert connection.rcpt(f"recipient@{DOMAIN}")[0] == 250
    code, reply = connection.data(f"From: sender@client.test\r\nSubject: test\r\n\r\n{text}\r\n".encode())
    assert code == 250
    return queue_id(reply.decode())


def queue_id(reply: str) -> str:
    """Return what a Postfix names a message that it took."""
    found = _QUEUED.search(reply)
    assert found is not None, reply
    return found.group(1)
