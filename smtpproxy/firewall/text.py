"""A table as a file for ``nft -f``: one transaction that replaces whatever was there.

Source: nft(8), "INPUT FILE FORMATS".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.table import FAMILY, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.firewall.table import AddressSet, Chain, Rule, Table
    from smtpproxy.policy.rules import Network

REMOVAL: Final = f"add table {FAMILY} {NAME}\ndelete table {FAMILY} {NAME}\n"
"""Removes the table, whether it is there or not."""

_TYPES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}


def replacement(table: Table) -> str:
    """Return the file that puts a table in the place of the one that is there, if any."""
    lines = [f"table {FAMILY} {NAME} {{", *_indented(_body(table)), "}"]
    return REMOVAL + "".join(f"{line}\n" for line in lines)


def _body(table: Table) -> Iterator[str]:
    for each in table.sets:
        yield from _set(each)
    for chain in table.chains:
        yield from _chain(chain)


def _set(each: AddressSet) -> Iterator[str]:
    yield f"set {each.name} {{"
    yield f"    type {_TYPES[each.version]}"
    yield "    flags interval"
    yield f"    elements = {{ {', '.join(map(_element, each.networks))} }}"
    yield "}"


def _element(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _chain(chain: Chain) -> Iterator[str]:
    yield f"chain {chain.name} {{"
    if chain.hook:
        yield f"    {chain.hook}"
    for rule in chain.rules:
        yield f"    {_rule(rule)}"
    yield "}"


def _rule(rule: Rule) -> str:
    return f'{rule.text} comment "{rule.comment}"' if rule.comment else rule.text


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)
