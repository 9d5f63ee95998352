"""Find what somebody who mistyped a word may have meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from smtpproxy.config.problems import MAX_SHOWN_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'X'?`` where one of ``known`` is near ``word``, else nothing."""
    if len(word) > MAX_SHOWN_CHARACTERS:  # comparing costs the product of the lengths
        return ""
    plain = {each.casefold().replace("-", "_"): each for each in known}
    close = get_close_matches(word.casefold().replace("-", "_"), plain, n=1, cutoff=0.65)
    return f"; did you mean '{plain[close[0]]}'?" if close else ""


def one_of(words: Iterable[str]) -> str:
    """Return ``words`` as a sentence lists them: ``a``, ``a or b``, ``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
