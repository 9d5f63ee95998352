from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtpproxy.net.blocklist import Blocked, Blocklist
from smtpproxy.net.blocklist_file import BlocklistFile, read, write

NOW_S = 1_700_000_000.0
ENTRY = Blocked("192.0.2.1", NOW_S + 60, "tls-action")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "var" / "blocked.json"
    entries = [ENTRY, Blocked("2001:db8::/64", NOW_S + 1.5, "tls-exception")]
    write(file, entries)
    assert read(file) == entries
    write(file, [])
    assert read(file) == []
    assert [each.name for each in file.parent.iterdir()] == ["blocked.json"]


def test_a_file_that_cannot_be_written_leaves_what_was(tmp_path: Path) -> None:
    file = tmp_path / "blocked.json"
    write(file, [ENTRY])
    (tmp_path / "blocked.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write(file, [])
    assert read(file) == [ENTRY]


class BlocklistFileTests(TestCase):
    file: Path

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.file = tmp_path / "var" / "blocked.json"

    def begin(self) -> tuple[Blocklist, BlocklistFile]:
        blocklist = Blocklist(lambda: NOW_S)
        service = BlocklistFile(reactor, self.file, blocklist)
        service.startService()
        return blocklist, service

    async def test_it_outlives_the_process(self) -> None:
        blocklist, service = self.begin()
        blocklist.block("192.0.2.1", 60, "tls-action")
        blocklist.block("192.0.2.2", 60, "tls-action")
        await service.stopService()
        again, service = self.begin()
        assert sorted(each.address for each in again.entries()) == ["192.0.2.1", "192.0.2.2"]
        again.lift("192.0.2.2")
        await service.stopService()
        assert read(self.file) == [ENTRY]

    async def test_without_a_change_nothing_is_written(self) -> None:
        _, service = self.begin()
        await service.stopService()
        assert not self.file.exists()

    async def test_a_broken_file_is_told_and_begun_anew(self) -> None:
        self.file.parent.mkdir()
        whole: dict[str, Any] = {"schema": 1, "blocked": [{"address": "192.0.2.1", "until": NOW_S + 9, "reason": "r"}]}
        broken: list[object] = [
            [],
            {**whole, "schema": 2},
            {**whole, "blocked": {}},
            {**whole, "blocked": [{}]},
            {**whole, "blocked": [{"address": "mx.example", "until": NOW_S + 9, "reason": "r"}]},
            {**whole, "blocked": [{"address": "192.0.2.1", "until": "soon", "reason": "r"}]},
            {**whole, "blocked": [{"address": "192.0.2.1", "until": float("nan"), "reason": "r"}]},
            {**whole, "blocked": [{"address": "192.0.2.1", "until": 1e300, "reason": "no date can be that late"}]},
            {**whole, "blocked": [{"address": "192.0.2.1", "until": 10**400, "reason": "no number either"}]},
            {**whole, "blocked": [{"address": 5, "until": NOW_S + 9, "reason": "r"}]},
            {**whole, "blocked": ["192.0.2.1"]},
        ]
        for octets in (b"", b"{", b"\xff", b"[" * 100_000, *(json.dumps(each).encode() for each in broken)):
            self.file.write_bytes(octets)
            blocklist, service = self.begin()
            assert blocklist.entries() == [], octets
            blocklist.block("192.0.2.1", 60, "tls-action")
            await service.stopService()
            assert read(self.file) == [ENTRY]

    async def test_a_disk_that_is_full_costs_no_block(self) -> None:
        self.file.parent.write_text("a file where the folder should be")
        blocklist, service = self.begin()
        blocklist.block("192.0.2.1", 60, "tls-action")
        await service.stopService()
        assert blocklist.is_blocked("192.0.2.1")

    async def test_it_is_for_the_owner_only(self) -> None:
        blocklist, service = self.begin()
        blocklist.block("192.0.2.1", 60, "tls-action")
        await service.stopService()
        assert stat.S_IMODE(self.file.stat().st_mode) == 0o600
