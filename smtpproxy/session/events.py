"""What happens to a session: everything that it learns comes as one of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smtpproxy.policy.knowledge import Knowledge
from smtpproxy.policy.selection import Address
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer
from smtpproxy.tls.facts import TlsFacts, TlsFailure
from smtpproxy.tls.hello import ClientHello


@dataclass(frozen=True, slots=True)
class ClientConnected:
    """The session begins."""


@dataclass(frozen=True, slots=True)
class ClientHelloSeen:
    """The client's ClientHello has come whole; its handshake waits for `StartTls`."""

    hello: ClientHello


@dataclass(frozen=True, slots=True)
class NoClientHello:
    """What the client sent cannot be understood as a ClientHello, and waits; only where any octets may pass."""

    failure: TlsFailure


@dataclass(frozen=True, slots=True)
class Received:
    """Octets came on ``leg``, decrypted if it is on TLS."""

    leg: Leg
    data: bytes


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The handshake on ``leg`` is done."""

    leg: Leg
    facts: TlsFacts


@dataclass(frozen=True, slots=True)
class TlsFailed:
    """The handshake on ``leg`` failed; its connection is closed and `Closed` does not follow."""

    leg: Leg
    failure: TlsFailure


@dataclass(frozen=True, slots=True)
class UpstreamConnected:
    """The TCP connection to upstream stands.

    Args:
        address: where it was really dialled, ``None`` where that is no matter.
        name: the mail exchanger that this address is known as.
        broken: why its TLS failed of late, ``None`` if nothing is known against it.
    """

    address: Address | None = None
    name: str | None = None
    broken: TlsFailure | None = None


@dataclass(frozen=True, slots=True)
class UpstreamFailed:
    """The TCP connection to upstream could not be had; ``reason`` is a token."""

    reason: str


@dataclass(frozen=True, slots=True)
class WriteBlocked:
    """More waits to be sent on ``leg`` than it should hold."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class WriteUnblocked:
    """``leg`` takes more again."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The deadline of ``timer`` passed."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Drain:
    """The gateway is shutting down: end as soon as no message is under way."""


@dataclass(frozen=True, slots=True)
class Expire:
    """The gateway waits no longer: end now, whatever is under way."""


@dataclass(frozen=True, slots=True)
class ClientFinished:
    """The client sends no more, and may still read; ``how`` is a token. The session closes that leg."""

    how: str


@dataclass(frozen=True, slots=True)
class UpstreamFinished:
    """Upstream sends no more, and may still read; in a tunnel only. The session closes that leg."""

    how: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection of ``leg`` has ended; ``how`` is a token (clean, reset, ...)."""

    leg: Leg
    how: str


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """A look-up has come to an end; what it could not find out stands in its answers.

    Args:
        knowledge: what is known of the domain.
        name: what the next connection to this upstream would ask for by SNI; ``None`` if nobody can tell.
    """

    knowledge: Knowledge
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Spooled:
    """So many octets more of what was to be spooled are held."""

    octets: int


@dataclass(frozen=True, slots=True)
class SpoolFailed:
    """Content cannot be held or read again; ``reason`` is a token, and it comes once."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReplayDone:
    """All spooled content was sent upstream."""


SpoolEvent: TypeAlias = Spooled | SpoolFailed | ReplayDone

Event: TypeAlias = (
    ClientConnected
    | ClientHelloSeen
    | NoClientHello
    | Received
    | Upgraded
    | TlsFailed
    | UpstreamConnected
    | UpstreamFailed
    | WriteBlocked
    | WriteUnblocked
    | TimedOut
    | SpoolEvent
    | PeerFacts
    | Drain
    | Expire
    | ClientFinished
    | UpstreamFinished
    | Closed
)
