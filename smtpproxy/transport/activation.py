"""Listening sockets that were open before the program began: those of a socket unit, and those it kept over a restart.

Source: sd_listen_fds(3), systemd.socket(5), systemd.service(5) FileDescriptorStoreMax=; ip(7), ipv6(7), socket(7).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Final

from twisted.logger import Logger

FIRST_DESCRIPTOR: Final = 3
MOST_DESCRIPTORS: Final = 4096
"""Far above what is ever handed over, and far below what would take a noticeable time."""

_UNNAMED: Final = "unknown"  # as sd_listen_fds_with_names(3) has it
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

_log = Logger(namespace="smtpproxy")


@dataclass(frozen=True, slots=True)
class Activated:
    """A TCP socket that listens already.

    Args:
        name: the descriptor's, as the service manager has it.
        socket: does not block, and is not inherited by other programs.
    """

    name: str
    socket: socket.socket

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return host, port

    @property
    def takes_both_families(self) -> bool:
        """Whether it is an IPv6 socket that IPv4 connections come in at too."""
        if self.socket.family != socket.AF_INET6:
            return False
        return not self.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def activated(environ: Mapping[str, str] | None = None) -> list[Activated]:
    """Return the listening sockets that this process was started with, each once.

    What is handed over and is no listening TCP socket is told of in the log, and closed. No program that is started
    from here is told of them.

    Args:
        environ: the environment that the process was started with, if it is another than the kernel knows.
    """
    told = _first_environment() if environ is None else environ
    for name in _VARIABLES:
        os.environ.pop(name, None)
    if told.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = told.get("LISTEN_FDS", "")
    numbers = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + min(int(count) if count.isdecimal() else 0, MOST_DESCRIPTORS))
    names = [name or _UNNAMED for name in told.get("LISTEN_FDNAMES", "").split(":")]
    return list(_usable(zip(chain(names, repeat(_UNNAMED)), numbers, strict=False)))


def _first_environment() -> Mapping[str, str]:
    """Return the environment at the start: Twisted takes these variables out of it, and keeps them to itself."""
    try:
        pairs = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    return {name: value for name, _, value in (os.fsdecode(pair).partition("=") for pair in pairs)}


def _usable(descriptors: Iterable[tuple[str, int]]) -> Iterator[Activated]:
    for name, number in descriptors:
        try:
            if not os.get_inheritable(number):
                continue  # so it was not handed over, or is taken already
            found = _listening(number)
        except (OSError, _UselessError) as error:
            _log.warn("descriptor {number} ({name}) is of no use: {error}", number=number, name=name, error=str(error))
        else:
            yield Activated(name, found)


class _UselessError(Exception):
    """Says what a descriptor is instead of a listening TCP socket."""


def _listening(number: int) -> socket.socket:
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        os.close(number)
        raise _UselessError("it is no socket")
    found = socket.socket(fileno=number)
    if obstacle := _obstacle(found):
        found.close()
        raise _UselessError(obstacle)
    found.setblocking(False)
    found.set_inheritable(False)
    return found


def _obstacle(found: socket.socket) -> str | None:
    if found.family not in {socket.AF_INET, socket.AF_INET6} or found.type != socket.SOCK_STREAM:
        return "it is no TCP socket"
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "it does not listen (a socket unit needs Accept=no)"
    return None
