"""One mail transaction, which exists from MAIL to its end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from smtpproxy.audit import UNJUDGED, Judgement, RecipientResult, Status
from smtpproxy.policy.decision import Refuse
from smtpproxy.smtp.addresses import Path
from smtpproxy.smtp.commands import Mail, Rcpt
from smtpproxy.smtp.replies import Reply


@dataclass(slots=True)
class Recipient:
    """A recipient that was asked for, and the reply to its RCPT, ``None`` until it comes."""

    path: Path
    reply: Reply | None = None
    because: str | None = None
    judgement: Judgement = UNJUDGED

    @property
    def stands(self) -> bool:
        """Whether the message is for it."""
        return self.reply is not None and self.reply.is_positive


@dataclass(slots=True)
class Transaction:
    """What belongs to one message.

    Attributes:
        mail: the command that began it.
        granted: whether upstream took MAIL.
        started_s: when, in the session's clock.
        recipients: all that were asked for, in order.
        accepted: how many of them stand.
        reply: the reply that decided about the message: to MAIL, to DATA or to the end of data.
        because: the token of what this proxy refused, ``None`` if it refused nothing.
        rules: names of the encryption rules that could apply when it began.
        trace: of a refusal at MAIL, the search for a rule.
        message_rules: those that applied, in order.
        asked: the encryption that the message itself asked for, by rule or by its header.
        findings: tokens of what is odd about its header.
        size_octets: content octets that came in.
        whole: whether the whole content was read.
        normalized: whether bare newlines were made CRLF.
        dot_sent: whether the dot left, so that the message may exist without the client knowing (RFC 1047).
        answered: whether upstream's verdict came and was passed on.
    """

    mail: Mail
    started_s: float
    recipients: list[Recipient] = field(default_factory=list)
    accepted: int = 0
    granted: bool = False
    reply: Reply | None = None
    because: str | None = None
    rules: tuple[str, ...] = ()
    trace: tuple[tuple[str, str], ...] = ()
    message_rules: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    size_octets: int = 0
    whole: bool = False
    normalized: bool = False
    dot_sent: bool = False
    answered: bool = False
    _unanswered: deque[Recipient] = field(default_factory=deque)

    @property
    def outstanding(self) -> int:
        """How many recipients were asked for and not answered."""
        return len(self._unanswered)

    @property
    def standing(self) -> tuple[Path, ...]:
        """Those that the message is for."""
        return tuple(each.path for each in self.recipients if each.stands)

    def ask(self, rcpt: Rcpt, judgement: Judgement = UNJUDGED) -> None:
        """Keep a recipient that upstream is asked for."""
        recipient = Recipient(rcpt.path, judgement=judgement)
        self.recipients.append(recipient)
        self._unanswered.append(recipient)

    def answer(self, reply: Reply) -> None:
        """Keep upstream's answer to the first RCPT that has none."""
        recipient = self._unanswered.popleft()
        recipient.reply = reply
        self.accepted += recipient.stands

    def refuse_recipient(self, rcpt: Rcpt, refusal: Refuse, judgement: Judgement = UNJUDGED) -> None:
        """Keep a recipient that this proxy refused."""
        self.recipients.append(Recipient(rcpt.path, refusal.reply, refusal.because, judgement))

    def refused(self, refusal: Refuse) -> None:
        """Keep why this proxy refused the message."""
        self.reply, self.because = refusal.reply, refusal.because

    @property
    def applied_rules(self) -> tuple[str, ...]:
        """Names of the encryption rules that recipients were judged by; without any, of those that could apply."""
        judged = [each.judgement.rule for each in self.recipients if each.judgement.rule is not None]
        return tuple(dict.fromkeys(judged)) or self.rules

    @property
    def ambiguous(self) -> bool:
        """Whether the dot left and upstream's verdict did not reach the client."""
        return self.dot_sent and not self.answered

    @property
    def not_inspected_because(self) -> str | None:
        """Why the whole content was not read, ``None`` if it was."""
        if self.whole:
            return None
        return "no-content" if not self.size_octets else "content-incomplete"

    def results(self) -> tuple[RecipientResult, ...]:
        """Return what became of each recipient."""
        return tuple(self._result(each) for each in self.recipients)

    def _result(self, recipient: Recipient) -> RecipientResult:
        refused = recipient.reply is not None and not recipient.stands
        reply = recipient.reply if refused else self.reply
        because = recipient.because if refused else self.because
        return RecipientResult(recipient.path.octets, status_of(reply), reply, because, recipient.judgement)


def status_of(reply: Reply | None) -> Status:
    """Return what a final reply means for a recipient."""
    if reply is None:
        return Status.ABANDONED
    if reply.is_positive:
        return Status.ACCEPTED
    return Status.DEFERRED if reply.is_transient else Status.REFUSED
