"""What holds for every session of a policy, worked out once at load, and what is one session's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from smtpproxy.audit import Judgement, Origin
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.encryption import Plan, decide_plan
from smtpproxy.policy.matching import Fit, Parties, Tried, applicable, search
from smtpproxy.policy.messages import Need, can_raise, need_of
from smtpproxy.policy.model import (
    CertificateValidation,
    Policy,
    PortKind,
    SendClient,
    TlsAction,
    TlsException,
    TlsProfile,
)
from smtpproxy.policy.rules import EncryptionRule, RecipientEncryption
from smtpproxy.policy.selection import Address
from smtpproxy.policy.tls_action import TlsDecision, TlsQuestion, decide_tls
from smtpproxy.proxy_header.header import Tlv


@dataclass(frozen=True, slots=True)
class Terms:
    """A policy as its sessions of one kind of port need it.

    Args:
        policy: the policy itself.
        kind: the kind of port that the client dialled.
        gateway_name: ours, in a leaf with nothing to copy.
        all_rules: the encryption rules as they are written.
        rules: those of them that can decide, in order.
        is_settled: whether they are the same for all mail.
        found: the search for a rule, if that is the same for all mail, else ``None``.
        unconcerned: how every recipient is judged, if nothing ever asks for TLS on either leg, else ``None``.
        looks: whether anything may ask about upstream's certificate, or about a recipient's domain.
        levels_in_reach: what messages can ask for themselves.
        can_be_raised: whether a message or its destination can ask for more than they do.
        plan: when upstream STARTTLS is begun, as far as all of them are concerned.
        need: how much of a message its rules must see before any of it goes upstream.
        profile: the TLS profile of both legs.
        upstream_profile: the same as the upstream leg needs it: a rule's own demand is judged whatever it says.
        upstream_name: the host that the policy names if it is a DNS name: sent as SNI, and demanded where the profile
            enforces.
        tls_action: what happens to the TLS of a connection where no exception says otherwise.
        tls_exceptions: those for this kind of port.
    """

    policy: Policy
    kind: PortKind
    gateway_name: str
    all_rules: tuple[EncryptionRule, ...]
    rules: tuple[EncryptionRule, ...]
    is_settled: bool
    found: tuple[Tried, ...] | None
    unconcerned: Judgement | None
    looks: bool
    levels_in_reach: frozenset[RecipientEncryption]
    can_be_raised: bool
    plan: Plan
    need: Need
    profile: TlsProfile
    upstream_profile: TlsProfile
    upstream_name: str | None
    tls_action: TlsAction
    tls_exceptions: tuple[TlsException, ...]

    @classmethod
    def of(cls, policy: Policy, kind: PortKind, gateway_name: str) -> Terms:
        """Work out the terms of ``policy`` for connections to a port of ``kind``."""
        action = policy.action
        rules = applicable(action.starttls.rules, Parties())
        published = policy.peer_policies.dane or policy.peer_policies.mta_sts
        in_reach = action.levels_in_reach
        can_be_raised = published or can_raise(in_reach)
        asked = {rule.recipient for rule in action.starttls.rules if rule.enabled}.union(in_reach)
        looks = published or not LOOKING.isdisjoint(asked)
        profile = action.implicit_profile if kind is PortKind.SMTPS else action.starttls.profile
        return cls(
            policy=policy,
            kind=kind,
            gateway_name=gateway_name,
            all_rules=action.starttls.rules,
            rules=rules,
            is_settled=rules[0].audience.is_everybody,
            found=_settled_search(action.starttls.rules),
            unconcerned=None if can_be_raised else _unconcerned(action.starttls.rules),
            looks=looks,
            levels_in_reach=in_reach,
            can_be_raised=can_be_raised,
            plan=_plan(policy, rules, can_be_raised=can_be_raised),
            need=need_of(action.message_rules, action.tls_level_header),
            profile=profile,
            upstream_profile=_looking(profile) if looks else profile,
            upstream_name=_dns_name(policy.target(kind)),
            tls_action=action.tls.action if kind is PortKind.SMTPS else TlsAction.INSPECT,
            tls_exceptions=action.tls.exceptions if kind is PortKind.SMTPS else action.starttls.exceptions,
        )

    def decide_tls(self, question: TlsQuestion) -> TlsDecision:
        """Return what happens to the TLS of a connection; on a plaintext port only exceptions can say."""
        return decide_tls(self.tls_action, self.tls_exceptions, question)

    @property
    def passes_anything(self) -> bool:
        """Whether what is no TLS may pass on a port where TLS is expected."""
        actions = {self.tls_action, *(each.action for each in self.tls_exceptions)}
        return self.implicit and TlsAction.ALLOW in actions and not self.profile.compliance

    @property
    def implicit(self) -> bool:
        """Whether connections begin with a ClientHello."""
        return self.kind is PortKind.SMTPS

    @property
    def speaks_starttls(self) -> bool:
        """Whether STARTTLS is spoken on either leg."""
        return self.policy.action.starttls.enabled

    @property
    def introduces(self) -> bool:
        """Whether upstream is told by XCLIENT who the client is."""
        return self.policy.send_client is SendClient.XCLIENT

    @property
    def fallback_name(self) -> str:
        """The name in a leaf for a client that asks for none while upstream shows none."""
        return self.upstream_name or self.gateway_name

    @property
    def enforces(self) -> bool:
        """Whether an upstream certificate that is not valid is refused."""
        return self.profile.certificate_validation is CertificateValidation.ENFORCE


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of a session's connections.

    Args:
        client: who dialled.
        destination: what it dialled.
        upstream: what is dialled for it.
        source: the address to dial from, ``None`` for the gateway's own.
        tlvs: what a balancer said of the connection besides.
    """

    client: Endpoint
    destination: Endpoint
    upstream: Endpoint
    source: str | None = None
    tlvs: tuple[Tlv, ...] = ()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """One session's own facts.

    Args:
        origin: who is connected to whom, for the records.
        clock: returns monotonic seconds.
        wall: returns the time of day, in seconds since the epoch.
        ends: who dialled what, and where that is opened anew.
        client: the client's address.
    """

    origin: Origin
    clock: Callable[[], float]
    wall: Callable[[], float]
    ends: Ends
    client: Address | None = None


def _settled_search(rules: Sequence[EncryptionRule]) -> tuple[Tried, ...] | None:
    found = tuple(search(rules, Parties()))
    return None if any(each.fit is Fit.MAYBE for each in found) else found


def _plan(policy: Policy, rules: Sequence[EncryptionRule], *, can_be_raised: bool) -> Plan:
    introduces = policy.send_client is SendClient.XCLIENT
    asked = decide_plan(rules, can_be_raised=can_be_raised, introduces=introduces)
    return asked if policy.action.starttls.enabled else Plan.NEVER


def _unconcerned(rules: Sequence[EncryptionRule]) -> Judgement | None:
    fitting = [each.rule for each in _settled_search(rules) or () if each.fit is Fit.YES]
    asks = any(rule.sender.demands_tls or rule.recipient.demands_tls for rule in fitting)
    return None if asks or len(fitting) != 1 else Judgement(fitting[0].name)


def _looking(profile: TlsProfile) -> TlsProfile:
    """Look at certificates, since something may ask about them, though the profile does not by itself."""
    if profile.certificate_validation is CertificateValidation.OFF:
        return replace(profile, certificate_validation=CertificateValidation.AUDIT)
    return profile


LOOKING = frozenset({RecipientEncryption.VERIFIED, RecipientEncryption.DANE, RecipientEncryption.MTA_STS})
"""What cannot be judged without a look at the certificate, or at what the destination publishes."""


def _dns_name(target: Endpoint | None) -> str | None:
    if target is None:
        return None
    try:
        ip_address(target.host)
    except ValueError:
        return target.host
    return None
