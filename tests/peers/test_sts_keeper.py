from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from smtpproxy.peers.sts_keeper import DELAY_S, StsKeeper, load_store
from smtpproxy.peers.sts_store import StsStore, load_policies
from smtpproxy.policy.knowledge import StsMode, StsPolicy
from tests.peers.reactors import on_reactor
from tests.transport.streams import HeldTime

POLICY = StsPolicy("1", StsMode.ENFORCE, 1000, ("mail.example.com",))


def now_s() -> float:
    return 5000.0


class StsKeeperCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.time = HeldTime()
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "home" / "var" / "mta-sts.json"
        self.store = StsStore(now_s)
        self.keeper = StsKeeper(self.time, self.store, self.file)

    def saved(self) -> list[str]:
        return list(load_policies(self.file, now_s()))

    @on_reactor
    async def test_what_changes_is_saved_a_little_later(self) -> None:
        self.store.put("a.example", POLICY)
        self.time.clock.advance(DELAY_S / 2)
        self.store.put("b.example", POLICY)
        self.time.clock.advance(DELAY_S / 2)
        await self.keeper.stop()
        assert self.saved() == ["a.example", "b.example"]
        assert self.time.clock.getDelayedCalls() == []

    @on_reactor
    async def test_the_end_saves_what_is_not_saved_yet(self) -> None:
        self.store.put("a.example", POLICY)
        await self.keeper.stop()
        assert self.saved() == ["a.example"]
        assert self.time.clock.getDelayedCalls() == []

    @on_reactor
    async def test_without_a_change_nothing_is_written(self) -> None:
        await self.keeper.stop()
        assert not self.file.exists()

    @on_reactor
    async def test_a_place_that_takes_no_file_costs_a_line_in_the_log(self) -> None:
        self.file.parent.parent.mkdir(parents=True)
        self.file.parent.write_text("a file where the folder should be")
        self.store.put("a.example", POLICY)
        with capturedLogs() as lines:
            await self.keeper.stop()
        assert [line["log_level"].name for line in lines] == ["error"]

    @on_reactor
    async def test_a_restart_finds_what_was_saved(self) -> None:
        self.store.put("a.example", POLICY)
        await self.keeper.stop()
        assert (await deferToThread(load_store, self.file, now_s)).get("a.example") == POLICY

    def test_a_damaged_file_costs_the_policies_and_a_line_in_the_log(self) -> None:
        self.file.parent.mkdir(parents=True)
        self.file.write_text("{")
        with capturedLogs() as lines:
            store = load_store(self.file, now_s)
        assert store.figures.size == 0
        assert [line["log_level"].name for line in lines] == ["warn"]
