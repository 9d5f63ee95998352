from __future__ import annotations

from smtpproxy.lru import CacheFigures
from smtpproxy.net.figures import LookUps


def test_what_caches_counted_counts_on_when_a_reload_makes_them_anew() -> None:
    lookups = LookUps()
    assert lookups.all({"leaves": CacheFigures(3, 9, 40, 4)}) == {"leaves": CacheFigures(3, 9, 40, 4)}
    assert lookups.all({"leaves": CacheFigures(1, 9, 0, 1)}) == {"leaves": CacheFigures(1, 9, 40, 5)}
    assert lookups.all({"leaves": CacheFigures(1, 9, 2, 1)}) == {"leaves": CacheFigures(1, 9, 42, 5)}
    assert lookups.all({"leaves": CacheFigures(0, 9, 0, 0)}) == {"leaves": CacheFigures(0, 9, 42, 5)}


def test_a_cache_that_was_away_goes_on_where_it_was() -> None:
    lookups = LookUps()
    lookups.all({"leaves": CacheFigures(3, 9, 40, 4), "contexts": CacheFigures(1, 1, 1, 1)})
    assert lookups.all({"contexts": CacheFigures(1, 1, 2, 1)}) == {"contexts": CacheFigures(1, 1, 2, 1)}
    assert lookups.all({"leaves": CacheFigures(1, 9, 50, 5)})["leaves"] == CacheFigures(1, 9, 90, 9)
