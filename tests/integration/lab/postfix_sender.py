"""Postfix as the sender in front of the proxy, with its caches of TLS sessions and of connections."""

from __future__ import annotations

import re
import smtplib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.integration.lab.ports import HOST, free_ports, wait_until
from tests.integration.lab.postfix_instance import HERE, Place, PostfixInstance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.lab.client import Mode

_MAIN_CF: Final = """\
myhostname = sender.client.test
mydestination =
mynetworks = 127.0.0.0/8
relayhost = [{relay}]:{port}
smtp_tls_security_level = {level}
smtp_tls_wrappermode = {wrapped}
smtp_tls_secure_cert_match = {name}
smtp_tls_servername = {name}
smtp_tls_CAfile = {{root}}/config/trusted.pem
smtp_tls_session_cache_database = {{cache}}:{{root}}/data/smtp_scache
smtp_tls_connection_reuse = {reuse}
smtp_tls_loglevel = 1
smtp_connection_cache_destinations = {reused}
smtp_destination_recipient_limit = 1000
smtp_discard_ehlo_keywords = {discarded}
minimal_backoff_time = {backoff_s}s
"""

_MASTER_CF: Final = """\
{{host}}:{port} inet n - n - - smtpd
smtp unix - - n - - smtp {options}
relay unix - - n - - smtp {options}
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
"""

_LEVELS: Final[dict[Mode, str]] = {"clear": "none", "starttls": "secure", "smtps": "secure"}
_QUEUED: Final = re.compile(r"2\.0\.0 Ok: queued as (\w+)")


@dataclass(frozen=True)
class Relay:
    """Where a sender's mail goes.

    Args:
        port: where it listens.
        mode: in clear, by STARTTLS or by implicit TLS; both verified.
        trusted: whom the certificate is to come from.
        name: what it is to bear; sent as SNI.
        discarded: keywords of the relay's EHLO reply that are ignored.
        reuse: whether connections are kept for the next message.
        verbose: whether the whole dialogue is logged.
        host: its address.
        backoff_s: how long a message waits that could not be sent, at least.
    """

    port: int
    mode: Mode
    trusted: bytes
    name: str
    discarded: str = ""
    reuse: bool = False
    verbose: bool = False
    host: str = HOST
    backoff_s: int = 300


class PostfixSender(PostfixInstance):
    """Takes mail from its machine and sends it to one relay."""

    def __init__(self, relay: Relay, place: Place = HERE) -> None:
        (self.smtp_port,) = free_ports(1)
        main = _MAIN_CF.format(
            relay=relay.host,
            port=relay.port,
            backoff_s=relay.backoff_s,
            name=relay.name,
            level=_LEVELS[relay.mode],
            wrapped="yes" if relay.mode == "smtps" else "no",
            reuse="yes" if relay.reuse else "no",
            reused="static:all" if relay.reuse else "",
            discarded=relay.discarded,
        )
        master = _MASTER_CF.format(port=self.smtp_port, options="-v" if relay.verbose else "")
        super().__init__(main, master, {"trusted.pem": relay.trusted}, self.smtp_port, place)

    def send(self, recipients: Sequence[str], message: bytes, *options: str) -> str:
        """Hand in a message, with parameters of MAIL; return its queue id here."""
        with self._place.entered(), smtplib.SMTP(HOST, self.smtp_port, "client.test", timeout=30) as client:
            assert client.ehlo()[0] == 250
            assert client.mail("sender@client.test", options)[0] == 250
            for recipient in recipients:
                assert client.rcpt(recipient)[0] == 250
            code, reply = client.data(message)
        assert code == 250
        return _queue_id(reply.decode())

    def sent(self, queue_id: str) -> list[str]:
        """Return, once nothing of the message is left, its log lines that tell what became of each recipient."""
        wait_until(lambda: f"{queue_id}: removed" in self.log, f"Postfix has sent {queue_id}\n{self.log}")
        return [line for line in self.log.splitlines() if f" {queue_id}: to=<" in line]


def _queue_id(reply: str) -> str:
    found = _QUEUED.search(reply)
    assert found is not None, reply
    return found.group(1)
