"""Where and how a connection is cut, and which of all the cuts a sample takes.

Source: RFC 9293 s3.5.1 (reset), s3.6 (half-closed); RFC 8446 s6.1 (truncation).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from smtpproxy.session.legs import Leg

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

PATIENCE: Final = (0, 1, 2, 3, 4, 6, 9)
"""Reactor turns between the last octet and the cut: from one that overtakes the octets to one behind all answers."""
_WIRE_STEP: Final = 7  # inside a record one octet is like the next


class Kind(Enum):
    """What the cut does to the connection."""

    RESET = "reset"
    FINISH = "half-close"  # the end of TLS first, where there is TLS
    TRUNCATE = "half-close without the end of TLS"
    KILL = "kill"  # of the proxy itself


class Layer(Enum):
    """Whose octets are counted."""

    PLAINTEXT = "plaintext"
    WIRE = "wire"  # handshakes and records


@dataclass(frozen=True, slots=True)
class Fault:
    """One cut.

    Args:
        leg: the peer of which connection makes it.
        offset: behind how many octets that this peer sends.
        kind: what it does.
        turns: how many reactor turns later.
        withheld: upstream keeps back its verdict about the message of this number until the cut is made.
    """

    leg: Leg
    offset: int
    kind: Kind
    turns: int = 0
    withheld: int = 0
    layer: Layer = Layer.PLAINTEXT


@dataclass(frozen=True, slots=True)
class Reference:
    """What each peer sends in an undisturbed dialogue.

    Args:
        client: all of the client's plaintext.
        upstream: all of upstream's.
        ends: how much the client has sent when each message is whole.
        wire: how many octets each of the two had to send for it; a few more or less the next time.
        encrypted: whether it ends inside TLS.
    """

    client: bytes
    upstream: bytes
    ends: tuple[int, ...]
    wire: Mapping[Leg, int]
    encrypted: bool

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The cuts that differ here."""
        return (Kind.RESET, Kind.FINISH, Kind.TRUNCATE) if self.encrypted else (Kind.RESET, Kind.FINISH)

    def sent_on(self, leg: Leg) -> bytes:
        """Return what the peer of ``leg`` sends."""
        return self.client if leg is Leg.CLIENT else self.upstream


def interesting(octets: bytes) -> set[int]:
    """Return the offsets before, inside and behind each CRLF: the dot and every end of data are among them."""
    offsets = {0, 1, len(octets) - 1, len(octets)}
    at = octets.find(b"\r\n")
    while at >= 0:
        offsets |= {at, at + 1, at + 2}
        at = octets.find(b"\r\n", at + 2)
    return offsets


def every_fault(reference: Reference) -> Iterator[Fault]:
    """Yield each kind of cut at each offset of either peer, at once and late."""
    for leg in Leg:
        for offset in range(len(reference.sent_on(leg)) + 1):
            for kind in reference.kinds:
                yield Fault(leg, offset, kind, PATIENCE[0])
                yield Fault(leg, offset, kind, PATIENCE[-1])
    yield from beneath_tls(reference, lambda size: range(0, size, _WIRE_STEP))
    yield from in_the_window(reference, PATIENCE)


def sampled_faults(reference: Reference, others: int, chance: random.Random) -> Iterator[Fault]:
    """Yield one cut at each interesting offset of either peer and at ``others`` more, and those in the window."""
    for leg in Leg:
        octets = reference.sent_on(leg)
        chosen = interesting(octets) | {chance.randint(0, len(octets)) for _ in range(others)}
        for offset in sorted(chosen):
            yield Fault(leg, offset, chance.choice(reference.kinds), chance.choice(PATIENCE))
    yield from beneath_tls(reference, lambda size: sorted(chance.sample(range(size), others)))
    yield from in_the_window(reference, (0, 2, 9))


def beneath_tls(reference: Reference, offsets: Callable[[int], Iterable[int]]) -> Iterator[Fault]:
    """Yield cuts in the middle of handshakes and records; ``offsets`` chooses among so many."""
    if reference.encrypted:
        for leg, size in reference.wire.items():
            for offset in offsets(size):
                for kind in (Kind.RESET, Kind.TRUNCATE):
                    yield Fault(leg, offset, kind, PATIENCE[offset % len(PATIENCE)], layer=Layer.WIRE)


def in_the_window(reference: Reference, patience: Sequence[int]) -> Iterator[Fault]:
    """Yield cuts of the client's that come before the verdict about a message whose end it has sent (RFC 1047)."""
    for number, offset in enumerate(reference.ends, 1):
        for kind in reference.kinds:
            for turns in patience:
                yield Fault(Leg.CLIENT, offset, kind, turns, withheld=number)
