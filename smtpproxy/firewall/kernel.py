"""What the kernel has; bring it to what is wanted, or to nothing.

The table changes in one transaction. Routes and rules come before it, since the table is what sends packets their way,
and go behind it; if the table is refused they become what they were.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.differences import State, differences
from smtpproxy.firewall.listing import read_addresses, read_routes, read_rules, read_table
from smtpproxy.firewall.plan import VERSIONS
from smtpproxy.firewall.programs import FirewallError, MissingError, Run, run
from smtpproxy.firewall.routing import ROUTING_TABLE, Route, Routing, RoutingRule
from smtpproxy.firewall.table import FAMILY, NAME, UNREADABLE, Table
from smtpproxy.firewall.text import REMOVAL, replacement

if TYPE_CHECKING:
    from smtpproxy.policy.selection import Address

NETWORK: Final = Path("/proc/sys/net")
NOTHING: Final = State(None, Routing())
"""What a machine without the gateway has of it."""

_MODULES: Final = "modprobe -a nf_tables nft_tproxy nft_socket nft_fib_inet nft_redir nft_nat"
_IPV6: Final = 6


class Kernel:
    """The kernel's side, asked and told by programs.

    Args:
        run: runs them.
        network: the folder of the network's parameters.
    """

    def __init__(self, run: Run = run, network: Path = NETWORK) -> None:
        self._run = run
        self._network = network

    def state(self) -> State:
        """Return what there is of ours.

        Raises:
            FirewallError: it cannot be told.
        """
        versions = [version for version in VERSIONS if (self._network / f"ipv{version}").exists()]
        rules = tuple(each for version in versions for each in self._rules(version))
        routes = tuple(each for version in versions for each in self._routes(version))
        return State(self.table(), Routing(rules, routes))

    def table(self) -> Table | None:
        """Return the table that there is, `UNREADABLE` if it is not known what is in it.

        Raises:
            FirewallError: it cannot be told.
        """
        listing = self._run("nft", ("-j", "list", "tables", FAMILY))
        if not any(each.get("table", {}).get("name") == NAME for each in json.loads(listing)["nftables"]):
            return None
        try:
            return read_table(self._run("nft", ("-j", "list", "table", FAMILY, NAME)))
        except ValueError:
            return UNREADABLE

    @property
    def lacks_ipv6(self) -> bool:
        """Whether IPv6 is switched off, so that nothing of it can come."""
        try:
            return any(self._is_disabled(where) for where in ("all", "lo"))
        except OSError:  # built without it, or booted with ipv6.disable=1
            return True

    def addresses(self) -> tuple[Address, ...]:
        """Return the addresses of this machine.

        Raises:
            FirewallError: it cannot be told.
        """
        return read_addresses(self._run("ip", ("-j", "address", "show")))

    def apply(self, wanted: State) -> None:
        """Make the kernel have what is wanted; what it has already stays untouched.

        Raises:
            FirewallError: it refused; there is what was there before.
        """
        found = self.state()
        if wanted.table:
            self._check(wanted.table)
        with ExitStack() as undo:
            self._add(self.possible(wanted.routing), found.routing, undo)
            self._replace(wanted.table)
            undo.pop_all()
        self._delete_surplus(wanted.routing)

    def possible(self, routing: Routing) -> Routing:
        """Return what of it there can be on this machine."""
        if not self.lacks_ipv6:
            return routing
        return Routing(
            tuple(each for each in routing.rules if each.version != _IPV6),
            tuple(each for each in routing.routes if each.version != _IPV6),
        )

    def differences(self, wanted: State) -> list[str]:
        """Return in words how what there is differs from what is wanted.

        Raises:
            FirewallError: it cannot be told.
        """
        return differences(State(wanted.table, self.possible(wanted.routing)), self.state())

    def _is_disabled(self, where: str) -> bool:
        return (self._network / "ipv6/conf" / where / "disable_ipv6").read_text().strip() == "1"

    def _ip(self, version: int, *arguments: str) -> str:
        return self._run("ip", (f"-{version}", *arguments))

    def _rules(self, version: int) -> tuple[RoutingRule, ...]:
        return read_rules(version, self._ip(version, "-N", "-j", "rule", "show"))

    def _routes(self, version: int) -> tuple[Route, ...]:
        try:
            return read_routes(version, self._ip(version, "-N", "-j", "route", "show", "table", str(ROUTING_TABLE)))
        except MissingError:
            return ()

    def _check(self, table: Table) -> None:
        """Let nft see whether it would take the table, before anything is touched."""
        self._nft(replacement(table), "-c")

    def _replace(self, table: Table | None) -> None:
        self._nft(replacement(table) if table else REMOVAL)

    def _nft(self, text: str, *options: str) -> None:
        try:
            self._run("nft", (*options, "-f", "-"), text)
        except MissingError as error:
            raise FirewallError(f"{error}; the kernel may lack a module: {_MODULES}") from None

    def _add(self, wanted: Routing, found: Routing, undo: ExitStack) -> None:
        for route in (each for each in wanted.routes if each not in found.routes):
            self._ip(route.version, "route", "replace", *route.arguments)
            undo.callback(self._ip, route.version, "route", "del", *route.arguments)
        for rule in (each for each in wanted.rules if each not in found.rules):
            self._ip(rule.version, "rule", "add", *rule.arguments)
            undo.callback(self._ip, rule.version, "rule", "del", *rule.arguments)

    def _delete_surplus(self, wanted: Routing) -> None:
        """Delete what leads to our routing table, or is in it, and is not wanted; rules first."""
        found = self.state().routing
        for rule in (each for each in found.rules if each not in wanted.rules):
            self._ip(rule.version, "rule", "del", *rule.arguments)
        for route in (each for each in found.routes if each not in wanted.routes):
            self._ip(route.version, "route", "del", *route.arguments)
