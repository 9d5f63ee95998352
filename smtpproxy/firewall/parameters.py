"""Kernel parameters that would break what is wanted, or that an administrator should know of.

Source: the kernel's Documentation/networking/ip-sysctl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.kernel import NETWORK
from smtpproxy.policy.model import InterceptionMode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpproxy.firewall.plan import Plan

_STRICT: Final = 1
_LOOSE: Final = 2  # the greater of an interface's value and that for all counts
_FORWARDING: Final = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a parameter; a fault keeps the gateway from what is configured."""

    text: str
    is_fault: bool


def findings(plan: Plan, network: Path = NETWORK) -> list[Finding]:
    """Return what is found about the parameters that matter to a plan.

    Args:
        plan: what the kernel is to do.
        network: the folder of the network's parameters.
    """
    if plan.is_empty:
        return []
    return [
        *_forwarding(plan, network),
        *(_routing(network) if plan.routes_to_itself else ()),
        *_loopback(plan, network),
    ]


def _forwarding(plan: Plan, network: Path) -> Iterator[Finding]:
    versions = {taking.version for taking in plan.takings}
    for version, name in _FORWARDING.items():
        if version in versions and _value(network, name) == 0:
            text = f"{name} is 0: what no policy takes ends here; a gateway in the path wants: sysctl -w {name}=1"
            yield Finding(text, is_fault=False)


def _routing(network: Path) -> Iterator[Finding]:
    if _value(network, "net.ipv4.tcp_fwmark_accept"):
        name = "net.ipv4.tcp_fwmark_accept"
        text = f"{name} is 1: what is said to clients would come back to this machine; sysctl -w {name}=0"
        yield Finding(text, is_fault=True)
    marked = _interfaces(network, "src_valid_mark", 1)
    if marked:
        text = (
            f"net.ipv4.conf.*.src_valid_mark is 1 for {', '.join(marked)}: packets that are handed to the gateway are "
            "dropped as if their source were wrong; set it to 0"
        )
        yield Finding(text, is_fault=True)
    strict = (
        [] if _value(network, "net.ipv4.conf.all.rp_filter") == _LOOSE else _interfaces(network, "rp_filter", _STRICT)
    )
    if strict:
        text = (
            f"net.ipv4.conf.*.rp_filter is 1 for {', '.join(strict)}: a connection whose way back is another "
            "interface is dropped; where routes are asymmetric, set it to 2"
        )
        yield Finding(text, is_fault=False)


def _loopback(plan: Plan, network: Path) -> Iterator[Finding]:
    if plan.mode is not InterceptionMode.REDIRECT:
        return
    for listener in plan.listeners.values():
        if listener == "::1":
            text = (
                "interception.listen: nothing can be redirected to ::1; listen on '::' or on an address of this machine"
            )
            yield Finding(text, is_fault=True)
        elif listener and listener.startswith("127.") and not _interfaces(network, "route_localnet", 1):
            text = (
                f"interception.listen: what is redirected to {listener} is dropped, unless "
                "net.ipv4.conf.*.route_localnet is 1 where it comes in; better listen on '0.0.0.0'"
            )
            yield Finding(text, is_fault=True)


def _interfaces(network: Path, key: str, value: int) -> list[str]:
    """Return for which interfaces a parameter has a value, be it by the one for all."""
    folders = sorted((network / "ipv4/conf").glob("*"))
    return [folder.name for folder in folders if folder.name != "default" and _read(folder / key) == value]


def _value(network: Path, name: str) -> int | None:
    return _read(network.joinpath(*name.split(".")[1:]))


def _read(path: Path) -> int | None:
    """Return a parameter, ``None`` where the kernel does not have it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
