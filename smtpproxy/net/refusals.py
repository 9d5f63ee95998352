"""Tell a client that there are too many sessions, without its connection becoming one session more."""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.model import PortKind
from smtpproxy.smtp import catalogue
from smtpproxy.transport.stream import Ending, Stream, StreamOwner

REFUSALS: Final = 50
"""Refusals that may be closing at a time; each holds a descriptor until the client has read it, 2 s at most."""


class Refusals(StreamOwner):
    """Owns the streams that are turned away, and counts them until they are gone; nothing else of them matters."""

    __slots__ = ("_closing",)

    def __init__(self) -> None:
        self._closing = 0

    def turn_away(self, kind: PortKind, stream: Stream) -> None:
        """Close a connection; on a plaintext port with a word, unless a flood of them is being told already.

        A handshake for one reply is what a flood on the other port would like us to make.
        """
        if kind is PortKind.SMTPS or self._closing >= REFUSALS:
            stream.abort()
            return
        self._closing += 1
        stream.owner = self
        stream.send(catalogue.TOO_MANY_SESSIONS.to_wire())
        stream.close()

    def stream_closed(self, _ending: Ending) -> None:
        """One has read it, or had its time."""
        self._closing -= 1

    def stream_finished(self, _ending: Ending) -> bool:
        """Nothing more is to be said."""
        return False
