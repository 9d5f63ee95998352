"""Real mail servers on loopback, with certificates that a test chooses."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.lab.recorder import RecordingUpstream, Script
from tests.pki import Pair, Wanted, make_leaf

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("mx.upstream.test", "localhost", "127.0.0.1")


@dataclass(frozen=True)
class Authorities:
    root: Pair
    intermediate: Pair

    def leaf(self, wanted: Wanted | None = None) -> Pair:
        return make_leaf(self.intermediate, wanted or Wanted(names=NAMES, common_name=NAMES[0]))


class Servers:
    """Real servers on loopback, ended with the test."""

    def __init__(self, folder: Path, authorities: Authorities) -> None:
        self.authorities = authorities
        self.trusted = folder / "trusted.pem"
        self.trusted.write_bytes(authorities.root.pem)
        self._folder = folder
        self._begun: list[RecordingUpstream] = []

    def context(self, pair: Pair) -> ssl.SSLContext:
        path = self._folder / "server.pem"
        path.write_bytes(pair.pem + pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def begin(self, pair: Pair | None = None, script: Script | None = None) -> RecordingUpstream:
        return self.begin_with(self.context(pair or self.authorities.leaf()), script)

    def begin_with(self, context: ssl.SSLContext, script: Script | None = None) -> RecordingUpstream:
        server = RecordingUpstream(context, script)
        self._begun.append(server)
        return server

    def close(self) -> None:
        for server in self._begun:
            server.close()
