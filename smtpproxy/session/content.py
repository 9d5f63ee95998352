"""The content of one message: what comes in, what of it may pass, and why not.

Source: RFC 5321 s4.1.1.4 (the dot is sent once or never), s4.5.3.1.7 and RFC 1870 s6.3 (size).
"""

from __future__ import annotations

from typing import Final

from smtpproxy.policy.decision import Refuse
from smtpproxy.session.actions import How
from smtpproxy.session.intake import Intake, Taken
from smtpproxy.session.passage import Passage
from smtpproxy.session.timers import RATE_OCTETS
from smtpproxy.session.transaction import Transaction
from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.smtp import catalogue

TOO_BIG: Final = Refuse(catalogue.MESSAGE_TOO_BIG, "message-too-big")
SPOKE_EARLY: Final = Refuse(catalogue.UPSTREAM_BROKE, "reply-before-end-of-data")


class Content:
    """Lets content pass until its end, or until it is refused.

    Attributes:
        refusal: why the message is refused, ``None`` while it is not.
        passage: where content goes.
    """

    __slots__ = ("_intake", "_limit_octets", "_octets_seen", "_transaction", "_upstream", "passage", "refusal")

    def __init__(
        self, transaction: Transaction, upstream: UpstreamLeg, intake: Intake, passage: Passage, limit_octets: int
    ) -> None:
        self.refusal: Refuse | None = None
        self.passage = passage
        self._transaction = transaction
        self._upstream = upstream
        self._intake = intake
        self._limit_octets = limit_octets
        self._octets_seen = 0

    def receive(self, data: bytes) -> Taken:
        """Read content; the result tells whether its end, or that of a chunk, was met and what follows it."""
        taken = self._intake.take(data)
        self._judge(ended=taken.ended)
        if self.refusal is None and taken.octets:
            self.passage.take(taken.octets)
        return taken

    def end(self) -> None:
        """The content is whole."""
        transaction = self._transaction
        transaction.whole = True
        transaction.normalized = self._intake.normalized
        if self.refusal is None:
            self.passage.end()

    def refuse(self, refusal: Refuse) -> None:
        """Let nothing more go upstream; the first refusal stands."""
        if self.refusal is None:
            self.refusal = refusal
            self._transaction.refused(refusal)
            if self.passage.is_begun:
                self._upstream.close(How.ABORT)
            self.passage.abandon()

    def close(self) -> None:
        """Nothing follows: the message was judged, or is given up."""
        if self.refusal is None:
            self.passage.abandon()

    @property
    def is_faulty(self) -> bool:
        """Whether it is of a form that no honest client makes by mistake only once."""
        return self._intake.fault is not None

    def has_progressed(self) -> bool:
        """Whether content came at the least rate since this was asked last."""
        octets, self._octets_seen = self._intake.octets_in - self._octets_seen, self._intake.octets_in
        return octets >= RATE_OCTETS

    def _judge(self, *, ended: bool) -> None:
        octets = self._transaction.size_octets = self._intake.octets_in
        if self._intake.fault is not None:
            self.refuse(self._intake.fault)
        elif octets > self._limit_octets:
            self.refuse(TOO_BIG)
        elif ended and self._upstream.speaks_early:
            self.refuse(SPOKE_EARLY)
