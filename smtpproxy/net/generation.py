"""A generation: what one configuration makes of the gateway, and the sessions that run by it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.application.service import Service

from smtpproxy.net.driver import Driver
from smtpproxy.net.equipment import Equipment
from smtpproxy.net.in_force import InForce
from smtpproxy.net.listeners import Binding
from smtpproxy.policy.model import InterceptionMode, Policy, PortKind
from smtpproxy.policy.rules import Network
from smtpproxy.session.terms import Terms


class Generation(InForce):
    """One configuration in force, from its switch until the last session that began under it has ended.

    Args:
        policies: in their order.
        binds: what is listened on while the generation is the newest.
        equipment: what its sessions share.
        mode: how it is learnt what clients dialled.
        trusted_balancers: whose word is taken where balancers tell.
        gateway_name: ours, for the terms of a session.
        drain_timeout_s: how long a stopping gateway waits for messages that are under way.
        parts: services that are begun with it and end with it.

    Attributes:
        sessions: those that began under it.
    """

    __slots__ = (
        "__weakref__", "_terms", "binds", "drain_timeout_s", "equipment", "gateway_name", "mode", "policies",
        "sessions", "trusted_balancers",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - each is a part of its own, given by name
        self,
        policies: Sequence[Policy],
        binds: Sequence[Binding],
        equipment: Equipment,
        *,
        mode: InterceptionMode = InterceptionMode.EXPLICIT,
        trusted_balancers: Sequence[Network] = (),
        gateway_name: str,
        drain_timeout_s: float,
        parts: Sequence[Service] = (),
    ) -> None:
        super().__init__(parts)
        self.gateway_name = gateway_name
        self.mode = mode
        self.trusted_balancers = tuple(trusted_balancers)
        self.policies = tuple(policies)
        self.binds = tuple(binds)
        self.equipment = equipment
        self.drain_timeout_s = drain_timeout_s
        self.sessions: set[Driver] = set()
        self._terms = {
            (policy.name, kind): Terms.of(policy, kind, gateway_name) for policy in policies for kind in PortKind
        }

    def terms(self, policy: Policy, kind: PortKind) -> Terms:
        """Return what holds for every session of a policy on a kind of port."""
        return self._terms[policy.name, kind]

    def drain(self) -> None:
        """Ask every session to end soon."""
        for driver in list(self.sessions):
            driver.drain()

    def expire(self) -> None:
        """Have every session end now."""
        for driver in list(self.sessions):
            driver.expire()
