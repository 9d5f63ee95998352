"""What holds for every session of a policy, worked out once at load, and what is one session's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from smtpproxy.audit import Origin
from smtpproxy.policy.encryption import Plan, decide_plan
from smtpproxy.policy.messages import Need, need_of
from smtpproxy.policy.model import CertificateValidation, EncryptionRule, Policy, PortKind, TlsProfile


@dataclass(frozen=True, slots=True)
class Terms:
    """A policy as its sessions of one kind of port need it.

    Args:
        policy: the policy itself.
        kind: the kind of port that the client dialled.
        gateway_name: ours, in a leaf with nothing to copy.
        rules: the encryption rules.
        plan: when upstream STARTTLS is begun.
        need: how much of a message its rules must see before any of it goes upstream.
        profile: the TLS profile of both legs.
        upstream_name: the upstream host if it is a DNS name: sent as SNI, and demanded where the profile enforces.
    """

    policy: Policy
    kind: PortKind
    gateway_name: str
    rules: tuple[EncryptionRule, ...]
    plan: Plan
    need: Need
    profile: TlsProfile
    upstream_name: str | None

    @classmethod
    def of(cls, policy: Policy, kind: PortKind, gateway_name: str) -> Terms:
        """Work out the terms of ``policy`` for connections to a port of ``kind``."""
        action = policy.action
        implicit = kind is PortKind.SMTPS
        return cls(
            policy=policy,
            kind=kind,
            gateway_name=gateway_name,
            rules=action.starttls.rules,
            plan=decide_plan(action.starttls.rules) if action.starttls.enabled else Plan.NEVER,
            need=need_of(action.message_rules),
            profile=action.implicit_profile if implicit else action.starttls.profile,
            upstream_name=None if _is_address(policy.upstream.host) else policy.upstream.host,
        )

    @property
    def implicit(self) -> bool:
        """Whether connections begin with a ClientHello."""
        return self.kind is PortKind.SMTPS

    @property
    def fallback_name(self) -> str:
        """The name in a leaf for a client that asks for none while upstream shows none."""
        return self.upstream_name or self.gateway_name

    @property
    def enforces(self) -> bool:
        """Whether an upstream certificate that is not valid is refused."""
        return self.profile.certificate_validation is CertificateValidation.ENFORCE


@dataclass(frozen=True, slots=True)
class Circumstances:
    """One session's own facts.

    Args:
        origin: who is connected to whom, for the records.
        clock: returns monotonic seconds.
    """

    origin: Origin
    clock: Callable[[], float]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
