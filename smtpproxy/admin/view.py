"""The View: what a policy really does on its ports, and why it does not inspect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpproxy.admin.tls_treatment import all_cases, decision_text, exception_texts
from smtpproxy.policy.model import PortKind, TlsAction, TlsSupport
from smtpproxy.policy.rules import Mode

if TYPE_CHECKING:
    from smtpproxy.config.values import Configuration
    from smtpproxy.policy.model import Policy
    from smtpproxy.policy.rules import EncryptionRule


@dataclass(frozen=True, slots=True)
class PolicyView:
    """One policy as it takes effect.

    Args:
        policy: its name.
        enabled: whether it is looked at.
        direction: ``outbound`` or ``inbound``.
        proxy_action: the name of its proxy action.
        tls_support: ``disabled``, ``enabled`` or ``required``.
        ports: the ports bound for it.
        starttls: ``inspected``, or ``not inspected, because ...``.
        implicit_tls: the same for port 465.
        exceptions: those of each kind of TLS that can decide, in order.
        rules: each encryption rule with its levels.
        profiles: the TLS profile of each kind of TLS.
        legacy: those of them that take versions before TLS 1.2.
    """

    policy: str
    enabled: bool
    direction: str
    proxy_action: str
    tls_support: str
    ports: tuple[int, ...]
    starttls: str
    implicit_tls: str
    exceptions: dict[str, tuple[str, ...]]
    rules: tuple[str, ...]
    profiles: dict[str, str]
    legacy: tuple[str, ...]


def view_policy(policy: Policy, configuration: Configuration) -> PolicyView:
    """Return how ``policy`` takes effect."""
    action = policy.action
    return PolicyView(
        policy=policy.name,
        enabled=policy.enabled,
        direction=policy.direction.value,
        proxy_action=action.name,
        tls_support=policy.tls_support.value,
        ports=_bound(policy, configuration),
        starttls=_inspected(policy, PortKind.SMTP, _starttls_obstacle(policy, configuration)),
        implicit_tls=_inspected(policy, PortKind.SMTPS, _obstacle(policy, PortKind.SMTPS, configuration)),
        exceptions={
            "starttls": _exceptions(policy, PortKind.SMTP, configuration),
            "implicit_tls": _exceptions(policy, PortKind.SMTPS, configuration),
        },
        rules=tuple(map(_told, action.starttls.rules)),
        profiles={"starttls": action.starttls.profile.name, "implicit_tls": action.implicit_profile.name},
        legacy=tuple(
            dict.fromkeys(each.name for each in (action.starttls.profile, action.implicit_profile) if each.is_legacy)
        ),
    )


def _told(rule: EncryptionRule) -> str:
    state = " (disabled)" if not rule.enabled else " (monitor)" if rule.mode is Mode.MONITOR else ""
    levels = f"sender {rule.sender.value}, recipient {rule.recipient.value}, offer {rule.offer.value}"
    return f"{rule.name}{state}: {levels}"


def _bound(policy: Policy, configuration: Configuration) -> tuple[int, ...]:
    if not policy.enabled:
        return ()
    ports = configuration.interception.ports
    return tuple(port for kind in PortKind if kind in policy.tls_support.ports for port in ports[kind])


def _exceptions(policy: Policy, kind: PortKind, configuration: Configuration) -> tuple[str, ...]:
    return () if _port_obstacle(policy, kind, configuration) else exception_texts(policy.action, kind)


def _inspected(policy: Policy, kind: PortKind, obstacle: str | None) -> str:
    if obstacle:
        return f"not inspected, because {obstacle}"
    excepted = any(case.decision.action is not TlsAction.INSPECT for case in all_cases(policy.action, kind))
    return "inspected, but for exceptions" if excepted else "inspected"


def _starttls_obstacle(policy: Policy, configuration: Configuration) -> str | None:
    obstacle = _obstacle(policy, PortKind.SMTP, configuration)
    if obstacle or policy.action.starttls.enabled:
        return obstacle
    return (
        "starttls.enabled is false" if policy.action.esmtp.enabled else "esmtp.enabled is false: no ESMTP, no STARTTLS"
    )


_SUPPORT_OBSTACLES = {
    (TlsSupport.DISABLED, PortKind.SMTPS): "TLS Support is disabled",
    (TlsSupport.REQUIRED, PortKind.SMTP): "TLS Support is required, so only implicit TLS is taken",
}


def _obstacle(policy: Policy, kind: PortKind, configuration: Configuration) -> str | None:
    rest = all_cases(policy.action, kind)[-1].decision
    elsewhere = None if rest.action is TlsAction.INSPECT else decision_text(kind, rest)
    return _port_obstacle(policy, kind, configuration) or elsewhere


def _port_obstacle(policy: Policy, kind: PortKind, configuration: Configuration) -> str | None:
    if not policy.enabled:
        return "the policy is disabled"
    if not configuration.interception.ports[kind]:
        return f"interception.ports.{kind.value} is empty"
    return _SUPPORT_OBSTACLES.get((policy.tls_support, kind))
