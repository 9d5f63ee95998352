"""Judge a recipient by the session's own parts, in a case that is supposed or found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpproxy.audit import Origin
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.decision import Refuse
from smtpproxy.policy.encryption import decide_mail, decide_offer
from smtpproxy.policy.judging import judge_sender, needs_of
from smtpproxy.policy.legs import Reached
from smtpproxy.policy.names import looked_up_domain
from smtpproxy.session.actions import LookUp
from smtpproxy.session.recipients import Asked, Recipients
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.terms import Circumstances, Ends
from smtpproxy.smtp import catalogue

if TYPE_CHECKING:
    from smtpproxy.policy.knowledge import Knowledge
    from smtpproxy.policy.legs import LegFacts
    from smtpproxy.policy.requirement import Requirement
    from smtpproxy.policy.rules import RecipientEncryption
    from smtpproxy.policy.selection import Address
    from smtpproxy.session.terms import Terms
    from smtpproxy.smtp.addresses import Path
    from smtpproxy.smtp.replies import Reply

_NOWHERE = Ends(Endpoint("", 0), Endpoint("", 0), Endpoint("", 0))
_NOBODY = Origin("", "", "", "", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sender is told about a recipient.

    Args:
        at: the command that is answered, ``session`` for a session that does not come about; ``None`` if all pass.
        reply: the gateway's refusal.
        because: its token, as in the records.
        look_up: what must be looked up before it can be told.
        hidden: whether the client was not offered the TLS that the case supposes.
    """

    at: str | None = None
    reply: Reply | None = None
    because: str | None = None
    look_up: LookUp | None = None
    hidden: bool = False

    @property
    def passes(self) -> bool:
        """Whether the recipient is passed on."""
        return self == PASSES


PASSES = Verdict()
_HIDDEN = Verdict(hidden=True)


class Judge:
    """Judges the recipients of a policy.

    Args:
        terms: the policy's.
        client: the client's address, ``None`` where it was not told.
        address: where upstream is dialled, ``None`` where that is not known.
        passes_starttls: whether STARTTLS is the client's and upstream's own business.

    Attributes:
        rulebook: the rules that can apply.
    """

    def __init__(
        self, terms: Terms, client: Address | None, address: Address | None, *, passes_starttls: bool = False
    ) -> None:
        self._terms = terms
        self._known: set[str] = set()
        self.rulebook = Rulebook(terms, client, passes_starttls=passes_starttls)
        self.rulebook.connected(address)
        circumstances = Circumstances(_NOBODY, time.monotonic, time.time, _NOWHERE, client)
        self._recipients = Recipients(terms, circumstances, self.rulebook)

    def ask(self, sender: Path, recipient: Path) -> Asked:
        """Return the rules that are for a recipient, and the search for them."""
        return self._recipients.ask(sender, recipient)

    def learn(self, knowledge: Knowledge) -> None:
        """Take what was looked up."""
        self._known.add(knowledge.domain)
        self._recipients.learn(LookUp(knowledge.domain, tlsa=True, sts=True), knowledge, None)

    def offers(self, *, upstream_ready: bool) -> bool:
        """Return whether the client is offered STARTTLS."""
        terms = self._terms
        if terms.implicit or not terms.speaks_starttls or self.rulebook.passes_starttls:
            return False
        return decide_offer(self.rulebook.rules, upstream_ready=upstream_ready)

    def verdict(self, asked: Asked, legs: LegFacts) -> Verdict:
        """Return what becomes of a recipient on these legs."""
        if self._is_hidden(legs):
            return _HIDDEN
        if self._terms.implicit and legs.reached is not Reached.ENCRYPTED:
            return Verdict("session", catalogue.SESSION_TLS_REFUSED, f"upstream-tls-{legs.reached.value}")
        rules = self.rulebook.for_sender(asked.sender)
        decision = decide_mail(rules, legs, asked.sender, self._terms.policy.action.starttls.on_failure)
        if isinstance(decision, Refuse):
            return Verdict("MAIL", decision.reply, decision.because)
        deciding = asked.rules[-1]
        decision = judge_sender(deciding.sender, deciding.sender_match, legs, asked.sender)
        wanted = self._look_up(self._recipients.requirement(deciding), asked.recipient, legs)
        if wanted is not None and not isinstance(decision, Refuse):
            return Verdict(look_up=wanted)
        decision, _ = self._recipients.judge(asked, legs)
        return Verdict("RCPT", decision.reply, decision.because) if isinstance(decision, Refuse) else PASSES

    def message_verdict(self, asked: Asked, level: RecipientEncryption, legs: LegFacts) -> Verdict:
        """Return what becomes of a message whose recipient was let pass, if it asks for ``level`` itself."""
        requirement = self._recipients.requirement(asked.rules[-1]).raised({level})
        wanted = self._look_up(requirement, asked.recipient, legs)
        if wanted is not None:
            return Verdict(look_up=wanted)
        refusal = self._recipients.judge_message(asked.sender, [asked.recipient], frozenset({level}), legs)
        return PASSES if refusal is None else Verdict("the end of data", refusal.reply, refusal.because)

    def _look_up(self, requirement: Requirement, recipient: Path, legs: LegFacts) -> LookUp | None:
        """Return what must be known of a recipient's domain, and is not."""
        domain = looked_up_domain(recipient)
        needs = needs_of(requirement, legs, self._terms.policy.peer_policies, recipient)
        if not needs or domain is None or domain in self._known:
            return None
        return LookUp(domain, tlsa=needs.tlsa, sts=needs.sts)

    def _is_hidden(self, legs: LegFacts) -> bool:
        asks_tls = legs.client is not None and not self._terms.implicit
        return asks_tls and not self.offers(upstream_ready=legs.reached is Reached.ENCRYPTED)
