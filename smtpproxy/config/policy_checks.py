"""Check policies against what they name, and against each other."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from smtpproxy.config.addresses import ANY, is_loopback
from smtpproxy.config.gateway_file import PolicySection
from smtpproxy.config.policies import EMBEDDED, action_name, make_policy
from smtpproxy.config.profile_checks import profile_notices
from smtpproxy.config.references import check_reference
from smtpproxy.config.section import part
from smtpproxy.config.shadows import shadows
from smtpproxy.config.static_rsa import static_rsa_notice, static_rsa_problem, static_rsa_profiles
from smtpproxy.config.telling import REPLACES_ADDRESS, telling_notice, telling_problem
from smtpproxy.config.tls_notices import tls_notices
from smtpproxy.config.ways import loop_notice, loop_problem, source_notice
from smtpproxy.policy.model import ActionKind, Direction, InterceptionMode, PortKind, SourceAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpproxy.config.document import Document
    from smtpproxy.config.gateway_file import EmbeddedSection, InterceptionSection
    from smtpproxy.config.problems import Report
    from smtpproxy.config.values import Certificates
    from smtpproxy.policy.model import Policy, ProxyAction

_NOT_TOLD: Final = frozenset({InterceptionMode.EXPLICIT})
"""Modes in which a client dials the gateway itself."""

KINDS: Final = {Direction.OUTBOUND: ActionKind.CLIENT, Direction.INBOUND: ActionKind.SERVER}


class PolicyChecks:
    """Checks the policies of a main file.

    Args:
        document: the main file.
        actions: the proxy actions by name, ``None`` for one with mistakes.
        certificates: what clients are shown, ``None`` if there are mistakes.
        report: takes what is found.
    """

    def __init__(
        self,
        document: Document,
        actions: Mapping[str, ProxyAction | None],
        certificates: Certificates | None,
        report: Report,
    ) -> None:
        self._document = document
        self._actions = actions
        self._certificates = certificates
        self._report = report

    def run(self, interception: InterceptionSection | None, embedded: EmbeddedSection | None) -> tuple[Policy, ...]:
        """Check every policy, and return those without mistakes."""
        self._check_names()
        policies: list[Policy] = []
        mode = interception.mode if interception else InterceptionMode.EXPLICIT
        for number in range(self._count()):
            section = part(PolicySection, self._document, "policies", number)
            check_reference(
                self._document, ("policies", number, "proxy_action"), self._actions, "proxy action", self._report
            )
            if section:
                self._check_section(number, section, embedded)
            policy = make_policy(section, self._actions, embedded, mode) if section else None
            if policy:
                self._check_policy(number, policy, policies, interception)
                policies.append(policy)
        self._notice_idle(policies)
        return tuple(policies)

    def _count(self) -> int:
        found = self._document.get("policies")
        return len(found) if isinstance(found, list) else 0

    def _problem(self, number: int, key: str, message: str) -> None:
        self._report.problem(self._document.problem(("policies", number, key), message))

    def _notice(self, number: int, key: str, message: str) -> None:
        self._report.notice(self._document.problem(("policies", number, key), message))

    def _check_names(self) -> None:
        first: dict[object, int] = {}
        for number in range(self._count()):
            name = self._document.get("policies", number, "name")
            if isinstance(name, str) and name in first:
                line = self._document.values[("policies", first[name], "name")].line
                self._problem(number, "name", f"the policy at line {line} has the same name; rename one of them")
            elif isinstance(name, str):
                first[name] = number

    def _check_section(self, number: int, section: PolicySection, embedded: EmbeddedSection | None) -> None:
        if section.upstream == EMBEDDED and embedded is None and not self._document.get("embedded"):
            self._problem(number, "upstream", "there is no embedded server; add the key 'embedded: {}', or name a host")
        action = self._actions.get(action_name(section))
        wanted = KINDS[section.direction]
        if action and action.kind is not wanted:
            message = (
                f"{action.name} is of kind {action.kind.value}, and {section.direction.value} policies need kind "
                f"{wanted.value}; name another, or change direction"
            )
            self._problem(number, "proxy_action", message)

    def _check_policy(
        self, number: int, policy: Policy, earlier: list[Policy], interception: InterceptionSection | None
    ) -> None:
        hidden_by = shadows(policy, earlier)
        if hidden_by and policy.enabled:
            names = " and ".join(f"'{each.name}'" for each in hidden_by)
            self._notice(number, "name", f"never matches, since {names} before it takes all of its traffic; move it up")
        for key, message in tls_notices(policy):
            self._notice(number, key, message)
        self._check_keys(number, policy)
        for notice in profile_notices(policy, self._certificates.proxy_server if self._certificates else ()):
            self._notice(number, "proxy_action", f"in {policy.action.name} {notice}")
        self._check_telling(number, policy)
        if interception:
            self._check_addresses(number, policy, interception.mode)
            self._check_ways(number, policy, interception)
            self._check_ports(number, policy, interception)

    def _check_telling(self, number: int, policy: Policy) -> None:
        embedded = self._document.get("policies", number, "upstream") == EMBEDDED
        if problem := telling_problem(policy, embedded=embedded):
            self._problem(number, "send_client", problem)
        elif notice := telling_notice(policy):
            self._notice(number, "send_client", notice)

    def _check_addresses(self, number: int, policy: Policy, mode: InterceptionMode) -> None:
        if policy.upstream is None and mode in _NOT_TOLD:
            message = (
                f"with interception.mode: {mode.value} clients dial the gateway itself; "
                "name the server, {host: NAME, smtp: 25, smtps: 465}, or choose mode tproxy or redirect"
            )
            self._problem(number, "upstream", message)
        is_told = policy.source_address is SourceAddress.CLIENT or policy.send_client in REPLACES_ADDRESS
        if policy.direction is Direction.INBOUND and not is_told:
            message = "upstream sees the gateway's address for every client, so switch its SPF and DNSBL checks off"
            self._notice(number, "source_address", message)
        elif policy.direction is Direction.OUTBOUND and set(ANY) <= set(policy.source):
            message = "any client may send as if it were inside; name the inside networks, such as [10.0.0.0/8]"
            self._notice(number, "source", message)

    def _check_ways(self, number: int, policy: Policy, interception: InterceptionSection) -> None:
        listen, mode = interception.listen, interception.mode
        if mode in _NOT_TOLD and policy.upstream is None:
            return
        if problem := loop_problem(policy, listen):
            self._problem(number, "upstream", problem)
        elif notice := loop_notice(policy, listen, mode):
            self._notice(number, "upstream", notice)
        if notice := source_notice(policy, listen, mode):
            self._notice(number, "source_address", notice)

    def _check_keys(self, number: int, policy: Policy) -> None:
        if self._certificates is None:
            return
        profiles, credentials = static_rsa_profiles(policy), self._certificates.proxy_server
        problem, notice = static_rsa_problem(profiles, credentials), static_rsa_notice(profiles, credentials)
        if problem:
            self._problem(number, "proxy_action", f"in {policy.action.name} {problem}")
        elif notice:
            self._notice(number, "proxy_action", f"in {policy.action.name} {notice}")

    def _check_ports(self, number: int, policy: Policy, interception: InterceptionSection) -> None:
        ports = {PortKind.SMTP: interception.ports.smtp, PortKind.SMTPS: interception.ports.smtps}
        if policy.enabled and not any(ports[kind] for kind in policy.tls_support.ports):
            self._notice(number, "tls_support", "never matches, since interception.ports has no port of this kind")
        all_ports = ports[PortKind.SMTP] + ports[PortKind.SMTPS]
        for kind in policy.tls_support.ports:
            target = policy.target(kind)
            if target and target.port in all_ports and _is_here(target.host, interception.listen):
                message = f"{target.host} port {target.port} is the gateway itself; name another"
                self._problem(number, "upstream", message)

    def _notice_idle(self, policies: list[Policy]) -> None:
        if policies and not any(policy.enabled for policy in policies):
            self._report.notice(self._document.problem(("policies",), "no policy is enabled, so no port is bound"))


def _is_here(host: str, listen: tuple[str, ...]) -> bool:
    """Whether ``host`` is an address that the gateway binds; on all of them if it listens on every address."""
    if host in listen:
        return True
    return is_loopback(host) and any(ip_address(address).is_unspecified for address in listen)
