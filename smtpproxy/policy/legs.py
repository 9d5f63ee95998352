"""What the legs of a session reached: the facts that mail is judged against."""

from __future__ import annotations

from dataclasses import dataclass

from smtpproxy.enums import IdentityEnum
from smtpproxy.policy.selection import Address
from smtpproxy.tls.facts import TlsFacts


class Reached(IdentityEnum):
    """What the upstream leg came to, and, where that is short of TLS, why."""

    ENCRYPTED = "encrypted"
    CLEAR = "clear"  # by plan
    NOT_OFFERED = "not-offered"
    HANDSHAKE_FAILED = "handshake-failed"
    CERTIFICATE_REFUSED = "certificate-refused"
    LEFT_TO_CLIENT = "left-to-client"  # it stays in clear: a STARTTLS of the client's own would pass


@dataclass(frozen=True, slots=True, kw_only=True)
class LegFacts:
    """Facts of both legs.

    Args:
        client: of the client leg's TLS, ``None`` in clear.
        helo: the client's EHLO name.
        reached: what the upstream leg came to.
        upstream: of its TLS, ``None`` in clear.
        address: where upstream was dialled, ``None`` where that is not known.
        learns_name: whether another connection could ask upstream for another name by SNI.
    """

    client: TlsFacts | None
    helo: bytes = b""
    reached: Reached
    upstream: TlsFacts | None = None
    address: Address | None = None
    learns_name: bool = False
