"""Find what somebody who mistyped a word may have meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from smtpproxy.config.problems import MAX_SHOWN_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHOWN_WORDS: Final = 3


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'X'?`` where one of ``known`` is near ``word``, else nothing."""
    if len(word) > MAX_SHOWN_CHARACTERS:  # comparing costs the product of the lengths
        return ""
    plain = {each.casefold().replace("-", "_"): each for each in known}
    close = get_close_matches(word.casefold().replace("-", "_"), plain, n=1, cutoff=0.65)
    return f"; did you mean '{plain[close[0]]}'?" if close else ""


def one_of(words: Iterable[str]) -> str:
    """Return ``words`` as a sentence lists them: ``a``, ``a or b``, ``a, b or c``."""
    return _joined(words, "or")


def some(words: Sequence[str]) -> str:
    """Return the first of ``words`` as a sentence lists them, and how many there are beside: ``a, b, c and 2 more``."""
    more = len(words) - _SHOWN_WORDS
    return listed([*words[:_SHOWN_WORDS], f"{more} more"] if more > 0 else words)


def listed(words: Iterable[str]) -> str:
    """Return ``words`` as a sentence lists them: ``a``, ``a and b``, ``a, b and c``."""
    return _joined(words, "and")


def _joined(words: Iterable[str], conjunction: str) -> str:
    *most, last = words
    return f"{', '.join(most)} {conjunction} {last}" if most else last
