"""What a configuration wants of the kernel, and what is to be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.differences import State
from smtpproxy.firewall.own_addresses import own_findings
from smtpproxy.firewall.parameters import findings
from smtpproxy.firewall.plan import Plan, make_plan
from smtpproxy.firewall.routing import make_routing
from smtpproxy.firewall.ruleset import make_table
from smtpproxy.policy.model import InterceptionMode, OnStop

if TYPE_CHECKING:
    from smtpproxy.config.values import Configuration
    from smtpproxy.firewall.kernel import Kernel
    from smtpproxy.firewall.parameters import Finding
    from smtpproxy.policy.model import Policy

_UNAIDED: Final = {
    InterceptionMode.EXPLICIT: "clients dial the gateway itself",
    InterceptionMode.PROXY_PROTOCOL: "a balancer sends the connections here",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A plan, and the state that it leads to."""

    plan: Plan
    state: State
    policies: tuple[Policy, ...]

    @property
    def notes(self) -> list[str]:
        """What is to be said of it, a line each."""
        notes: list[str] = []
        if self.plan.mode in _UNAIDED:
            answers = "; only answers to clients' own addresses are brought back" if self.plan.answering else ""
            notes.append(f"mode {self.plan.mode.value}: {_UNAIDED[self.plan.mode]}, so nothing is redirected{answers}")
        fate = "dropped" if self.plan.on_stop is OnStop.BLOCK else "not inspected"
        notes.extend(
            f"interception.listen has no IPv{version} address: what policies take of IPv{version} is {fate}"
            for version in self.plan.unheard
        )
        return notes

    @property
    def summary(self) -> str:
        """What is wanted, in one line."""
        plan = self.plan
        if plan.is_empty:
            return f"mode {plan.mode.value}, nothing is wanted of the kernel"
        policies = len({taking.number for taking in plan.takings})
        ports = ", ".join(map(str, plan.ports)) or "none"
        return f"mode {plan.mode.value}, {policies} policies, ports {ports}, on_stop: {plan.on_stop.value}"

    def findings(self, kernel: Kernel) -> list[Finding]:
        """Return what is found about this machine that matters to it, beside the table and its routing.

        Raises:
            FirewallError: it cannot be told.
        """
        return [*findings(self.plan), *own_findings(self.policies, kernel.addresses())]


def wanted_of(configuration: Configuration) -> Wanted:
    """Return what a configuration wants of the kernel."""
    inter = configuration.interception
    plan = make_plan(configuration.policies, inter.mode, inter.listen, inter.ports, inter.on_stop)
    return Wanted(plan, State(make_table(plan), make_routing(plan)), configuration.policies)
