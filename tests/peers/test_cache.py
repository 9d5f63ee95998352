from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from smtpproxy.peers.cache import Cache, Lasting


class Source:
    """Look-ups that a test ends, and a clock that it sets."""

    def __init__(self, limit: int = 10) -> None:
        self.now_s = 0.0
        self.begun: list[Deferred[Lasting[str]]] = []
        self.cache: Cache[str, str] = Cache(limit, lambda: self.now_s)

    def get(self, key: str = "key") -> tuple[Deferred[str], list[str]]:
        got: list[str] = []
        asker = self.cache.get(key, self._look_up)
        asker.addCallback(got.append)
        return asker, got

    def _look_up(self) -> Deferred[Lasting[str]]:
        self.begun.append(Deferred())
        return self.begun[-1]


def test_one_look_up_serves_all_who_ask_meanwhile() -> None:
    source = Source()
    (_, first), (_, second) = source.get(), source.get()
    source.begun[0].callback(Lasting("value", 10))
    assert (first, second, len(source.begun)) == (["value"], ["value"], 1)


def test_a_value_is_kept_until_its_end_and_not_longer() -> None:
    source = Source()
    source.get()
    source.begun[0].callback(Lasting("old", 10))
    source.now_s = 9.9
    assert source.get()[1] == ["old"]
    source.now_s = 10
    assert source.get()[1] == []
    assert len(source.begun) == 2


def test_what_is_kept_can_be_known_without_a_look_up() -> None:
    source = Source()
    assert source.cache.known("key") is None
    source.get()
    source.begun[0].callback(Lasting("value", 10))
    assert source.cache.known("key") == "value"
    source.now_s = 10
    assert source.cache.known("key") is None
    assert len(source.begun) == 1


def test_a_value_that_may_not_be_kept_is_given_to_those_who_wait() -> None:
    source = Source()
    _, got = source.get()
    source.begun[0].callback(Lasting("passing", 0))
    assert got == ["passing"]
    source.get()
    assert len(source.begun) == 2


def test_who_gives_up_ends_nothing_for_others() -> None:
    source = Source()
    (asker, _), (_, other) = source.get(), source.get()
    asker.addErrback(lambda _: None)
    asker.cancel()
    source.begun[0].callback(Lasting("value", 10))
    assert other == ["value"]
    assert source.get()[1] == ["value"]


def test_a_look_up_that_breaks_is_told_to_all_and_tried_again() -> None:
    source = Source()
    told: list[object] = []
    for asker, _ in (source.get(), source.get()):
        asker.addErrback(lambda failure: told.append(failure.value))
    source.begun[0].errback(ValueError("broken"))
    assert len(told) == 2
    source.get()
    assert len(source.begun) == 2


def test_no_more_than_so_many_are_kept() -> None:
    source = Source(limit=2)
    for key in ("a", "b", "c"):
        source.get(key)
        source.begun[-1].callback(Lasting(key, 10))
    assert source.get("c")[1] == ["c"]
    assert source.get("a")[1] == []
    assert source.cache.figures.size == 2


@pytest.mark.parametrize("error", [ValueError("broken")])
def test_a_look_up_that_cannot_even_begin_leaves_nobody_waiting(error: Exception) -> None:
    cache: Cache[str, str] = Cache(2, lambda: 0.0)
    told: list[object] = []

    def begin() -> Deferred[Lasting[str]]:
        raise error

    cache.get("key", begin).addErrback(lambda failure: told.append(failure.value))
    assert told == [error]
