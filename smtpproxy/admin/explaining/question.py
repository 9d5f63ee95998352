"""What is asked: a sender, recipients, and as much of the connection as is told."""

from __future__ import annotations

from dataclasses import dataclass

from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.model import Policy, PortKind
from smtpproxy.policy.selection import Address, Traffic
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
    """

    sender: Path
    recipients: tuple[Path, ...]
    port: int
    kind: PortKind
    source: Address | None = None
    destination: Address | None = None
    client_tls: bool | None = None

    @property
    def traffic(self) -> Traffic:
        """What a policy is selected by."""
        return Traffic(self.kind, self.source, self.destination)

    def upstream(self, policy: Policy) -> Endpoint | None:
        """Return where a policy dials for it, ``None`` if that is where the client dials and nobody told."""
        dialled = Endpoint(str(self.destination), self.port) if self.destination else None
        return policy.target(self.kind) or dialled

    @property
    def client_legs(self) -> tuple[bool, ...]:
        """The client legs to look at, by whether they are on TLS."""
        if self.kind is PortKind.SMTPS:
            return (True,)
        return (False, True) if self.client_tls is None else (self.client_tls,)
