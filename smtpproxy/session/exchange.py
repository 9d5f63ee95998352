"""One command under way at a time, its answer, and the count of what the client does wrong."""

from __future__ import annotations

from typing import Final, Protocol

from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.encryption import LegFacts, decide_mail
from smtpproxy.session.client import ClientLeg
from smtpproxy.session.journal import Journal
from smtpproxy.session.legs import Leg
from smtpproxy.session.terms import Terms
from smtpproxy.session.upstream import UpstreamLeg
from smtpproxy.smtp import catalogue
from smtpproxy.smtp.commands import Command, Data, Help, Mail, Noop, Quit, Rcpt, Rset, Vrfy
from smtpproxy.smtp.replies import Reply

ERROR_LIMIT: Final = 20  # Postfix: smtpd_hard_error_limit 20


class Ender(Protocol):
    """Who watches over the session."""

    def finish(self, farewell: Reply | None, token: str) -> None:
        """Tell the client ``farewell``, close both legs and report the session as ended by ``token``."""

    def rest(self) -> None:
        """It is the client's move."""


class Exchange:
    """What every command and every reply of a session needs.

    Attributes:
        awaiting: the command that upstream has not answered.
    """

    __slots__ = ("_ender", "_errors", "awaiting", "client", "journal", "terms", "upstream")

    def __init__(self, terms: Terms, ender: Ender, client: ClientLeg, upstream: UpstreamLeg, journal: Journal) -> None:
        self.terms = terms
        self.client = client
        self.upstream = upstream
        self.journal = journal
        self.awaiting: Command | None = None
        self._ender = ender
        self._errors = 0

    def legs(self) -> LegFacts:
        """Return what mail is judged against."""
        return LegFacts(self.client.facts is not None, self.upstream.reached)

    def judge(self) -> Refuse | None:
        """Return why no mail may pass on these legs, ``None`` if some may."""
        on_failure = self.terms.policy.action.starttls.on_failure
        decision = decide_mail(self.terms.rules, self.legs(), on_failure)
        return decision if isinstance(decision, Refuse) else None

    def forward(self, command: Mail | Rcpt | Data | Rset | Noop | Vrfy | Help | Quit) -> None:
        """Send a command upstream; the client hears upstream's own reply."""
        self.awaiting = command
        self.upstream.command(command.verb, command.to_wire())

    def take(self) -> Command | None:
        """Return the command that has been answered now."""
        command, self.awaiting = self.awaiting, None
        return command

    def answer(self, reply: Reply) -> None:
        """Give the client its reply; the next move is the client's."""
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

    def attack(self, reply: Reply, token: str) -> None:
        """Answer what no honest client does, report it and end the session."""
        self.journal.fault(token)
        self.journal.incident(Leg.CLIENT, token)
        self.finish(reply, token)

    def finish(self, farewell: Reply | None, token: str) -> None:
        """End the session."""
        self._ender.finish(farewell, token)

    def rest(self) -> None:
        """Leave the next move to the client."""
        self._ender.rest()
