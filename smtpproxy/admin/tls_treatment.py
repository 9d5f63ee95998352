"""What a proxy action does with TLS instead of inspecting it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.config.near import some
from smtpproxy.policy.coverage import atoms
from smtpproxy.policy.model import PortKind, TlsAction
from smtpproxy.policy.tls_action import TlsQuestion, Unknown, possible_tls

if TYPE_CHECKING:
    from smtpproxy.policy.entries import Entries
    from smtpproxy.policy.model import ProxyAction, TlsException
    from smtpproxy.policy.tls_action import TlsCase, TlsDecision

KNOWABLE: Final = {PortKind.SMTP: frozenset({Unknown.DESTINATION}), PortKind.SMTPS: frozenset(Unknown)}
"""What decides on each kind of port; with STARTTLS the client's server name comes too late."""

_WHAT: Final = {
    (PortKind.SMTPS, TlsAction.ALLOW): "it passes in a tunnel",
    (PortKind.SMTP, TlsAction.ALLOW): "the client's own STARTTLS passes in a tunnel",
    (PortKind.SMTPS, TlsAction.DENY): "it is told 554 5.7.1 inside TLS",
    (PortKind.SMTP, TlsAction.DENY): "it is told 554 5.7.1",
    (PortKind.SMTPS, TlsAction.DROP): "it is reset",
    (PortKind.SMTP, TlsAction.DROP): "it is reset",
    (PortKind.SMTPS, TlsAction.BLOCK): "it is reset, and its source blocked",
    (PortKind.SMTP, TlsAction.BLOCK): "it is reset, and its source blocked",
}


def exceptions_of(action: ProxyAction, kind: PortKind) -> tuple[TlsException, ...]:
    """Return the exceptions for a kind of port."""
    return action.tls.exceptions if kind is PortKind.SMTPS else action.starttls.exceptions


def action_of(action: ProxyAction, kind: PortKind) -> TlsAction:
    """Return what happens on a kind of port where no exception says otherwise."""
    return action.tls.action if kind is PortKind.SMTPS else TlsAction.INSPECT


def all_cases(action: ProxyAction, kind: PortKind) -> list[TlsCase]:
    """Return every decision that a session on a kind of port may come to, the one for all others last."""
    return list(possible_tls(action_of(action, kind), exceptions_of(action, kind), TlsQuestion(()), KNOWABLE[kind]))


def decision_text(kind: PortKind, decision: TlsDecision) -> str:
    """Return what decides and what that does: ``tls.action is deny: it is told 554 5.7.1 inside TLS``."""
    what = decision.action
    who = "tls.action is" if decision.exception is None else f"exception {decision.exception} says"
    does = "" if what is TlsAction.INSPECT else f": {_WHAT[kind, what]}"
    return f"{who} {what.value}{does}"


def match_text(entries: Entries) -> str:
    """Return whom an exception is for, the first few of many."""
    named = sorted(map(str, atoms(entries)))
    return "all" if entries.everything else some(named) if named else "nobody"


def exception_texts(action: ProxyAction, kind: PortKind) -> tuple[str, ...]:
    """Return each exception that can decide: ``1 (allow) for *.bank.example and 192.0.2.0/24``."""
    exceptions = exceptions_of(action, kind)
    numbers = (case.decision.exception for case in all_cases(action, kind))
    return tuple(
        f"{number} ({exceptions[number - 1].action.value}) for {match_text(exceptions[number - 1].match)}"
        for number in numbers
        if number is not None
    )
