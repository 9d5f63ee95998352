"""The encryption rules of one session, as they narrow with what becomes known."""

from __future__ import annotations

from smtpproxy.policy.encryption import Plan, decide_plan, tolerates_clear
from smtpproxy.policy.matching import Parties, Tried, applicable, search
from smtpproxy.policy.rules import EncryptionRule, SenderEncryption
from smtpproxy.policy.selection import Address
from smtpproxy.session.terms import Terms
from smtpproxy.smtp.addresses import Path


class Rulebook:
    """Which rules can still apply to a connection.

    Args:
        terms: what its policy says.
        client: the client's address, ``None`` where it has none.
        passes_starttls: whether STARTTLS is the client's and upstream's own business.

    Attributes:
        rules: those that can apply to some mail of the connection, in order; never none.
        plan: when upstream STARTTLS is begun.
        client: the client's address, ``None`` where it has none.
        address: where upstream was really dialled, ``None`` before that.
        passes_starttls: whether STARTTLS is the client's and upstream's own business.
    """

    __slots__ = ("_terms", "address", "client", "passes_starttls", "plan", "rules")

    def __init__(self, terms: Terms, client: Address | None, *, passes_starttls: bool = False) -> None:
        self._terms = terms
        self.client = client
        self.address: Address | None = None
        self.rules = terms.rules
        self.passes_starttls = passes_starttls
        self.plan = Plan.NEVER if passes_starttls else terms.plan
        self._narrow()

    def connected(self, address: Address | None) -> None:
        """Take where upstream was dialled."""
        self.address = address
        self._narrow()

    def for_sender(self, sender: Path) -> tuple[EncryptionRule, ...]:
        """Return the rules that can apply to mail of ``sender``."""
        return self.rules if self._terms.is_settled else applicable(self.rules, self._parties(sender))

    def search(self, sender: Path, recipient: Path | None) -> tuple[Tried, ...]:
        """Try every rule of the proxy action on mail of ``sender`` to ``recipient``."""
        found = self._terms.found
        return tuple(search(self._terms.all_rules, self._parties(sender, recipient))) if found is None else found

    @property
    def tolerates_clear(self) -> bool:
        """Whether nothing can ask for TLS so that mail in clear would be refused."""
        return tolerates_clear(self.rules) and not self._terms.can_be_raised

    @property
    def asks_for_certificate(self) -> bool:
        """Whether a client's certificate can decide about its mail."""
        return any(rule.sender is SenderEncryption.VERIFIED for rule in self.rules)

    def _narrow(self) -> None:
        if self._terms.is_settled:
            return
        self.rules = applicable(self._terms.rules, Parties(client=self.client, destination=self.address))
        terms = self._terms
        if terms.speaks_starttls and not self.passes_starttls:
            self.plan = decide_plan(self.rules, can_be_raised=terms.can_be_raised, introduces=terms.introduces)

    def _parties(self, sender: Path, recipient: Path | None = None) -> Parties:
        return Parties(self.client, self.address, sender, recipient)
