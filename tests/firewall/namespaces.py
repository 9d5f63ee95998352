"""A client, a gateway and a server, each in a network namespace, joined by the gateway.

Source: network_namespaces(7), setns(2): only the calling thread moves, and a socket stays where it was made.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpproxy.transport.transparent import make_transparent

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S: Final = 10.0
CLIENT: Final = {4: "10.9.0.2", 6: "fd09::2"}
INSIDE: Final = {4: "10.9.0.1", 6: "fd09::1"}
SERVER: Final = {4: "198.51.100.2", 6: "fd51::2"}
OUTSIDE: Final = {4: "198.51.100.1", 6: "fd51::1"}
FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - of a namespace

_NEW_NETWORK: Final = 0x40000000
_numbers = itertools.count(1)


def why_not() -> str | None:
    """Return why there can be no namespaces here, ``None`` if there can."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            return f"{program} is not installed (Debian package {package})"
    if os.geteuid():
        return "network namespaces take root"
    name = f"try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    _run("ip", "netns", "delete", name)
    return None


@dataclass(frozen=True)
class Namespace:
    name: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in there: programs that are started, sockets that are made, /proc/sys/net."""
        with open("/proc/self/ns/net", "rb") as before:  # noqa: PTH123 - of this thread, the main one
            _enter(Path("/run/netns", self.name))
            try:
                yield
            finally:
                _set(before.fileno())

    def run(self, *words: str) -> str:
        return _run("ip", "netns", "exec", self.name, *words)

    def ip(self, *words: str) -> str:
        return _run("ip", "-n", self.name, *words)

    def parameter(self, name: str, value: int) -> None:
        with self.entered():
            Path("/proc/sys", *name.split(".")).write_text(str(value))

    def listen(self, version: int, port: int, host: str = "", *, transparent: bool = False) -> socket.socket:
        with self.entered():
            made = socket.socket(FAMILIES[version])
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version == 6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if transparent:
                make_transparent(made)
            made.bind((host or ANY[version], port))
            made.listen()
            made.settimeout(WAIT_S)
            return made

    def dial(self, host: str, port: int, wait_s: float = WAIT_S) -> socket.socket:
        with self.entered():
            return socket.create_connection((host, port), wait_s)


def everything(machine: Namespace) -> tuple[str, ...]:
    """All that an administrator can see of the firewall and its routing; routes of the kernel's own left out."""
    rules = [machine.ip(version, "rule", "show") for version in ("-4", "-6")]
    routes = [machine.ip(version, "route", "show", "table", "all").splitlines() for version in ("-4", "-6")]
    added = [route for version in routes for route in version if "proto kernel" not in route]
    return (machine.run("nft", "list", "ruleset"), *rules, *added)


@dataclass(frozen=True)
class Row:
    """Three machines in a row."""

    client: Namespace
    gateway: Namespace
    server: Namespace


def make() -> Row:
    place = f"{os.getpid()}-{next(_numbers)}"
    path = Row(*(Namespace(f"{part}-{place}") for part in ("client", "gateway", "server")))
    try:
        _join(path)
    except BaseException:
        remove(path)
        raise
    return path


def remove(path: Row) -> None:
    for each in (path.client, path.gateway, path.server):
        with suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "delete", each.name)


def _join(path: Row) -> None:
    for each in (path.client, path.gateway, path.server):
        _run("ip", "netns", "add", each.name)
        each.ip("link", "set", "lo", "up")
    _link(path.client, "c0", CLIENT, path.gateway, "g0", INSIDE)
    _link(path.server, "s0", SERVER, path.gateway, "g1", OUTSIDE)
    path.gateway.parameter("net.ipv4.ip_forward", 1)
    path.gateway.parameter("net.ipv6.conf.all.forwarding", 1)


def _link(
    end: Namespace, own: str, addresses: dict[int, str], gateway: Namespace, its: str, via: dict[int, str]
) -> None:
    end.ip("link", "add", own, "type", "veth", "peer", "name", its, "netns", gateway.name)
    for where, device, hosts in ((end, own, addresses), (gateway, its, via)):
        where.ip("addr", "add", f"{hosts[4]}/24", "dev", device)
        where.ip("addr", "add", f"{hosts[6]}/64", "dev", device, "nodad")
        where.ip("link", "set", device, "up")
    for version in (4, 6):
        end.ip(f"-{version}", "route", "add", "default", "via", via[version])


def _run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=WAIT_S).stdout


def _enter(path: Path) -> None:
    with path.open("rb") as opened:
        _set(opened.fileno())


def _set(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
