from __future__ import annotations

from smtpproxy.lru import CacheFigures, Lru


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    cache: Lru[str, int] = Lru(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c"), len(cache)) == (1, 3, 2)


def test_a_value_can_be_replaced() -> None:
    cache: Lru[str, int] = Lru(2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 3)
    assert len(cache) == 2
    cache.put("c", 4)
    assert (cache.get("a"), cache.get("b")) == (3, None)


def test_it_counts_what_was_found_and_what_was_not() -> None:
    cache: Lru[str, int] = Lru(2)
    cache.put("a", 1)
    for key in ("a", "a", "b"):
        cache.get(key)
    assert cache.figures == CacheFigures(size=1, limit=2, hits=2, misses=1)
