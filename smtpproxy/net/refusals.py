"""Tell a client why it is turned away, without its connection becoming one session more."""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.model import PortKind
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.replies import Reply
from smtpproxy.transport.stream import Stream

REFUSALS: Final = 50
"""Refusals that may be closing at a time; each holds a descriptor until the client has read it, 2 s at most."""


class Refusals:
    """Keeps the streams that are turned away until they are gone."""

    __slots__ = ("_closing",)

    def __init__(self) -> None:
        self._closing: list[Stream] = []

    def turn_away(self, kind: PortKind, stream: Stream, reply: Reply = catalogue.TOO_MANY_SESSIONS) -> None:
        """Close a connection; on a plaintext port with a word, unless a flood of them is being told already.

        A handshake for one reply is what a flood on the other port would like us to make.
        """
        self._closing = [each for each in self._closing if not each.gone]
        if kind is PortKind.SMTPS or len(self._closing) >= REFUSALS:
            stream.abort()
            return
        self._closing.append(stream)
        stream.send(reply.to_wire())
        stream.close()
