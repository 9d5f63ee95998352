"""The networks behind an interface of this machine.

Source: ip-address(8).
"""

from __future__ import annotations

import json
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from smtpproxy.firewall.programs import FirewallError, Run, run

if TYPE_CHECKING:
    from smtpproxy.policy.rules import Network


def networks_behind(interface: str, run: Run = run) -> tuple[Network, ...]:
    """Return the networks that an interface is in, but for those of one host and of the link alone.

    Args:
        interface: its name.
        run: runs ip.

    Raises:
        FirewallError: there is no such interface, or it is in no network.
    """
    found = _networks(run("ip", ("-j", "address", "show", "dev", interface)))
    if not found:
        raise FirewallError(f"{interface} is in no network; give it an address, or name the networks themselves")
    return found


def _networks(listing: str) -> tuple[Network, ...]:
    # ip prints an empty object for each interface that it was not asked for.
    addresses = (each for device in json.loads(listing) for each in device.get("addr_info", ()) if "local" in each)
    found = [ip_interface(f"{each['local']}/{each['prefixlen']}") for each in addresses if each["scope"] == "global"]
    networks = (each.network for each in found if each.network.num_addresses > 1)
    return tuple(dict.fromkeys(networks))
