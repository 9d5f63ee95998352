"""A workshop that has no keys, and the process that has them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from smtpproxy.admin.metrics_service import Metrics
from smtpproxy.authority.signing_process import SigningProcess, open_signing_socket
from smtpproxy.config.load import keys_elsewhere, load_configuration
from smtpproxy.peers.sts_service import StsService
from smtpproxy.peers.sts_store import StsStore
from smtpproxy.service import Workshop
from tests.authority.houses import House
from tests.pki import make_leaf, make_root

reactor: Any = default_reactor


class WorkshopTests(TestCase):
    house: House

    @pytest.fixture(autouse=True)
    def _house(self, tmp_path: Path) -> None:
        self.house = House(tmp_path)
        root = make_root()
        pair = make_leaf(root)
        for name, octets in (("server.pem", pair.pem), ("server.key", pair.key_pem), ("trusted.pem", root.pem)):
            (tmp_path / "certs" / name).write_bytes(octets)
        self.house.configuration.write_text(
            self.house.configuration.read_text().removesuffix("}\n")
            + ", trusted: certs/trusted.pem, proxy_server: [{certificate: certs/server.pem, key: certs/server.key}]}\n"
            "policies: [{name: Out, direction: outbound, source: [127.0.0.0/8], upstream: {host: mx.test}}]\n"
            'resolver: {servers: ["127.0.0.1:53"]}\n'
        )

    async def test_its_generations_have_their_leaves_signed_by_it(self) -> None:
        with open_signing_socket() as listening:
            process = SigningProcess(reactor, listening)
            process.startService()
            self.addCleanup(process.stopService)
            await process.prepare(self.house.configuration, self.house.fingerprints())
            process.adopt()
            shutil.move(self.house.folder / "certs" / "proxy-a.key", self.house.folder / "away.key")
            configuration = load_configuration(self.house.configuration, "gw.test", keys=keys_elsewhere)
            sts = StsService(reactor, StsStore(time.time))
            workshop = Workshop(reactor, Metrics(lambda _: None), sts.policies, process.address)  # type: ignore[arg-type, return-value]
            generation = workshop.make(configuration)
            while not workshop.records.tally.leaves["signed"]:
                pause: Deferred[None] = Deferred()
                reactor.callLater(0.01, pause.callback, None)
                await pause
            assert generation.equipment.caches["leaves"].size == 1
            workshop.close()
            await generation.end()
