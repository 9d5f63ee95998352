"""Ask what takes Twisted, for commands that work without it otherwise: it takes a second to load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpproxy.policy.model import Ocsp, SecondOpinion, TlsProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smtpproxy.admin.online.findings import Findings
    from smtpproxy.config.values import ResolverSettings
    from smtpproxy.policy.knowledge import Knowledge
    from smtpproxy.transport.trust import TrustStore


@dataclass(frozen=True, slots=True)
class Names:
    """What is looked up, and by whom.

    Args:
        domains: of A-labels in lower case.
        resolver: whom to ask.
        trust: whom the hosts of MTA-STS policies are verified against.
        private_policy_hosts: whether these may have addresses that are not of the Internet.
    """

    domains: Sequence[str]
    resolver: ResolverSettings
    trust: TrustStore
    private_policy_hosts: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """A probe, once the names are known.

    Args:
        go: makes it; called in a thread.
        profile: says how far a valid chain is examined.
        trust: whom the chain is verified against.
    """

    go: Callable[[Mapping[str, Knowledge]], Findings]
    profile: TlsProfile
    trust: TrustStore

    @property
    def is_examined(self) -> bool:
        """Whether more than OpenSSL's verdict decides about a chain."""
        return self.profile.ocsp is not Ocsp.DISABLED or self.profile.chain_second_opinion is SecondOpinion.ENFORCE


def ask(names: Names) -> dict[str, Knowledge]:
    """Return what is known of domains; once in a process."""
    if not names.domains:
        return {}
    from smtpproxy.admin.online import directory  # noqa: PLC0415 - Twisted

    return directory.run(lambda: directory.know(names))


def ask_and_visit(names: Names, visit: Visit) -> tuple[dict[str, Knowledge], Findings]:
    """Return what is known of domains, and what was found; once in a process."""
    if not names.domains and not visit.is_examined:
        return {}, visit.go({})
    from smtpproxy.admin.online import directory  # noqa: PLC0415 - Twisted

    return directory.run(lambda: directory.know_and_visit(names, visit))
