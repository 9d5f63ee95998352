"""What is asked: a sender, recipients, and as much of the connection as is told."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from smtpproxy.admin.tls_treatment import KNOWABLE
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.model import Policy, PortKind
from smtpproxy.policy.selection import Address, Traffic
from smtpproxy.policy.tls_action import TlsQuestion, Unknown
from smtpproxy.smtp.addresses import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A message.

    Args:
        sender: MAIL's path.
        recipients: RCPT's paths.
        port: that the client dials.
        kind: of that port.
        source: the client's address, ``None`` for any.
        destination: the address that the client dials, ``None`` for any.
        client_tls: whether the client leg is on TLS, ``None`` for both ways.
        server_name: the client's SNI on a port that begins with TLS, ``None`` for any.
    """

    sender: Path
    recipients: tuple[Path, ...]
    port: int
    kind: PortKind
    source: Address | None = None
    destination: Address | None = None
    client_tls: bool | None = None
    server_name: str | None = None

    @property
    def traffic(self) -> Traffic:
        """What a policy is selected by."""
        return Traffic(self.kind, self.source, self.destination)

    def upstream(self, policy: Policy) -> Endpoint | None:
        """Return where a policy dials for it, ``None`` if that is where the client dials and nobody told."""
        dialled = Endpoint(str(self.destination), self.port) if self.destination else None
        return policy.target(self.kind) or dialled

    def tls_question(self, policy: Policy) -> TlsQuestion:
        """Return what the exceptions of ``policy`` look at, as far as it is told."""
        target = policy.target(self.kind)
        dialled = (self.destination, address_of(target.host) if target else None)
        return TlsQuestion(tuple(each for each in dialled if each is not None), self.server_name)

    @property
    def unknown(self) -> frozenset[Unknown]:
        """What exceptions look at, and nobody told."""
        told = {Unknown.SERVER_NAME: self.server_name, Unknown.DESTINATION: self.destination}
        return frozenset(each for each in KNOWABLE[self.kind] if told[each] is None)

    @property
    def client_legs(self) -> tuple[bool, ...]:
        """The client legs to look at, by whether they are on TLS."""
        if self.kind is PortKind.SMTPS:
            return (True,)
        return (False, True) if self.client_tls is None else (self.client_tls,)


def address_of(host: str) -> Address | None:
    """Return a host's address if it is written as one."""
    try:
        return ip_address(host)
    except ValueError:
        return None
