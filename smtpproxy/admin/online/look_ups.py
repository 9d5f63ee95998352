"""Look up what domains publish, for commands that work without Twisted otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.config.values import ResolverSettings
    from smtpproxy.policy.knowledge import Knowledge
    from smtpproxy.transport.trust import TrustStore


def ask(domains: Sequence[str], resolver: ResolverSettings, trust: TrustStore) -> dict[str, Knowledge]:
    """Return what is known of domains; once in a process.

    Args:
        domains: of A-labels in lower case.
        resolver: whom to ask.
        trust: whom the hosts of MTA-STS policies are verified against.
    """
    if not domains:
        return {}
    from smtpproxy.admin.online.directory import ask as ask_directory  # noqa: PLC0415 - it takes a second to load

    return ask_directory(domains, resolver, trust)
