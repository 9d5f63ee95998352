"""The content of one message on its way upstream: chunk by chunk, as the octets that came in.

Content that must not be finished is ended by closing the upstream connection without the dot: after 354 there is no
RSET (RFC 5321 s4.1.1.5). The rest of it is read to its true end, so that no octet of it is taken for a command.
"""

from __future__ import annotations

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.model import BareNewline, General
from smtpproxy.session.actions import How
from smtpproxy.session.timers import RATE_OCTETS
from smtpproxy.session.transaction import Transaction
from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.content import ContentFault, ContentReader

_FAULTS = {
    ContentFault.BARE_CR: Refuse(catalogue.BARE_CR, "bare-cr"),
    ContentFault.BARE_LF: Refuse(catalogue.BARE_NEWLINE, "bare-lf"),
}
_TOO_BIG = Refuse(catalogue.MESSAGE_TOO_BIG, "message-too-big")
_SPOKE_EARLY = Refuse(catalogue.UPSTREAM_BROKE, "reply-before-end-of-data")


class ContentFlow:
    """Streams content upstream until its end, or until it is refused.

    Attributes:
        refusal: why the message is refused, ``None`` while it is not.
    """

    __slots__ = ("_limit_octets", "_octets_seen", "_reader", "_transaction", "_upstream", "refusal")

    def __init__(self, transaction: Transaction, upstream: UpstreamLeg, general: General) -> None:
        self.refusal: Refuse | None = None
        self._transaction = transaction
        self._upstream = upstream
        self._limit_octets = general.max_message_size
        self._reader = ContentReader(bare_newline_normalize=general.bare_newline is BareNewline.NORMALIZE)
        self._octets_seen = 0

    def receive(self, data: bytes) -> bytes | None:
        """Read content; return what follows its end, or ``None`` before the end."""
        chunk = self._reader.feed(data)
        self._judge(ended=chunk.ended)
        if self.refusal is None:
            self._forward(chunk.octets, ended=chunk.ended)
        if not chunk.ended:
            return None
        self._note_end()
        return chunk.rest

    def refuse(self, refusal: Refuse) -> None:
        """Let nothing more go upstream; the first refusal stands."""
        if self.refusal is None:
            self.refusal = refusal
            self._transaction.refused(refusal)
            self._upstream.close(How.ABORT)

    def has_progressed(self) -> bool:
        """Whether content came at the least rate since this was asked last."""
        octets, self._octets_seen = self._reader.octets_in - self._octets_seen, self._reader.octets_in
        return octets >= RATE_OCTETS

    def _judge(self, *, ended: bool) -> None:
        if self._reader.fault is not None:
            self.refuse(_FAULTS[self._reader.fault])
        elif self._reader.octets_in > self._limit_octets:
            self.refuse(_TOO_BIG)
        elif ended and self._upstream.is_speaking:
            self.refuse(_SPOKE_EARLY)
        self._transaction.size_octets = self._reader.octets_in

    def _forward(self, octets: bytes, *, ended: bool) -> None:
        if ended:
            self._transaction.dot_sent = True
            self._upstream.end_content(octets)
        elif octets:
            self._upstream.content(octets)

    def _note_end(self) -> None:
        self._transaction.whole = True
        self._transaction.normalized = self._reader.normalized
