"""Look up what domains publish, for commands that work without Twisted otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpproxy.config.values import Configuration
    from smtpproxy.policy.knowledge import Knowledge


def ask(domains: Sequence[str], configuration: Configuration) -> dict[str, Knowledge]:
    """Return what is known of domains by the configured name servers; once in a process.

    Args:
        domains: of A-labels in lower case.
        configuration: names the servers, and whom policy hosts are verified against.
    """
    if not domains:
        return {}
    from smtpproxy.admin.online.directory import ask as ask_directory  # noqa: PLC0415 - it takes a second to load

    resolver = configuration.resolver
    return ask_directory(domains, resolver.servers, resolver.timeout_s, configuration.certificates.trusted)
