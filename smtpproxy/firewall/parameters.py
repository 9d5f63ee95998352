"""Kernel parameters that would break what is wanted, or that an administrator should know of.

Source: the kernel's Documentation/networking/ip-sysctl; what each does to the gateway's connections was tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpproxy.firewall.kernel import NETWORK
from smtpproxy.policy.model import InterceptionMode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from smtpproxy.firewall.plan import Plan

_STRICT: Final = 1
_NAMED: Final = 5
_NO_DEVICES: Final = frozenset({"all", "default", "lo"})
_IPV4: Final = 4
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
        *_marks(plan, network),
        *_sources(plan, network),
        *_loopback(plan, network),
    ]


def _forwarding(plan: Plan, network: Path) -> Iterator[Finding]:
    versions = {taking.version for taking in plan.takings}
    for version, name in _FORWARDING.items():
        if version in versions and _value(network, name) == 0:
            text = f"{name} is 0: what no policy takes ends here; a gateway in the path wants: sysctl -w {name}=1"
            yield Finding(text, is_fault=False)


def _marks(plan: Plan, network: Path) -> Iterator[Finding]:
    name = "net.ipv4.tcp_fwmark_accept"  # of IPv6 as well
    if plan.mode is InterceptionMode.TPROXY and plan.takings and _value(network, name):
        text = f"{name} is 1: what is said to clients would come back to this machine; sysctl -w {name}=0"
        yield Finding(text, is_fault=True)


def _sources(plan: Plan, network: Path) -> Iterator[Finding]:
    """Tell of checks of where a packet comes from, which the kernel makes of IPv4 alone."""
    concerned = any(taking.version == _IPV4 for taking in plan.takings) if plan.takings else plan.answering
    if not concerned:
        return
    strict = {device for device, value in _in_force(network, "rp_filter").items() if value == _STRICT}
    if plan.routes_to_itself and (marked := _checked_by_mark(network, strict)):
        text = (
            f"net.ipv4.conf.*.src_valid_mark is 1 for {_some(marked)}: what comes in there for the gateway is dropped "
            "as if its source were wrong; set it to 0"
        )
        yield Finding(text, is_fault=True)
    if strict:
        text = (
            f"net.ipv4.conf.*.rp_filter is 1 for {_some(strict)}: what comes in there and whose way back is another "
            "interface is dropped; where routes are asymmetric, set it to 2"
        )
        yield Finding(text, is_fault=False)


def _checked_by_mark(network: Path, strict: set[str]) -> set[str]:
    """Return where packets that are marked for the gateway are dropped.

    By their mark, the way back to whoever sent them is this machine itself. That passes only where its own addresses
    may come in, and the interface does not matter.
    """
    marked = {device for device, value in _in_force(network, "src_valid_mark").items() if value}
    own = {device for device, value in _in_force(network, "accept_local").items() if value}
    return marked - (own - strict)


def _loopback(plan: Plan, network: Path) -> Iterator[Finding]:
    if plan.mode is not InterceptionMode.REDIRECT:
        return
    for listener in plan.listeners.values():
        if listener == "::1":
            text = (
                "interception.listen: nothing can be redirected to ::1; listen on '::' or on an address of this machine"
            )
            yield Finding(text, is_fault=True)
        elif listener and listener.startswith("127.") and not any(_in_force(network, "route_localnet").values()):
            text = (
                f"interception.listen: what is redirected to {listener} is dropped, unless "
                "net.ipv4.conf.*.route_localnet is 1 where it comes in; better listen on '0.0.0.0'"
            )
            yield Finding(text, is_fault=True)


def _in_force(network: Path, key: str) -> dict[str, int]:
    """Return a parameter of each interface: the greater of its own and that for all."""
    folder = network / "ipv4/conf"
    every = _read(folder / "all" / key) or 0
    devices = sorted(each for each in folder.glob("*") if each.name not in _NO_DEVICES)
    return {device.name: max(every, _read(device / key) or 0) for device in devices}


def _some(devices: Collection[str]) -> str:
    names = sorted(devices)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _value(network: Path, name: str) -> int | None:
    return _read(network.joinpath(*name.split(".")[1:]))


def _read(path: Path) -> int | None:
    """Return a parameter, ``None`` where the kernel does not have it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
