"""DATA and BDAT: content on its way, and upstream's verdict about it.

Source: RFC 5321 s4.1.1.4 (DATA), s4.3.2 (replies); RFC 2920 s3.1 (354 without a recipient); RFC 3030 s2, s3 (BDAT).

Upstream's own replies go to the client, above all its own 250: the proxy owns no message.
"""

from __future__ import annotations

from typing import Final

from smtpproxy.errors import ProtocolError
from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.messages import Need
from smtpproxy.session.content import TOO_BIG, Content
from smtpproxy.session.exchange import Exchange
from smtpproxy.session.held import Held, HeldChunks, HeldData
from smtpproxy.session.intake import ChunkIntake, DataIntake, Intake, Taken
from smtpproxy.session.mailing import Mailing
from smtpproxy.session.passage import Passage, StraightChunks, StraightData
from smtpproxy.session.ruling import Ruling
from smtpproxy.session.states import ClientState, ClientStep
from smtpproxy.session.timers import Timer
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.commands import Bdat, Data, Relayed, Rset, Verb
from smtpproxy.smtp.replies import Reply

_BEHIND_DATA: Final = "octets-behind-refused-data"
_BINARY: Final = b"BINARYMIME"
_NO_RECIPIENTS: Final = Refuse(catalogue.NO_VALID_RECIPIENTS, "no-valid-recipients")
_OUT_OF_ORDER: Final = Refuse(catalogue.OUT_OF_ORDER, "out-of-order")


class Delivery:
    """The content of a transaction, from DATA or the first BDAT to the verdict.

    Attributes:
        content: the one under way, ``None`` otherwise.
    """

    __slots__ = ("_chunks", "_exchange", "_general", "_last_chunk", "_mailing", "_may_hold", "_thrown_away", "content")

    def __init__(self, exchange: Exchange, mailing: Mailing) -> None:
        self.content: Content | None = None
        self._exchange = exchange
        self._mailing = mailing
        self._general = exchange.terms.policy.action.general
        self._may_hold = exchange.terms.need is not Need.NOTHING
        self._chunks = ChunkIntake()
        self._last_chunk = True  # of DATA there is one only
        self._thrown_away = False  # upstream's verdict is about nothing, and nobody waits for it

    # DATA

    @property
    def streams(self) -> bool:
        """Whether nothing but size and newlines can refuse the content, so that DATA may go out with its group."""
        return not self._may_hold and self._mailing.under_way.mail.body != _BINARY

    def data(self, command: Data) -> None:
        """Send DATA upstream, or take the content here if rules must see it first."""
        if self._mailing.under_way.mail.body == _BINARY:
            self._refuse_binary()
        elif ruling := self._ruling():
            held = HeldData(self._exchange, self._mailing.under_way, ruling, self._refuse)
            self._begin_data(held, catalogue.START_CONTENT)
        else:
            self._exchange.forward(command)

    def _refuse_binary(self) -> None:
        if self._exchange.client.reader.buffered:
            self._exchange.attack(catalogue.BINARY_NEEDS_BDAT, _BEHIND_DATA)
        else:
            self._exchange.refuse(catalogue.BINARY_NEEDS_BDAT, "data-for-binary")

    def _ruling(self) -> Ruling | None:
        """Return who must see the content before upstream does, ``None`` if nobody asks about this message's."""
        ruling = self._mailing.ruling() if self._may_hold else None
        return None if ruling is None or ruling.need is Need.NOTHING else ruling

    def data_replied(self, reply: Reply) -> None:
        """Begin the content if upstream takes it."""
        transaction = self._mailing.under_way
        if not reply.is_intermediate:
            transaction.reply = reply
            self._refuse_data(reply)
        elif transaction.accepted:
            self._begin_data(StraightData(self._exchange.upstream), reply)
        else:
            self._send_nothing()

    def _refuse_data(self, reply: Reply) -> None:
        if self._exchange.client.reader.buffered:  # content that did not wait for 354 is no command
            self._exchange.attack(reply, _BEHIND_DATA)
        else:
            self._exchange.relay(reply)
            self._exchange.rest()

    def _send_nothing(self) -> None:
        """Upstream waits for content of a message for nobody: it gets none, and the client is not asked for any."""
        self._thrown_away = True
        self._exchange.upstream.end_content()
        self._mailing.under_way.refused(_NO_RECIPIENTS)
        self._mailing.end()
        self._exchange.client.step(ClientStep.REFUSED)
        self._refuse_data(catalogue.NO_VALID_RECIPIENTS)

    def _begin_data(self, passage: Passage, reply: Reply) -> None:
        exchange = self._exchange
        exchange.client.step(Verb.DATA)
        self._last_chunk = True
        self.content = self._make_content(DataIntake(self._general), passage)
        exchange.relay(reply)
        exchange.rest()
        if early := exchange.client.reader.take_rest():
            self.received(early)

    def _make_content(self, intake: Intake, passage: Passage) -> Content:
        limit = self._general.max_message_size
        return Content(self._mailing.under_way, self._exchange.upstream, intake, passage, limit)

    # BDAT

    def refuse_chunk(self, command: Bdat) -> Refuse | None:
        """Return why a chunk is not taken here, whose octets are then read and dropped; ``None`` if it is."""
        client = self._exchange.client
        if not client.offered.offers("CHUNKING"):
            return None  # `bdat` closes: what is not offered is not understood
        if not client.allows(Verb.BDAT):
            return _NO_RECIPIENTS if client.state is ClientState.SENDER else _OUT_OF_ORDER
        octets_in = 0 if self.content is None else self._chunks.octets_in
        if octets_in + command.size > self._general.max_message_size:
            self._give_up_chunks(TOO_BIG)
            return TOO_BIG
        return None

    def bdat(self, command: Bdat) -> None:
        """Begin a chunk."""
        exchange = self._exchange
        if not exchange.client.offered.offers("CHUNKING"):  # octets follow, which must never be taken for commands
            exchange.attack(catalogue.NOT_IMPLEMENTED, "bdat-not-offered")
            return
        exchange.client.step(Verb.BDAT)
        if self.content is None:
            self._chunks = ChunkIntake()
            self.content = self._make_content(self._chunks, self._chunk_passage())
        self._chunks.expect(command.size)
        self._last_chunk = command.last
        exchange.rest()  # before upstream is asked: the chunk has a window of its own
        self.content.passage.begin_chunk(command)
        early = exchange.client.reader.take_rest()
        if early or not command.size:
            self.received(early)

    def _chunk_passage(self) -> Passage:
        if ruling := self._ruling():
            return HeldChunks(self._exchange, self._mailing.under_way, ruling, self._refuse, self._chunks)
        return StraightChunks(self._exchange.upstream)

    def chunk_replied(self, reply: Reply) -> None:
        """Pass on what upstream says to a chunk that was not the last; a refusal ends the message."""
        if not reply.is_positive:
            self._mailing.under_way.reply = reply
            self._forget_chunks()
        self._exchange.relay(reply)

    def _give_up_chunks(self, refusal: Refuse) -> None:
        self._mailing.under_way.refused(refusal)
        self._forget_chunks()

    def _forget_chunks(self) -> None:
        """Between chunks RSET takes back what upstream has."""
        self._exchange.client.settle()
        self._exchange.client.step(ClientStep.REFUSED)
        self.end()
        self._exchange.upstream.command(Rset(), own=True)

    # Content

    def received(self, data: bytes) -> None:
        """Read content; behind its end the client's commands go on."""
        if self.content is None:
            return
        taken = self.content.receive(data)
        if taken.ended:
            self._ended(self.content, taken)

    def _ended(self, content: Content, taken: Taken) -> None:
        client = self._exchange.client
        answered_here = False
        if self._last_chunk:
            client.step(ClientStep.END_OF_DATA)
            content.end()
            self._note_dot()
        else:
            client.step(ClientStep.END_OF_CHUNK)
            answered_here = content.refusal is None and not content.passage.end_chunk()
        client.reader.feed(taken.rest)
        if content.refusal is not None:
            self._answer_refusal(content.refusal)
        elif answered_here:
            self._exchange.answer(catalogue.CHUNK_TAKEN)

    def _answer_refusal(self, refusal: Refuse) -> None:
        """Go on with the session if upstream has nothing that only closing could take back."""
        exchange = self._exchange
        faulty = self.content is not None and self.content.is_faulty
        if faulty or not exchange.upstream.is_open:
            exchange.finish(refusal.reply, refusal.because)
            return
        exchange.client.step(ClientStep.ANSWERED if self._last_chunk else ClientStep.REFUSED)
        exchange.client.reply(refusal.reply)
        self.end()
        exchange.upstream.command(Rset(), own=True)  # its reply leaves the next move to the client

    def is_progressing(self) -> bool:
        """Whether content came at the least rate since this was asked last."""
        return self.content is not None and self.content.has_progressed()

    def refuse_content(self, refusal: Refuse) -> None:
        """Let nothing more of the content go upstream; the client hears why at its own end of data, not before."""
        self._refuse(refusal)
        self._answer_late()

    def _refuse(self, refusal: Refuse) -> None:
        if self.content is not None:
            self.content.refuse(refusal)

    # Content that is held

    @property
    def _held(self) -> Held | None:
        passage = None if self.content is None else self.content.passage
        return passage if isinstance(passage, Held) else None

    def keep_awake(self) -> None:
        """Let upstream hear of us while content is held."""
        if held := self._held:
            held.keep_awake()

    def spooled(self, octets: int) -> None:
        """So much more of the content is kept."""
        if held := self._held:
            held.spooled(octets)

    def spool_failed(self, reason: str) -> None:
        """The content cannot be kept, or not be read again."""
        self.refuse_content(Refuse(catalogue.STORE_FAILED, reason))

    def replayed(self) -> None:
        """All that was kept has gone upstream."""
        if held := self._held:
            held.replayed()
            self._note_dot()
            self._answer_late()

    def _answer_late(self) -> None:
        """A message that is refused behind its end is answered at once."""
        refusal = None if self.content is None else self.content.refusal
        if refusal is not None and self._exchange.client.state is ClientState.FINISHED:
            self._answer_refusal(refusal)

    def _note_dot(self) -> None:
        if self._exchange.upstream.owes_verdict:
            self._mailing.under_way.dot_sent = True

    # What upstream says

    def own_replied(self, command: Relayed, reply: Reply) -> None:
        """Take the reply to a command of this proxy's own.

        Raises:
            ProtocolError: upstream does not forget a message, so that the next one could get mixed with it.
        """
        if isinstance(command, Rset) and not reply.is_positive:
            raise ProtocolError("rset-refused")
        if held := self._held:
            held.own_replied(command, reply)
            self._note_dot()
            self._answer_late()

    def judged(self, reply: Reply) -> None:
        """Pass on upstream's verdict about the message."""
        if self._thrown_away:
            self._thrown_away = False
            return
        transaction = self._mailing.under_way
        transaction.reply, transaction.answered = reply, True
        self._exchange.client.step(ClientStep.ANSWERED)
        self._exchange.relay(reply)  # before all else: until the client has it, a cut doubles the message
        self.end()

    def unanswered(self, farewell: Reply) -> None:
        """Keep what the client is told in place of the verdict that it waits for."""
        if self.content is not None:
            self._mailing.under_way.reply = farewell

    def end(self) -> None:
        """End the transaction, if there is one, and report it."""
        if self.content is not None:
            if self._held is not None:
                self._exchange.outbox.set_timer(Timer.VERDICT, None)
            self.content.close()
            self.content = None
        self._mailing.end()
