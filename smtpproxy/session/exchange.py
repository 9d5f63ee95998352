"""Replies to the client in the order of its commands, and the count of what the client does wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from smtpproxy.audit import Judgement
from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.encryption import decide_mail
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.rules import EncryptionRule
from smtpproxy.session.client import ClientLeg
from smtpproxy.session.journal import Journal
from smtpproxy.session.legs import Leg
from smtpproxy.session.outbox import Outbox
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.terms import Terms
from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.addresses import NULL_PATH, Path
from smtpproxy.smtp.commands import Ehlo, Helo, Noop, Quit, Relayed, StartTls
from smtpproxy.smtp.replies import Reply

ERROR_LIMIT: Final = 20  # Postfix: smtpd_hard_error_limit 20


class Ender(Protocol):
    """Who watches over the session."""

    def finish(self, farewell: Reply | None, token: str) -> None:
        """Tell the client ``farewell``, close both legs and report the session as ended by ``token``."""

    def rest(self) -> None:
        """It is the client's move."""

    def begin_tunnel(self, reply: Reply) -> None:
        """Pass on upstream's 220 to the client's own STARTTLS, and from then on all octets."""


class Exchange:
    """What every command and every reply of a session needs.

    Attributes:
        identifying: the EHLO, HELO or STARTTLS that upstream has not answered, with all that belongs to it.
        looking_up: whether a look-up is waited for.
    """

    __slots__ = (
        "_ender", "_errors", "client", "identifying", "journal", "looking_up", "outbox", "rulebook", "terms",
        "upstream",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - the parts of a session, each given by name
        self,
        *,
        terms: Terms,
        rulebook: Rulebook,
        ender: Ender,
        client: ClientLeg,
        upstream: UpstreamLeg,
        journal: Journal,
        outbox: Outbox,
    ) -> None:
        self.terms = terms
        self.rulebook = rulebook
        self.client = client
        self.upstream = upstream
        self.journal = journal
        self.outbox = outbox
        self.identifying: Ehlo | Helo | StartTls | None = None
        self.looking_up = False
        self._ender = ender
        self._errors = 0

    @property
    def is_busy(self) -> bool:
        """Whether upstream has still to answer something, or a look-up is to end."""
        return self.identifying is not None or self.looking_up or self.upstream.owes_reply

    @property
    def waits_for_client(self) -> bool:
        """Whether it is the client's move, though upstream may be kept awake meanwhile."""
        last = self.upstream.last_sent
        return not self.is_busy or (last is not None and last.own and isinstance(last.command, Noop))

    @property
    def is_quitting(self) -> bool:
        """Whether QUIT is under way."""
        last = self.upstream.last_sent
        return last is not None and isinstance(last.command, Quit)

    def legs(self) -> LegFacts:
        """Return what mail is judged against."""
        client, upstream = self.client, self.upstream
        return LegFacts(
            client=client.facts,
            helo=client.helo,
            reached=upstream.reached,
            upstream=upstream.facts,
            address=self.rulebook.address,
            learns_name=upstream.learns_name,
        )

    @property
    def unconcerned(self) -> Judgement | None:
        """How every recipient is judged, if nothing asks anything of these legs, so that any mail may pass."""
        return None if self.upstream.reached is Reached.CERTIFICATE_REFUSED else self.terms.unconcerned

    def judge(self, sender: Path) -> Refuse | None:
        """Return why no mail of ``sender`` may pass on these legs, ``None`` if some may."""
        return None if self.unconcerned is not None else self._judge(self.rulebook.for_sender(sender), sender)

    def judge_names(self) -> Refuse | None:
        """Return why not every recipient's name may pass on these legs, ``None`` if each may."""
        refusals = (self._judge((rule,), NULL_PATH) for rule in self.rulebook.rules)
        return next(filter(None, refusals), None)

    def _judge(self, rules: Sequence[EncryptionRule], sender: Path) -> Refuse | None:
        decision = decide_mail(rules, self.legs(), sender, self.terms.policy.action.starttls.on_failure)
        return decision if isinstance(decision, Refuse) else None

    def forward(self, command: Relayed) -> None:
        """Send a command upstream; the client hears upstream's own reply."""
        self.upstream.command(command)

    def relay(self, reply: Reply) -> None:
        """Pass on upstream's reply to the command that was sent first."""
        self.client.reply(reply)

    def answer(self, reply: Reply) -> None:
        """Give the client a reply of this proxy's own, behind all that upstream owes it."""
        last = self.upstream.last_sent
        if last is not None and not last.own:
            last.behind.append(reply)
        else:
            self.client.reply(reply)
            self._ender.rest()

    def refuse(self, reply: Reply, token: str) -> None:
        """Answer a fault of the client; one too many ends the session."""
        self.journal.fault(token)
        self._errors += 1
        if self._errors > ERROR_LIMIT:
            self.finish(catalogue.TOO_MANY_ERRORS, "too-many-errors")
        else:
            self.answer(reply)

    def excuse(self, reply: Reply, token: str) -> None:
        """Answer a fault that an honest client may make many times in a row."""
        self.journal.fault(token)
        self.answer(reply)

    def attack(self, reply: Reply, token: str) -> None:
        """Answer what no honest client does, report it and end the session."""
        self.journal.fault(token)
        self.journal.incident(Leg.CLIENT, token)
        self.finish(reply, token)

    def finish(self, farewell: Reply | None, token: str) -> None:
        """End the session."""
        self._ender.finish(farewell, token)

    def begin_tunnel(self, reply: Reply) -> None:
        """Pass on upstream's 220 to the client's own STARTTLS, and from then on all octets."""
        self._ender.begin_tunnel(reply)

    def rest(self) -> None:
        """Leave the next move to the client, if nothing is owed to it."""
        if not self.is_busy:
            self._ender.rest()
