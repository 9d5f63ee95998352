from __future__ import annotations

from smtpproxy.counts import OwnCounts


def test_what_is_counted_is_there_until_it_is_counted_off() -> None:
    counts = OwnCounts()
    assert not counts.has("a")
    assert [counts.more("a"), counts.more("a"), counts.more("a", "b")] == [1, 2, 1]
    counts.less("a")
    assert counts.has("a")
    counts.less("a")
    assert not counts.has("a")
    assert counts.has("a", "b")


def test_what_is_no_more_takes_no_room() -> None:
    counts = OwnCounts()
    for number in range(100):
        counts.more(str(number))
        counts.less(str(number))
    assert len(counts) == 0
