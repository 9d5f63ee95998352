from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.policy.wildcards import Wildcard


def matches(pattern: str, text: str) -> bool:
    return Wildcard(pattern).matches(text.casefold())


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a", "a", True),
        ("a", "A", True),
        ("A", "a", True),
        ("a", "ab", False),
        ("a", "", False),
        ("*", "", True),
        ("*", "anything\nat all", True),
        ("?", "", False),
        ("?", "\n", True),
        ("?", "ab", False),
        ("a*", "abc", True),
        ("*c", "abc", True),
        ("*b*", "abc", True),
        ("a*c", "ac", True),
        ("ab*bc", "abc", False),
        ("a*b*c", "axbxc", True),
        ("a*b*c", "acb", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*a?", "aab", True),
        ("*?", "", False),
        ("**", "a", True),
        ("*a*a", "a", False),
        ("[ab]", "a", False),
        ("[ab]", "[AB]", True),
        ("a.c", "abc", False),
        ("a.c", "a.c", True),
        ("\\*", "\\x", True),
        ("GRÜSSE*", "Grüße an alle", True),
        ("*über*", "ÜBERALL", True),
    ],
)
def test_wildcards(pattern: str, text: str, *, expected: bool) -> None:
    assert matches(pattern, text) is expected


def reference(pattern: str, text: str) -> bool:
    @cache
    def rest(at: int, place: int) -> bool:
        if at == len(pattern):
            return place == len(text)
        if pattern[at] == "*":
            return rest(at + 1, place) or (place < len(text) and rest(at, place + 1))
        return place < len(text) and pattern[at] in ("?", text[place]) and rest(at + 1, place + 1)

    return rest(0, 0)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_any_pattern_matches_as_its_definition_says(pattern: str, text: str) -> None:
    assert matches(pattern, text) is reference(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*a*a*a*a*b", "a" * 262_144),
        ("*a*a*a*a*b*", "a" * 262_144),
        ("*a?a?a?a?b*", "a" * 262_144),
        ("*" + "a" * 126 + "b*", "a" * 262_144),
        ("*" + "?a" * 63 + "b*", "a" * 262_144),
        ("*a*b" * 30, "ab" * 131_072),
        ("*?" * 64 + "b", "a" * 262_144),
    ],
)
def test_hostile_text_costs_no_more_than_its_length(pattern: str, text: str) -> None:
    wildcard = Wildcard(pattern)

    def cost(characters: int) -> float:
        start = time.process_time()
        wildcard.matches(text[:characters])
        return time.process_time() - start

    short = min(cost(32_768) for _ in range(5))
    assert min(cost(262_144) for _ in range(5)) < 8 * 5 * max(short, 0.0001)


def test_patterns_are_equal_by_what_was_written() -> None:
    assert Wildcard("a*") == Wildcard("a*")
    assert Wildcard("a*") != Wildcard("a?")
