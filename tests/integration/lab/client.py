"""The standard library's SMTP client in the three ways that a client can come."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Literal, TypeAlias

from tests.integration.lab.ports import HOST

if TYPE_CHECKING:
    import ssl

    from tests.integration.lab.laboratory import Server

Mode: TypeAlias = Literal["clear", "starttls", "smtps"]
MODES: tuple[Mode, ...] = ("clear", "starttls", "smtps")
_TIMEOUT_S = 30.0


def connect(gateway: Server, mode: Mode, context: ssl.SSLContext, source: str = HOST) -> smtplib.SMTP:
    """Return a client at ``source`` that has said EHLO, inside TLS where ``mode`` says so."""
    ours = (source, 0)
    if mode == "smtps":
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            HOST, gateway.smtps_port, "client.test", timeout=_TIMEOUT_S, context=context, source_address=ours
        )
    else:
        client = smtplib.SMTP(HOST, gateway.smtp_port, "client.test", timeout=_TIMEOUT_S, source_address=ours)
    if mode == "starttls":
        client.starttls(context=context)
    client.ehlo()
    return client


def begin_content(client: smtplib.SMTP) -> None:
    """Say everything that comes before a message's content."""
    client.mail("a@client.test")
    client.rcpt("b@upstream.test")
    assert client.docmd("DATA")[0] == 354


def send_stuffed(client: smtplib.SMTP, stuffed: bytes, recipient: str = "b@upstream.test") -> tuple[int, bytes]:
    """Send content exactly as it stands (smtplib's own ``data`` rewrites newlines); return the reply to its end."""
    assert client.mail("a@client.test")[0] == 250
    assert client.rcpt(recipient)[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(stuffed + b".\r\n")
    return client.getreply()
