from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import TestCase

from smtpproxy.peers.policy_host import PolicyHost
from smtpproxy.peers.sts_service import StsFile, StsMove, StsService
from smtpproxy.policy.knowledge import Answer
from tests.peers.reactors import on_reactor
from tests.peers.test_policy_host import TRUST, Addresses
from tests.peers.test_sts import DOMAIN, World, body, policy
from tests.transport.streams import HeldTime


class StsServiceCase(TestCase):
    """A gateway that is stopped and started again."""

    timeout = 60

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "var" / "mta-sts.json"
        self.world = World()
        self.now_s = 5000.0

    def file_kept(self) -> StsFile:
        return StsFile(HeldTime(), self.file, lambda: self.now_s)

    @on_reactor
    async def test_a_policy_holds_over_a_restart_though_its_record_is_gone(self) -> None:
        kept = self.file_kept()
        before = StsService(HeldTime(), kept.store)
        before.startService()
        before.policies.follow(self.world, self.world)
        self.world.publish("1", body())
        assert await before.policies.fetch(DOMAIN) == (policy("1"), Answer.FOUND)
        before.stopService()
        await kept.stopService()
        after = StsService(HeldTime(), self.file_kept().store)
        after.policies.follow(self.world, self.world)
        self.world.records = []
        self.now_s += policy("1").max_age_s - 1
        assert await after.policies.fetch(DOMAIN) == (policy("1"), Answer.FOUND)
        self.now_s += 1
        assert await after.policies.fetch(DOMAIN) == (None, Answer.ABSENT)

    @on_reactor
    async def test_each_configuration_in_turn_says_how_policies_are_found(self) -> None:
        service = StsService(HeldTime(), self.file_kept().store)
        other = World()
        other.records = [b"v=STSv1; id=2"]
        source = PolicyHost(HeldTime(), TRUST, Addresses(), port=1)
        for world in (self.world, other):
            StsMove(service.policies, world, source).startService()
            await service.policies.fetch(DOMAIN)
        assert self.world.asked == other.asked == ["_mta-sts.example.com"]
        service.stopService()
