"""A decision: the configuration that every worker is to have, from now on and whenever it begins anew."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from twisted.application.service import Service

from smtpproxy.net.in_force import InForce
from smtpproxy.net.listeners import Binding
from smtpproxy.policy.model import InterceptionMode

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Wanted(Protocol):
    """What a decision is about."""

    @property
    def binds(self) -> Sequence[Binding]:
        """What is listened on."""

    @property
    def workers(self) -> int:
        """How many workers there are."""

    @property
    def drain_timeout_s(self) -> float:
        """How long messages under way may take to end."""

    @property
    def file(self) -> Path:
        """The main file."""

    @property
    def gateway_name(self) -> str:
        """What the gateway calls itself."""

    @property
    def mode(self) -> InterceptionMode:
        """How connections reach it."""

    @property
    def policies(self) -> int:
        """How many policies there are."""

    @property
    def authorities(self) -> Sequence[str]:
        """The fingerprints of those that sign leaves."""


class Decision(InForce):
    """One configuration for all workers, and the services that stand for it once, beside them.

    Args:
        wanted: what it says.
        snapshot: all that workers need of it.
        parts: services that are begun with it and end with it.

    Attributes:
        descriptor: of memory that holds the snapshot and cannot be changed.
        fingerprint: of the snapshot.
    """

    def __init__(self, wanted: Wanted, snapshot: bytes, parts: Sequence[Service] = ()) -> None:
        super().__init__(parts)
        self.wanted = wanted
        self.fingerprint = sha256(snapshot).hexdigest()
        self.descriptor = sealed("smtpproxy-configuration", snapshot)

    def forget(self) -> None:
        """Give no worker the snapshot any more; the parts go on."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    async def end(self) -> None:
        """Forget the snapshot, and stop every part."""
        self.forget()
        await super().end()


def sealed(name: str, octets: bytes) -> int:
    """Return a descriptor of memory that only those who are given it can read, and nobody can change."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as memory:
        memory.write(octets)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def read_snapshot(descriptor: int) -> bytes:
    """Return what the memory holds, which others may be reading at the same time."""
    size, octets = os.fstat(descriptor).st_size, bytearray()
    while len(octets) < size:
        octets += os.pread(descriptor, size - len(octets), len(octets))
    return bytes(octets)
