"""What a session wants done: the driver in `net/` carries these out in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from smtpproxy.audit import Record
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.certificates import CertificateChoice
from smtpproxy.policy.model import TlsProfile
from smtpproxy.session.legs import Leg
from smtpproxy.session.timers import Timer
from smtpproxy.tls.facts import TlsFailure


@dataclass(frozen=True, slots=True)
class Connect:
    """Open the upstream connection; an earlier one is closed already.

    Args:
        upstream: where to.
        source: the address to dial from, ``None`` for the gateway's own.
    """

    upstream: Endpoint
    source: str | None = None


@dataclass(frozen=True, slots=True)
class CollectHello:
    """Take what the client sends next for a ClientHello; ends in `ClientHelloSeen` or `TlsFailed`.

    What is none ends in `NoClientHello` if ``forgiving``, so that it may still pass.
    """

    forgiving: bool = False


@dataclass(frozen=True, slots=True)
class AcceptTls:
    """Be the TLS server of the client leg, with this certificate; ``request_certificate`` asks the client for one."""

    profile: TlsProfile
    certificate: CertificateChoice
    server_name: str | None
    request_certificate: bool = False


@dataclass(frozen=True, slots=True)
class ConnectTls:
    """Be the TLS client of the upstream leg; ``server_name`` goes out as SNI, ``None`` for none."""

    profile: TlsProfile
    server_name: str | None


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin the handshake that ``request`` asks for; its kind tells the leg."""

    request: AcceptTls | ConnectTls


@dataclass(frozen=True, slots=True)
class Send:
    """Send octets on ``leg``."""

    leg: Leg
    data: bytes


@dataclass(frozen=True, slots=True)
class Splice:
    """Octets pass from now on: a collected hello comes as `Received`, and upstream's end as `UpstreamFinished`."""


@dataclass(frozen=True, slots=True)
class EndSending:
    """Send no more on ``leg`` once all is sent, and go on reading it."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class PauseReading:
    """Stop reading ``leg``."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class ResumeReading:
    """Go on reading ``leg``."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Have `TimedOut` come in ``seconds`` unless set again before; ``None`` takes the timer away."""

    timer: Timer
    seconds: float | None


@dataclass(frozen=True, slots=True)
class SpoolWrite:
    """Hold octets of content; ends in `Spooled`, or in `SpoolFailed`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ReplaySpool:
    """Send what is held upstream, behind what was sent there before; ends in `ReplayDone`, or in `SpoolFailed`."""


@dataclass(frozen=True, slots=True)
class DiscardSpool:
    """Forget what is held; no event of it follows."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Find out about a recipient domain; ends in `PeerFacts`, soon and always.

    Args:
        domain: A-labels in lower case.
        tlsa: whether TLSA records of its mail exchangers are wanted.
        sts: whether its MTA-STS policy is wanted.
    """

    domain: str
    tlsa: bool
    sts: bool


@dataclass(frozen=True, slots=True)
class RememberBroken:
    """Keep in mind for ``seconds`` that TLS with the upstream that is, or was, connected does not come about."""

    failure: TlsFailure
    seconds: float


@dataclass(frozen=True, slots=True)
class ForgetBroken:
    """TLS with the upstream that is connected came about after all."""


@dataclass(frozen=True, slots=True)
class BlockSource:
    """Turn an address, the client's, away for ``seconds``; ``reason`` is a token."""

    address: str
    seconds: float
    reason: str


class How(Enum):
    """Flush: what was sent arrives, then the connection ends. Abort: at once, with what is unsent thrown away."""

    FLUSH = "flush"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection of ``leg``; no event of it follows."""

    leg: Leg
    how: How


@dataclass(frozen=True, slots=True)
class Audit:
    """Write a record."""

    record: Record


@dataclass(frozen=True, slots=True)
class End:
    """The session is over: both legs are closed and the last record is written."""


Action: TypeAlias = (
    Connect
    | CollectHello
    | StartTls
    | Send
    | Splice
    | EndSending
    | PauseReading
    | ResumeReading
    | SpoolWrite
    | ReplaySpool
    | DiscardSpool
    | SetTimer
    | LookUp
    | RememberBroken
    | ForgetBroken
    | BlockSource
    | Close
    | Audit
    | End
)
