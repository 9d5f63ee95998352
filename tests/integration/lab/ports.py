"""Free ports, and waiting until a program listens on one."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
_IPV6 = 6
_LISTENING = "0A"  # proc(5) and the kernel's net/tcp_states.h
_PAUSE_S = 0.02


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def listens(port: int, version: int = 4) -> bool:
    """Whether somebody listens; asked of the kernel, since a connection would be a session."""
    for line in Path("/proc/net/tcp6" if version == _IPV6 else "/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state = line.split()[:4]
        if state == _LISTENING and int(local.partition(":")[2], 16) == port:
            return True
    return False


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Poll for what another process does and cannot announce."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        select.select([], [], [], _PAUSE_S)
