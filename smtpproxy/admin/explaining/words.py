"""What an explanation says, in the words of the configuration and of the replies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.admin.tls_treatment import decision_text, match_text
from smtpproxy.policy.encryption import Plan
from smtpproxy.policy.matching import Fit
from smtpproxy.policy.model import TlsAction
from smtpproxy.policy.rules import Mode, RecipientEncryption, SenderEncryption
from smtpproxy.policy.tls_action import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.admin.explaining.explanation import PolicyAnswer, RecipientAnswer
    from smtpproxy.admin.explaining.verdicts import Verdict
    from smtpproxy.policy.matching import Tried
    from smtpproxy.policy.rules import EncryptionRule
    from smtpproxy.session.actions import LookUp
    from smtpproxy.smtp.addresses import Path

PLANS = {
    Plan.EAGER: "eager: STARTTLS upstream as soon as it is offered",
    Plan.MIRROR: "mirror: STARTTLS upstream when the client says STARTTLS",
    Plan.NEVER: "never: upstream stays in clear",
}


REFUSED = frozenset({TlsAction.DENY, TlsAction.DROP, TlsAction.BLOCK})
"""What lets nobody in."""


def path_text(path: Path) -> str:
    """Return a path in angle brackets, printable."""
    text = path.octets.decode("utf-8", "backslashreplace")
    return f"<{''.join(each if each.isprintable() else ascii(each)[1:-1] for each in text)}>"


def fit_text(tried: Tried) -> str:
    """Return what was found of a rule."""
    if tried.fit is Fit.YES and tried.rule.mode is Mode.MONITOR:
        return "applies, and only monitors"
    return tried.fit.value


def rule_text(rule: EncryptionRule) -> str:
    """Return what a rule asks of both legs."""
    return f"sender {rule.sender.value}, recipient {rule.recipient.value}"


def requirement_texts(answer: RecipientAnswer) -> Iterator[str]:
    """Yield what is asked of each leg, with the names that a certificate may bear."""
    requirement, match = answer.requirement, answer.requirement.match
    sender = f"of the client leg: {requirement.sender.value}"
    if requirement.sender is SenderEncryption.VERIFIED:
        sender += f", a certificate for {', '.join(answer.sender_names) or 'the EHLO name'}"
    yield sender
    levels = sorted(level.value for level in requirement.levels)
    recipient = f"of the upstream leg: {' and '.join(levels)}"
    if requirement.asks_for(RecipientEncryption.VERIFIED):
        names = [*answer.names]
        names += ["MX names that DNSSEC or an MTA-STS policy vouches for"] if match.mx else []
        names += ["MX names on the administrator's word"] if match.mx_insecure else []
        recipient += f", a certificate for {' or '.join(names) or 'nothing'}"
    yield recipient


def tls_texts(answer: PolicyAnswer) -> Iterator[str]:
    """Yield what happens to TLS in each case, and what that depends on."""
    kind, exceptions = answer.terms.kind, answer.terms.tls_exceptions
    for case in answer.tls:
        text = decision_text(kind, case.decision)
        number = case.decision.exception
        if case.depends_on and number is not None:
            who = " or ".join(_UNKNOWN[each] for each in Unknown if each in case.depends_on)
            text += f", if {who} is of {match_text(exceptions[number - 1].match)}"
        yield text if case is answer.tls[0] else f"else {text}"


_UNKNOWN = {Unknown.SERVER_NAME: "the client's SNI", Unknown.DESTINATION: "the destination"}


def offer_text(answer: PolicyAnswer) -> str:
    """Return when the client is offered STARTTLS."""
    if answer.terms.implicit:
        return "nothing: its connection begins with TLS"
    if answer.settled_tls is TlsAction.ALLOW:
        return "by upstream alone, and passes"
    if answer.settled_tls in REFUSED:
        return "never: nobody is let in"
    if not answer.terms.speaks_starttls:
        return "never: starttls or esmtp is not enabled"
    return {
        (True, True): "always",
        (True, False): "while upstream offers it" if answer.plan is Plan.MIRROR else "while upstream is on TLS",
        (False, False): "never",
    }[answer.offered_on_tls, answer.offered_in_clear]


def verdict_text(verdict: Verdict) -> str:
    """Return what the sender is told."""
    if verdict.hidden:
        return "does not come to it: the client is not offered STARTTLS, or told 454"
    if verdict.look_up is not None:
        return f"depends on what {verdict.look_up.domain} publishes: {', '.join(looked_up(verdict.look_up))}"
    if verdict.reply is None:
        return "passed on: upstream's own reply"
    where = "instead of a greeting" if verdict.at == "session" else f"to {verdict.at}"
    return f"{verdict.reply.code} {verdict.reply.text} ({where}; {verdict.because})"


def looked_up(wanted: LookUp) -> Iterator[str]:
    """Yield what has to be looked up."""
    yield "MX"
    if wanted.tlsa:
        yield "TLSA"
    if wanted.sts:
        yield "MTA-STS"
