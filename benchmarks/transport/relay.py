"""Relay octets between two TLS legs of one candidate; upstream's handshake comes first."""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet import reactor

from benchmarks.transport.descriptor import socket_legs
from benchmarks.transport.legs import Leg, LegOwner, Listener
from benchmarks.transport.memory import pyopenssl_legs, stdlib_legs
from benchmarks.transport.package import StreamListener
from benchmarks.transport.reference import StartTlsListener


class Dialler(Protocol):
    """A candidate at work."""

    port: int

    def dial(self, owner: LegOwner) -> None:
        """Connect upstream."""


MakeDialler = Callable[[str, int, Callable[[], "Relay"]], Dialler]

CANDIDATES: dict[str, MakeDialler] = {
    "startTLS": StartTlsListener,
    "pyopenssl-memory": lambda folder, target, make: cast("Dialler", Listener(pyopenssl_legs(folder), target, make)),
    "pyopenssl-socket": lambda folder, target, make: cast("Dialler", Listener(socket_legs(folder), target, make)),
    "stdlib-memory": lambda folder, target, make: cast("Dialler", Listener(stdlib_legs(folder), target, make)),
    "stream": StreamListener,
}


class Relay:
    """One session."""

    client: Leg
    upstream: Leg

    def __init__(self, dialler: Dialler) -> None:
        self.dialler = dialler
        self.early: list[bytes] = []
        self.is_open = False

    def hello(self, _leg: Leg) -> None:
        """Ask upstream first."""
        self.dialler.dial(self)

    def dialled(self, leg: Leg) -> None:
        """Begin upstream's handshake."""
        self.upstream = leg
        leg.start_tls(server=False)
        leg.resume()

    def secured(self, leg: Leg) -> None:
        """Go on with the client's handshake, then with what upstream has said."""
        if leg is self.upstream:
            self.client.start_tls(server=True)
            self.client.resume()
            return
        self.is_open = True
        for data in self.early:
            self.client.send(data)

    def received(self, leg: Leg, data: bytes) -> None:
        """Pass on."""
        if not self.is_open:
            self.early.append(data)
            return
        other = self._other(leg)
        other.send(data)
        if other.is_blocked():
            leg.pause()

    def drained(self, leg: Leg) -> None:
        """Read on."""
        self._other(leg).resume()

    def ended(self, leg: Leg) -> None:
        """End the other leg too."""
        if self.is_open:
            self.is_open = False
            self._other(leg).close()

    def _other(self, leg: Leg) -> Leg:
        return self.upstream if leg is self.client else self.client


def main() -> None:
    """Print the port as JSON and relay for ever."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("candidate", choices=CANDIDATES)
    arguments.add_argument("target", type=int)
    arguments.add_argument("certificates")
    options = arguments.parse_args()
    dialler = CANDIDATES[options.candidate](options.certificates, options.target, lambda: Relay(dialler))
    print(json.dumps({"port": dialler.port}), flush=True)
    gc.freeze()
    cast("Any", reactor).run()


if __name__ == "__main__":
    main()
