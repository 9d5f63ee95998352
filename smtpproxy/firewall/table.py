"""An nftables table as values: what is wanted and what the kernel has are both read as this.

Source: nft(8); a rule stands here in nft's own words, as it lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smtpproxy.policy.rules import Network

FAMILY: Final = "inet"
NAME: Final = "smtpproxy"

BLOCKED: Final = "blocked"
"""The chain that drops; it is there exactly if the traffic of a stopped gateway is to be dropped."""

PRIORITIES: Final = {"mangle": -150, "dstnat": -100, "filter": 0}


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Networks by a name."""

    name: str
    version: int
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the kernel calls a chain."""

    kind: str
    hook: str
    priority: int
    policy: str = "accept"

    def __str__(self) -> str:
        names = {number: name for name, number in PRIORITIES.items()}
        priority = names.get(self.priority, self.priority)
        return f"type {self.kind} hook {self.hook} priority {priority}; policy {self.policy};"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; the comment is for people."""

    text: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in their order; without a hook it is only called by others."""

    name: str
    hook: Hook | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """All of it; ``others`` says what else is there, which is nothing where it is wanted."""

    sets: tuple[AddressSet, ...] = ()
    chains: tuple[Chain, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether it drops what nobody takes."""
        return any(chain.name == BLOCKED for chain in self.chains)


UNREADABLE: Final = Table(others=("something that nft cannot list, such as a flag",))
"""Stands for a table that is there; where it has flags nft 1.0.6 breaks off, or prints what they are not."""
