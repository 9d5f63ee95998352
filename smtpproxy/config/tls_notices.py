"""Tell where TLS Support and what a proxy action does with TLS do not fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.config.near import some
from smtpproxy.config.shipped import ACTIONS, predefined
from smtpproxy.policy.model import PortKind, SendClient, TlsAction, TlsSupport
from smtpproxy.policy.tls_action import TlsQuestion, Unknown, possible_tls

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpproxy.policy.model import Policy
    from smtpproxy.policy.tls_action import TlsDecision

_BECOMES: Final = {
    TlsAction.ALLOW: "passes uninspected",
    TlsAction.DENY: "is refused",
    TlsAction.DROP: "is reset",
    TlsAction.BLOCK: "is reset, and whoever tries is blocked",
}


def tls_notices(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield keys of a policy with what is to be known of them; nothing of predefined rules, which are as they are."""
    if policy.send_client is SendClient.XFORWARD and _tunnels(policy):
        message = f"upstream's log is told nothing of who passes in a tunnel, as {policy.action.name} allows"
        yield "send_client", message
    if policy.tls_support is TlsSupport.DISABLED:
        yield "tls_support", _never_comes(policy)
        return
    if policy.tls_support is TlsSupport.REQUIRED and policy.action.starttls.exceptions:
        message = f"required leaves port 25 unbound, so starttls.exceptions of {policy.action.name} never act"
        yield "tls_support", message
    decisions = _implicit_decisions(policy)
    if decisions[-1].action is not TlsAction.INSPECT:
        yield "tls_support", _not_inspected(policy, decisions)
    below = () if policy.action.name in predefined(ACTIONS) else _below_required(policy)
    if below and any(each.action is TlsAction.INSPECT for each in decisions):
        words = ("rule", "is") if len(below) == 1 else ("rules", "are")
        yield "proxy_action", f"on port 465 {words[0]} {some(below)} {words[1]} read as required on both sides"


def _implicit_decisions(policy: Policy) -> list[TlsDecision]:
    """Return every decision that there may be on port 465, the one for all else last."""
    tls = policy.action.tls
    cases = possible_tls(tls.action, tls.exceptions, TlsQuestion(()), frozenset(Unknown))
    return [case.decision for case in cases]


def _never_comes(policy: Policy) -> str:
    tls = policy.action.tls
    if tls.action is TlsAction.INSPECT and not tls.exceptions:
        return f"disabled leaves port 465 unbound, so what tls.action of {policy.action.name} inspects never comes"
    keys = "tls.action and tls.exceptions" if tls.exceptions else f"tls.action: {tls.action.value}"
    act = "act" if tls.exceptions else "acts"
    return f"disabled leaves port 465 unbound, so {keys} of {policy.action.name} never {act}"


def _not_inspected(policy: Policy, decisions: Sequence[TlsDecision]) -> str:
    decision = decisions[-1]
    what, whose = decision.action, "all else" if len(decisions) > 1 else "all of it"
    key = "tls.action" if decision.exception is None else f"tls.exceptions[{decision.exception - 1}].action"
    return (
        f"{policy.tls_support.value} takes port 465 to inspect it, but {key} of {policy.action.name} is {what.value}, "
        f"so {whose} {_BECOMES[what]}; use inspect there, or disabled here to leave the port alone"
    )


def _below_required(policy: Policy) -> list[str]:
    return [
        f"'{rule.name}' (sender {rule.sender.value}, recipient {rule.recipient.value})"
        for rule in policy.action.starttls.rules
        if rule.decides and not (rule.sender.demands_tls and rule.recipient.demands_tls)
    ]


def _tunnels(policy: Policy) -> bool:
    """Whether anything passes uninspected, on either kind of port."""
    starttls = policy.action.starttls.exceptions if PortKind.SMTP in policy.tls_support.ports else ()
    implicit = _implicit_decisions(policy) if PortKind.SMTPS in policy.tls_support.ports else ()
    return any(each.action is TlsAction.ALLOW for each in (*starttls, *implicit))
