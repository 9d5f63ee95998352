from __future__ import annotations

from typing import cast

from smtpproxy.peers.directories import Directories
from smtpproxy.peers.directory import Directory


class Noting:
    """A directory that notes what is asked of it."""

    def __init__(self, settings: str) -> None:
        self.settings = settings
        self.watched: list[tuple[str, ...]] = []
        self.stopped = 0

    def watch(self, domains: tuple[str, ...]) -> None:
        self.watched.append(domains)

    def stop(self) -> None:
        self.stopped += 1


class House:
    """Directories, and those that were made."""

    def __init__(self) -> None:
        self.made: list[Noting] = []
        self.directories: Directories[str] = Directories(self._make)

    def _make(self, settings: str) -> Directory:
        self.made.append(Noting(settings))
        return cast("Directory", self.made[-1])


def test_generations_with_the_same_settings_share_a_directory() -> None:
    house = House()
    first, second = house.directories.lease("a", ["one.test"]), house.directories.lease("a", ["two.test"])
    assert first.directory is second.directory
    first.startService()
    second.startService()
    assert house.made[0].watched == [("one.test",), ("two.test",)]
    first.stopService()
    assert house.made[0].stopped == 0
    second.stopService()
    assert house.made[0].stopped == 1


def test_other_settings_make_another_one_and_leave_the_first_to_its_users() -> None:
    house = House()
    first, second = house.directories.lease("a", []), house.directories.lease("b", [])
    assert [each.settings for each in house.made] == ["a", "b"]
    first.stopService()
    assert [each.stopped for each in house.made] == [1, 0]
    second.stopService()
    assert [each.stopped for each in house.made] == [1, 1]


def test_one_that_was_given_back_is_made_anew() -> None:
    house = House()
    house.directories.lease("a", []).stopService()
    house.directories.lease("a", [])
    assert len(house.made) == 2


def test_a_generation_that_is_never_begun_watches_nothing() -> None:
    house = House()
    house.directories.lease("a", ["one.test"]).stopService()
    assert house.made[0].watched == []
