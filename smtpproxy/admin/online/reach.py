"""Dial every upstream that policies name, several at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpproxy.admin.online.findings import Findings, Target
from smtpproxy.admin.online.probe import Means, probe, probing_context
from smtpproxy.admin.online.verifier import files_of
from smtpproxy.policy.model import PortKind, SendClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpproxy.config.values import Configuration
    from smtpproxy.policy.model import Policy, TlsProfile

AT_A_TIME: Final = 8
TIMEOUT_S: Final = 20.0
"""For each of them; who needs longer for a greeting is told of too."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream of one kind of port.

    Args:
        target: whom to dial, and how.
        profile: the TLS profile that it is met with.
        policies: names of the policies that send mail there.
        introduces: whether it is told by XCLIENT who the client is.
    """

    target: Target
    profile: TlsProfile
    policies: tuple[str, ...]
    introduces: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """What was found at an upstream."""

    upstream: Upstream
    found: Findings


def upstreams_of(configuration: Configuration) -> list[Upstream]:
    """Return the upstreams of all policies that are enabled, each once, in the order of the policies.

    Where a client's own destination is dialled there is none to name. The embedded server is left out: it is a part of
    the gateway, which need not run.
    """
    policies: dict[tuple[Target, TlsProfile, bool], list[str]] = {}
    for policy in configuration.policies:
        introduces = policy.send_client is SendClient.XCLIENT
        for target, profile in _ways(policy):
            if (target.host, target.port) not in _embedded(configuration):
                policies.setdefault((target, profile, introduces), []).append(policy.name)
    return [Upstream(target, profile, tuple(names), how) for (target, profile, how), names in policies.items()]


def reach(upstreams: Sequence[Upstream], configuration: Configuration, timeout_s: float = TIMEOUT_S) -> list[Reached]:
    """Dial all of them; whatever goes wrong is a finding."""
    helo = configuration.gateway.name.encode("ascii")
    profiles = {each.profile for each in upstreams}
    contexts = {profile: probing_context(profile, files_of(configuration, profile)) for profile in profiles}

    def ask(upstream: Upstream) -> Reached:
        return Reached(upstream, probe(upstream.target, Means(contexts[upstream.profile], helo, timeout_s)))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(ask, upstreams))


def expects_header(policy: Policy) -> bool:
    """Return whether a policy's upstream is one that hears nothing before a PROXY header."""
    return policy.send_client is SendClient.PROXY_V2


def _embedded(configuration: Configuration) -> frozenset[tuple[str, int]]:
    server = configuration.embedded
    return frozenset({(server.host, server.smtp), (server.host, server.smtps)}) if server else frozenset()


def _ways(policy: Policy) -> Iterator[tuple[Target, TlsProfile]]:
    if not policy.enabled:
        return
    action = policy.action
    for kind in PortKind:
        upstream = policy.target(kind)
        if upstream and kind in policy.tls_support.ports:
            implicit = kind is PortKind.SMTPS
            profile = action.implicit_profile if implicit else action.starttls.profile
            yield Target(upstream.host, upstream.port, implicit, proxied=expects_header(policy)), profile
